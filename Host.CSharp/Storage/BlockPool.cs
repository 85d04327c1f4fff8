using System.Numerics;

namespace LsmFs.Host;

// Invariants
//   1. Every byte of a buffer is charged from its allocation until it is left to the garbage collector, whether a block is in it, readers may
//      still look at it, or it waits for its next use. An allocation never takes the charges past the capacity.
//   2. A retired block is used again only when every reader that was there when it was retired has left.

/// <summary>
/// The memory of the block cache: buffers by size class, eight classes for each doubling, so that a block wastes at most an eighth. Not synchronised.
/// </summary>
internal sealed class BlockPool(Epochs epochs, long capacityBytes)
{
    /// <summary>What a block takes beside its buffer: the object, and the array's header.</summary>
    internal const int OverheadBytes = 96;

    /// <summary>The longest block there is a class for.</summary>
    internal const int LengthBytesMax = 1 << 30;

    private const int ClassesPerDoublingLog = 3;
    private const int SmallestLengthLog = 8;

    /// <summary>Retired blocks that share an epoch.</summary>
    private const int BatchCount = 16;

    private readonly Stack<CachedBlock>?[] _free = new Stack<CachedBlock>?[ClassOf(LengthBytesMax) + 1];
    private readonly Queue<(long Epoch, BlockQueue Blocks)> _retired = new();
    private BlockQueue _retiring;
    private long _freeBytes;

    /// <summary>What may be allocated. When it becomes less, the pool follows as blocks come back.</summary>
    internal long CapacityBytes { get; private set; } = capacityBytes;

    /// <summary>What is charged for.</summary>
    internal long AllocatedBytes { get; private set; }

    /// <summary>The class of the buffers that a block of this length lies in.</summary>
    internal static int ClassOf(int lengthBytes)
    {
        if (lengthBytes <= 1 << SmallestLengthLog)
        {
            return 0;
        }

        var last = (uint)lengthBytes - 1;
        var log = BitOperations.Log2(last);
        var part = (int)(last >> (log - ClassesPerDoublingLog)) & ((1 << ClassesPerDoublingLog) - 1);
        return ((log - SmallestLengthLog) << ClassesPerDoublingLog) + part + 1;
    }

    /// <summary>Bytes of the buffers of a class.</summary>
    internal static int BufferLengthOf(int sizeClass)
    {
        if (sizeClass == 0)
        {
            return 1 << SmallestLengthLog;
        }

        var log = ((sizeClass - 1) >> ClassesPerDoublingLog) + SmallestLengthLog;
        var part = (sizeClass - 1) & ((1 << ClassesPerDoublingLog) - 1);
        return (1 << log) + ((part + 1) << (log - ClassesPerDoublingLog));
    }

    /// <summary>What a block in a buffer of this class is charged.</summary>
    internal static int ChargeBytes(int sizeClass) => BufferLengthOf(sizeClass) + OverheadBytes;

    /// <summary>A block with room for this many bytes, or null when readers still hold what it would take.</summary>
    internal CachedBlock? TryRent(int lengthBytes)
    {
        var sizeClass = ClassOf(lengthBytes);
        if (TryReuse(sizeClass) is { } free)
        {
            return free;
        }

        var charge = ChargeBytes(sizeClass);
        if (AllocatedBytes + charge > CapacityBytes)
        {
            Reclaim();
            if (TryReuse(sizeClass) is { } reclaimed)
            {
                return reclaimed;
            }

            DropFree(CapacityBytes - charge);
            if (AllocatedBytes + charge > CapacityBytes)
            {
                return null;
            }
        }

        AllocatedBytes += charge;
        // On the pinned heap: the buffers stay for long, and nothing moves them on their way to it.
        return new CachedBlock(sizeClass, GC.AllocateUninitializedArray<byte>(BufferLengthOf(sizeClass), pinned: true));
    }

    /// <summary>Takes a block back that no new reader can reach.</summary>
    internal void Retire(CachedBlock block)
    {
        _retiring.Enqueue(block);
        if (_retiring.Count == BatchCount)
        {
            CloseBatch();
        }
    }

    /// <summary>Changes what may be allocated.</summary>
    internal void Resize(long capacityBytes)
    {
        CapacityBytes = capacityBytes;
        Reclaim();
        DropFree(capacityBytes);
    }

    private CachedBlock? TryReuse(int sizeClass)
    {
        if (_free[sizeClass] is { Count: > 0 } blocks)
        {
            var block = blocks.Pop();
            _freeBytes -= block.ChargeBytes;
            return block;
        }

        return null;
    }

    private void CloseBatch()
    {
        _retired.Enqueue((epochs.Advance(), _retiring));
        _retiring = default;
    }

    private void Reclaim()
    {
        if (_retiring.Count > 0)
        {
            CloseBatch();
        }

        var oldest = epochs.OldestReader();
        while (_retired.TryPeek(out var batch) && batch.Epoch <= oldest)
        {
            _retired.Dequeue();
            while (batch.Blocks.TryDequeue() is { } block)
            {
                (_free[block.SizeClass] ??= new Stack<CachedBlock>()).Push(block);
                _freeBytes += block.ChargeBytes;
            }
        }
    }

    /// <summary>Leaves free buffers to the garbage collector, the largest first, until no more than this is charged for or none are left.</summary>
    private void DropFree(long allocatedBytesMax)
    {
        for (var sizeClass = _free.Length - 1; sizeClass >= 0 && _freeBytes > 0 && AllocatedBytes > allocatedBytesMax; sizeClass--)
        {
            while (AllocatedBytes > allocatedBytesMax && TryReuse(sizeClass) is { } block)
            {
                AllocatedBytes -= block.ChargeBytes;
            }
        }
    }
}
