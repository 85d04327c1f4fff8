using System.Numerics;

namespace LsmFs.Host;

// A hash table of chains that readers walk without a lock, and S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", 2023) to
// choose what leaves: new blocks wait in a small queue, those asked for again there go to the main queue, and a block that comes back soon after it
// left the small queue (the ghosts remember) goes to the main queue at once. A scan passes through the small queue and leaves the main one alone.
//
// Invariants
//   1. What the cache has allocated never exceeds its capacity, after a reduction at the latest when readers have let go (BlockPool).
//   2. A block that a reader found between Enter and Exit keeps its bytes until Exit.
//   3. A block in the table is in exactly one queue, and the key in it is that of its bytes.
//   4. Only the holder of the lock changes the table, the queues and the pool; a hit writes nothing but the block's frequency.

/// <summary>Opened blocks of tables, by table number and offset, within a budget of memory. Thread-safe; a hit takes no lock and allocates nothing.</summary>
internal sealed class BlockCache
{
    private const int FrequencyMax = 3;

    /// <summary>The share of the small queue.</summary>
    private const int SmallShare = 10;

    /// <summary>The share of memory that evicted blocks wait in until readers have left. A block may be as large, and no larger.</summary>
    private const int SlackShare = 16;

    /// <summary>About how many bytes a block has, for the size of the hash table: smaller ones make longer chains.</summary>
    private const int ExpectedBlockBytes = 4096;

    private readonly Lock _lock = new();
    private readonly CachedBlock?[] _buckets;
    private readonly GhostQueue _ghosts;
    private readonly BlockPool _pool;
    private readonly long _tableBytes;
    private BlockQueue _small;
    private BlockQueue _main;
    private long _evictionCount;

    internal BlockCache(Epochs epochs, long capacityBytes)
    {
        var bucketCount = (int)Math.Clamp((long)BitOperations.RoundUpToPowerOf2((ulong)(capacityBytes / ExpectedBlockBytes)), 16, 1 << 28);
        _buckets = new CachedBlock?[bucketCount];
        _ghosts = new GhostQueue(bucketCount);
        _tableBytes = bucketCount * 16L;
        _pool = new BlockPool(epochs, Math.Max(0, capacityBytes - _tableBytes));
        CapacityBytes = capacityBytes;
    }

    /// <summary>Memory that the cache may take.</summary>
    internal long CapacityBytes { get; private set; }

    /// <summary>Memory that the cache takes.</summary>
    internal long AllocatedBytes
    {
        get
        {
            lock (_lock)
            {
                return _pool.AllocatedBytes + _tableBytes;
            }
        }
    }

    /// <summary>Blocks in the cache, and their memory without what waits for its next use.</summary>
    internal (int Count, long Bytes) Content
    {
        get
        {
            lock (_lock)
            {
                return (_small.Count + _main.Count, LiveBytes);
            }
        }
    }

    /// <summary>Blocks that have left since the cache was made.</summary>
    internal long EvictionCount => Interlocked.Read(ref _evictionCount);

    private long LiveBytes => _small.ChargedBytes + _main.ChargedBytes;

    private long SlackBytes => _pool.CapacityBytes / SlackShare;

    private long LiveBytesMax => _pool.CapacityBytes - SlackBytes;

    /// <summary>Whether a block of this length is taken.</summary>
    internal bool Takes(int lengthBytes) =>
        lengthBytes <= BlockPool.LengthBytesMax && BlockPool.ChargeBytes(BlockPool.ClassOf(lengthBytes)) <= SlackBytes;

    /// <summary>
    /// The block at an offset of a table, or null. Between Enter and Exit of a reader, who may look at it until then. <paramref name="isUse"/> says
    /// whether that makes the block more worth keeping.
    /// </summary>
    internal CachedBlock? Find(ulong table, long offsetBytes, bool isUse = true)
    {
        var block = Volatile.Read(ref BucketOf(HashOf(table, offsetBytes)));
        while (block is not null && (block.OffsetBytes != offsetBytes || block.Table != table))
        {
            block = Volatile.Read(ref block.NextInBucket);
        }

        if (block is not null && isUse && block.Frequency < FrequencyMax)
        {
            block.Frequency++;
        }

        return block;
    }

    /// <summary>Whether the block is there. Does not count as asking for it.</summary>
    internal bool Contains(ulong table, long offsetBytes) => Find(table, offsetBytes, isUse: false) is not null;

    /// <summary>Copies an opened block into the cache, unless it is there or too large, or readers still hold the memory it would take.</summary>
    internal void Add(ulong table, long offsetBytes, ReadOnlySpan<byte> content)
    {
        if (!Takes(content.Length))
        {
            return;
        }

        var hash = HashOf(table, offsetBytes);
        lock (_lock)
        {
            if (Contains(table, offsetBytes) || _pool.TryRent(content.Length) is not { } block)
            {
                return;
            }

            content.CopyTo(block.Buffer);
            block.LengthBytes = content.Length;
            block.Table = table;
            block.OffsetBytes = offsetBytes;
            block.Hash = hash;
            block.Frequency = 0;
            ref var bucket = ref BucketOf(hash);
            block.NextInBucket = bucket;
            // A reader sees the block whole or not at all.
            Volatile.Write(ref bucket, block);
            if (_ghosts.Contains(hash, _main.Count))
            {
                _main.Enqueue(block);
            }
            else
            {
                _small.Enqueue(block);
            }

            EvictDownTo(LiveBytesMax);
        }
    }

    /// <summary>Changes how much memory the cache may take, up to what it was made for.</summary>
    internal void Resize(long capacityBytes)
    {
        lock (_lock)
        {
            CapacityBytes = capacityBytes;
            var forBlocks = Math.Max(0, capacityBytes - _tableBytes);
            EvictDownTo(forBlocks - forBlocks / SlackShare);
            _pool.Resize(forBlocks);
        }
    }

    private static ulong HashOf(ulong table, long offsetBytes)
    {
        var mixed = (table * 0x9E3779B97F4A7C15 ^ (ulong)offsetBytes) * 0xD6E8FEB86659FD93;
        return mixed ^ mixed >> 32;
    }

    private ref CachedBlock? BucketOf(ulong hash) => ref _buckets[(int)hash & (_buckets.Length - 1)];

    private void EvictDownTo(long liveBytesMax)
    {
        while (LiveBytes > liveBytesMax)
        {
            if (_small.ChargedBytes > liveBytesMax / SmallShare || _main.Count == 0)
            {
                EvictFromSmall();
            }
            else
            {
                EvictFromMain();
            }
        }
    }

    private void EvictFromSmall()
    {
        if (_small.TryDequeue() is not { } block)
        {
            return;
        }

        if (block.Frequency > 1)
        {
            block.Frequency = 0;
            _main.Enqueue(block);
        }
        else
        {
            _ghosts.Add(block.Hash);
            Remove(block);
        }
    }

    private void EvictFromMain()
    {
        if (_main.TryDequeue() is not { } block)
        {
            return;
        }

        if (block.Frequency > 0)
        {
            block.Frequency--;
            _main.Enqueue(block);
        }
        else
        {
            Remove(block);
        }
    }

    private void Remove(CachedBlock block)
    {
        ref var link = ref BucketOf(block.Hash);
        while (link != block)
        {
            link = ref link!.NextInBucket;
        }

        Volatile.Write(ref link, block.NextInBucket);
        _evictionCount++;
        _pool.Retire(block);
    }
}
