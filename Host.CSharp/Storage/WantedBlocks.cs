using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>The blocks that were asked for on behalf of one command, and stay at hand until it is answered. For one thread.</summary>
internal sealed class WantedBlocks
{
    private readonly List<(PendingRead Read, bool IsUsed)> _reads = [];

    /// <summary>Blocks that were asked for and not yet let go.</summary>
    internal int Count => _reads.Count;

    /// <summary>The read of a block, or null when it was not asked for. A completed one is used now, if <paramref name="isUse"/> says so.</summary>
    internal PendingRead? Find(in BlockRequest request, bool isUse)
    {
        for (var index = 0; index < _reads.Count; index++)
        {
            var read = _reads[index].Read;
            if (read.Request.Handle.OffsetBytes == request.Handle.OffsetBytes && read.Request.Table == request.Table)
            {
                _reads[index] = (read, _reads[index].IsUsed || (isUse && read.IsCompleted));
                return read;
            }
        }

        return null;
    }

    /// <summary>Keeps a read; takes the caller's reference.</summary>
    internal void Add(PendingRead read) => _reads.Add((read, false));

    /// <summary>Lets the blocks go that a key has used, which is answered now.</summary>
    internal void ReleaseUsed()
    {
        for (var index = _reads.Count - 1; index >= 0; index--)
        {
            if (_reads[index].IsUsed)
            {
                _reads[index].Read.Release();
                _reads.RemoveAt(index);
            }
        }
    }

    /// <summary>Lets all blocks go.</summary>
    internal void Release()
    {
        foreach (var (read, _) in _reads)
        {
            read.Release();
        }

        _reads.Clear();
    }
}
