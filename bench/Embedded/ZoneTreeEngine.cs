using ZoneTree;
using ZoneTree.Comparers;
using ZoneTree.Logger;
using ZoneTree.Options;
using ZoneTree.Serializers;

namespace LsmFs.Embedded;

/// <summary>ZoneTree in this process. It holds keys and values as arrays of its own, so a put allocates both, and a commit of several writes is several.</summary>
internal sealed class ZoneTreeEngine : IEngine
{
    // What an item costs in the mutable segment beside its bytes: two arrays, their descriptions, and its place in the B+tree's leaf.
    private const int ItemOverheadBytes = 100;
    private const int SegmentCount = 3;

    private readonly string _folder;
    private readonly Settings _settings;
    private IZoneTree<Memory<byte>, Memory<byte>> _tree;
    private IMaintainer _maintainer;

    public ZoneTreeEngine(string folder, Settings settings)
    {
        _folder = folder;
        _settings = settings;
        (_tree, _maintainer) = Open();
    }

    /// <summary>
    /// As for RocksDB, half of the budget is for three segments of writes in memory. ZoneTree bounds its block cache by time and not by bytes: blocks
    /// that were not read for ten seconds go.
    /// </summary>
    public string Setup => string.Join(";\n", [
        $"MutableSegmentMaxItemCount={SegmentItemCount}",
        $"WriteAheadLogMode={LogMode}",
        "DiskSegmentMode=MultiPartDiskSegment",
        $"CompressionMethod={Compression}",
        "maintainer: merge from 3 read-only segments on, block cache for 10 s",
    ]);

    private int SegmentItemCount =>
        (int)Math.Min(int.MaxValue, _settings.MemoryBudgetBytes / 2 / SegmentCount / (_settings.LiveBytes(1) + ItemOverheadBytes));

    // Each write is given to the operating system before the call returns; ZoneTree has no mode that also waits for the disk.
    private static WriteAheadLogMode LogMode => WriteAheadLogMode.Sync;

    private CompressionMethod Compression => _settings.IsCompressed ? CompressionMethod.LZ4 : CompressionMethod.None;

    public IWriter CreateWriter() => new Writer(this);

    public IReader CreateReader() => new Reader(this);

    public void Scan(ItemVisitor visit)
    {
        using var iterator = _tree.CreateIterator();
        while (iterator.Next())
        {
            visit(iterator.CurrentKey.Span, iterator.CurrentValue.Span);
        }
    }

    public void RemoveEverything()
    {
        _maintainer.TryCancelBackgroundThreads();
        _maintainer.WaitForBackgroundThreads();
        _maintainer.Dispose();
        _tree.Maintenance.Drop();
        _tree.Dispose();
        (_tree, _maintainer) = Open();
    }

    public SortedDictionary<string, long> ReadCounters() => new(StringComparer.Ordinal)
    {
        ["InMemoryRecordCount"] = _tree.Maintenance.InMemoryRecordCount,
        ["ReadOnlySegmentsCount"] = _tree.Maintenance.ReadOnlySegmentsCount,
        ["BottomSegmentsCount"] = _tree.Maintenance.BottomSegments.Count,
        ["TotalRecordCount"] = _tree.Maintenance.TotalRecordCount,
    };

    public void Dispose()
    {
        _maintainer.WaitForBackgroundThreads();
        _maintainer.Dispose();
        _tree.Dispose();
    }

    private (IZoneTree<Memory<byte>, Memory<byte>> Tree, IMaintainer Maintainer) Open()
    {
        var tree = new ZoneTreeFactory<Memory<byte>, Memory<byte>>()
            .SetLogLevel(LogLevel.Error)
            .SetDataDirectory(_folder)
            .SetWriteAheadLogDirectory(_folder)
            .SetComparer(new ByteArrayLexicographicComparerAscending())
            .SetKeySerializer(new ByteArraySerializer())
            .SetValueSerializer(new ByteArraySerializer())
            .SetMutableSegmentMaxItemCount(SegmentItemCount)
            .ConfigureWriteAheadLogOptions(options => options.WriteAheadLogMode = LogMode)
            .ConfigureDiskSegmentOptions(options => options.CompressionMethod = Compression)
            .OpenOrCreate();
        var maintainer = tree.CreateMaintainer();
        maintainer.ThresholdForMergeOperationStart = 3 * SegmentItemCount;
        maintainer.EnableJobForCleaningInactiveCaches = true;
        maintainer.BlockCacheLifeTime = TimeSpan.FromSeconds(10);
        return (tree, maintainer);
    }

    private sealed class Writer(ZoneTreeEngine engine) : IWriter
    {
        private readonly List<(Memory<byte> Key, Memory<byte> Value, bool IsDelete)> _writes = [];

        public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value) => _writes.Add((key.ToArray(), value.ToArray(), false));

        public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, uint expirySeconds) =>
            throw new NotSupportedException("ZoneTree has no expiry of a key's own");

        public void Delete(ReadOnlySpan<byte> key) => _writes.Add((key.ToArray(), default, true));

        public void Commit()
        {
            foreach (var (key, value, isDelete) in _writes)
            {
                if (isDelete)
                {
                    engine._tree.ForceDelete(key);
                }
                else
                {
                    engine._tree.Upsert(key, value);
                }
            }

            _writes.Clear();
        }

        public void Dispose()
        {
        }
    }

    private sealed class Reader(ZoneTreeEngine engine) : IReader
    {
        private readonly byte[] _key = new byte[Dataset.KeyLength + 1];

        public int Get(ReadOnlySpan<byte> key, Span<byte> value)
        {
            key.CopyTo(_key);
            if (!engine._tree.TryGet(_key.AsMemory(0, key.Length), out var found))
            {
                return -1;
            }

            found.Span.CopyTo(value);
            return found.Length;
        }

        public int Scan(ReadOnlySpan<byte> from, int count, ItemVisitor visit)
        {
            using var iterator = engine._tree.CreateIterator();
            iterator.Seek(from.ToArray());
            var seen = 0;
            for (; seen < count && iterator.Next(); seen++)
            {
                visit(iterator.CurrentKey.Span, iterator.CurrentValue.Span);
            }

            return seen;
        }

        public void Dispose()
        {
        }
    }
}
