namespace LsmFs.Host;

/// <summary>
/// A block in the cache, opened: verified and as lookups read it. Its buffer belongs to it for good, so both are used again together for another
/// block of about the same size. What readers look at changes only while no reader can reach the block.
/// </summary>
internal sealed class CachedBlock(int sizeClass, byte[] buffer)
{
    // Written by readers without synchronisation: a lost increment only makes a block seem a little less popular.
    internal byte Frequency;

    /// <summary>The next block of the same hash bucket. A block taken out keeps it, for the reader who stands on it.</summary>
    internal CachedBlock? NextInBucket;

    /// <summary>The next block of the queue that the block is in.</summary>
    internal CachedBlock? NextInQueue;

    /// <summary>Which buffers of the pool this is one of.</summary>
    internal int SizeClass { get; } = sizeClass;

    /// <summary>The block lies at its start.</summary>
    internal byte[] Buffer { get; } = buffer;

    /// <summary>Bytes of the block.</summary>
    internal int LengthBytes { get; set; }

    /// <summary>The number of the block's table.</summary>
    internal ulong Table { get; set; }

    /// <summary>Where the block lies in its table.</summary>
    internal long OffsetBytes { get; set; }

    /// <summary>The hash of table and offset.</summary>
    internal ulong Hash { get; set; }

    /// <summary>Memory that the block is charged for.</summary>
    internal int ChargeBytes => BlockPool.ChargeBytes(SizeClass);
}

/// <summary>A queue of blocks, linked through the blocks themselves.</summary>
internal struct BlockQueue
{
    private CachedBlock? _first;
    private CachedBlock? _last;

    /// <summary>What the blocks are charged for.</summary>
    internal long ChargedBytes { get; private set; }

    /// <summary>How many there are.</summary>
    internal int Count { get; private set; }

    internal void Enqueue(CachedBlock block)
    {
        block.NextInQueue = null;
        if (_last is null)
        {
            _first = block;
        }
        else
        {
            _last.NextInQueue = block;
        }

        _last = block;
        ChargedBytes += block.ChargeBytes;
        Count++;
    }

    internal CachedBlock? TryDequeue()
    {
        var block = _first;
        if (block is not null)
        {
            _first = block.NextInQueue;
            _last = _first is null ? null : _last;
            ChargedBytes -= block.ChargeBytes;
            Count--;
        }

        return block;
    }
}
