using LsmFs.Engine;

namespace LsmFs.Host;

// Waiting for blocks: a lookup that misses one stops, the block is read elsewhere, and the command is tried again in a newer snapshot.
internal sealed partial class Connection
{
    /// <summary>Keys behind the one that waits whose blocks are asked for as well, so that a command with many keys waits for the disk once and not for each.</summary>
    private const int LookAheadKeysMax = 16;

    /// <summary>Larger blocks are not asked for ahead: what a connection holds is bounded.</summary>
    private const int LookAheadLengthMax = 64 * 1024;

    /// <summary>Blocks that a connection may hold before it asks for none ahead.</summary>
    private const int LookAheadBlocksMax = 64;

    private WantedBlocks? _wanted;
    private PendingRead? _awaited;

    /// <summary>Any thread.</summary>
    void IBlockWaiter.OnBlockRead() => loop.OnBlockRead(this);

    /// <summary>The block was read, or another one that the connection no longer waits for.</summary>
    public void OnBlockRead()
    {
        if (_isClosed || _awaited is not { IsCompleted: true })
        {
            return;
        }

        try
        {
            _awaited = null;
            _workLeft = loop.WorkMax;
            ServeKept();
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>
    /// Whether a commit will find the blocks of a key in the cache, the way things are; else the connection waits for the missing one.
    /// <paramref name="keys"/> from <paramref name="position"/> on follow.
    /// </summary>
    private bool IsAtHand(ReadOnlySpan<byte> key, ReadOnlySpan<byte> keys, int position)
    {
        while (!loop.EnterSnapshot().IsAtHand(key, loop.NowSeconds, _wanted, isAhead: false))
        {
            if (TryAwaitBlock(keys, position))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Waits for the block that the last lookup missed; false when it has come meanwhile.</summary>
    private bool TryAwaitBlock(ReadOnlySpan<byte> keys, int position)
    {
        _wanted ??= new WantedBlocks();
        StoreReader reader = loop.EnterSnapshot();
        PendingRead read = reader.RequestMissing(_wanted);

        for (int count = 0; count < LookAheadKeysMax && _wanted.Count < LookAheadBlocksMax && _workLeft > 0; count++)
        {
            ReadOnlySpan<byte> key = NextKey(keys, ref position);

            if (key.IsEmpty)
            {
                break;
            }

            _workLeft--;

            if (!reader.IsAtHand(key, loop.NowSeconds, _wanted, isAhead: true) && reader.MissingLengthBytes <= LookAheadLengthMax)
            {
                reader.RequestMissing(_wanted);
            }
        }

        _awaited = read.TryAwait(this) ? read : null;
        return _awaited is not null;
    }

    /// <summary>The next key of a retrieval, or of the binary gets or meta gets that follow each other; empty when there is none.</summary>
    private ReadOnlySpan<byte> NextKey(ReadOnlySpan<byte> keys, ref int position) =>
        _isBinary ? BinaryParser.nextKey(keys, ref position)
        : _retrieval.Verb != Verb.None ? Parser.nextKey(keys, ref position)
        : Parser.nextMetaKey(keys, ref position);

    /// <summary>The command that needed the blocks is done with.</summary>
    private void ReleaseBlocks()
    {
        _awaited = null;
        _wanted?.Release();
    }
}
