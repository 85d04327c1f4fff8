using System.Buffers;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Who waits for a block.</summary>
internal interface IBlockWaiter
{
    /// <summary>A block that was waited for is there, or unreadable. On any thread; must not block.</summary>
    void OnBlockRead();
}

/// <summary>
/// The read of one block on a read thread, for everybody who wants it. Whoever asked for it holds a reference; the block's memory is given back with
/// the last one, so that the block is there for its lookup even if the cache has evicted it again.
/// </summary>
internal sealed class PendingRead(BlockRequest request)
{
    private readonly Lock _lock = new();
    private readonly List<IBlockWaiter> _waiters = [];
    // The first one belongs to the read thread.
    private int _referenceCount = 1;
    private byte[]? _buffer;
    private int _lengthBytes;
    private bool _isReadable;
    private volatile bool _isCompleted;

    internal BlockRequest Request { get; } = request;

    /// <summary>Whether the read has ended, well or not.</summary>
    internal bool IsCompleted => _isCompleted;

    /// <summary>Whether the block is there. After completion.</summary>
    internal bool IsReadable => _isReadable;

    /// <summary>The opened block, at the start. For holders of a reference, when readable.</summary>
    internal byte[] Block => _buffer!;

    /// <summary>Bytes of the opened block.</summary>
    internal int LengthBytes => _lengthBytes;

    /// <summary>Calls the waiter on completion, once; false when that has been.</summary>
    internal bool TryAwait(IBlockWaiter waiter)
    {
        lock (_lock)
        {
            if (!_isCompleted)
            {
                _waiters.Add(waiter);
            }

            return !_isCompleted;
        }
    }

    /// <summary>One more who wants the block. By whoever holds a reference.</summary>
    internal void AddReference() => Interlocked.Increment(ref _referenceCount);

    /// <summary>Gives a reference up.</summary>
    internal void Release()
    {
        if (Interlocked.Decrement(ref _referenceCount) == 0 && _buffer is not null)
        {
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = null;
        }
    }

    /// <summary>Reads the block; false when it is unreadable. On a read thread, before <see cref="Complete"/>.</summary>
    internal void Run(TableBlocks blocks, BlockDecoder decoder)
    {
        _buffer = ArrayPool<byte>.Shared.Rent(Request.Handle.LengthBytes);
        try
        {
            _isReadable = blocks.TryRead(Request, decoder, _buffer, isCached: true, out var content);
            if (_isReadable && content.Bytes != _buffer)
            {
                // It lies in the decoder's buffer, which the next block will take.
                ArrayPool<byte>.Shared.Return(_buffer);
                _buffer = ArrayPool<byte>.Shared.Rent(content.Length);
                content.Bytes.AsSpan(content.Start, content.Length).CopyTo(_buffer);
            }

            _lengthBytes = content.Length;
        }
        catch (ObjectDisposedException)
        {
            // The table was deleted meanwhile. The lookup starts again in a newer snapshot, which does not ask for it.
        }
    }

    /// <summary>Tells whoever waits, and gives the read thread's reference up.</summary>
    internal void Complete()
    {
        lock (_lock)
        {
            _isCompleted = true;
        }

        // Nobody adds himself any more.
        foreach (var waiter in _waiters)
        {
            waiter.OnBlockRead();
        }

        Release();
    }
}
