using System.Globalization;
using System.Text.RegularExpressions;
using static LsmFs.Embedded.RocksDb;

namespace LsmFs.Embedded;

/// <summary>RocksDB in this process.</summary>
internal sealed unsafe partial class RocksDbEngine : IEngine
{
    // kExceptHistogramOrTimers: counters only, which cost next to nothing.
    private const int CountersOnly = (int)RocksDbSharp.StatisticsLevel.ExceptHistogramOrTimers;

    // A whole key of ours starts with a letter.
    private static ReadOnlySpan<byte> PastEveryKey => [0xFF];

    private readonly nint _options;
    private readonly nint _database;
    private readonly nint _writeOptions;
    private readonly nint _readOptions;

    public RocksDbEngine(string folder, Settings settings)
    {
        Setup = OptionString(settings);
        var defaults = rocksdb_options_create();
        _options = rocksdb_options_create();
        rocksdb_get_options_from_string(defaults, Setup, _options, out var error);
        rocksdb_options_destroy(defaults);
        Check(error);
        rocksdb_options_enable_statistics(_options);
        rocksdb_options_set_statistics_level(_options, CountersOnly);
        Directory.CreateDirectory(folder);
        _database = rocksdb_open(_options, folder, out error);
        Check(error);
        _writeOptions = rocksdb_writeoptions_create();
        rocksdb_writeoptions_set_sync(_writeOptions, settings.IsSynced ? (byte)1 : (byte)0);
        _readOptions = rocksdb_readoptions_create();
    }

    public string Setup { get; }

    /// <summary>
    /// RocksDB's recommended settings for a bounded memory: half of the budget are three write buffers, the other half is one cache for blocks, filters
    /// and indexes, which are partitioned so that they need not be resident. Proportions of levels as RocksDB has them by default.
    /// </summary>
    private static string OptionString(Settings settings)
    {
        const int WriteBufferCount = 3;
        var half = settings.MemoryBudgetBytes / 2;
        var writeBuffer = half / WriteBufferCount;
        var compression = settings.IsCompressed ? "kLZ4Compression" : "kNoCompression";
        return string.Join(";\n", [
            "create_if_missing=true",
            $"write_buffer_size={writeBuffer}",
            $"max_write_buffer_number={WriteBufferCount}",
            $"target_file_size_base={writeBuffer}",
            $"max_bytes_for_level_base={writeBuffer * 4}",
            "level_compaction_dynamic_level_bytes=true",
            "compaction_pri=kMinOverlappingRatio",
            "max_background_jobs=2",
            "bytes_per_sync=1048576",
            $"compression={compression}",
            $"bottommost_compression={compression}",
            "use_direct_reads=false",
            "use_direct_io_for_flush_and_compaction=false",
            "stats_dump_period_sec=0",
            $"block_based_table_factory={{block_size=4096;block_cache={half};cache_index_and_filter_blocks=true;"
                + "pin_l0_filter_and_index_blocks_in_cache=true;index_type=kTwoLevelIndexSearch;partition_filters=true;"
                + "metadata_block_size=4096;pin_top_level_index_and_filter=true;filter_policy=bloomfilter:10:false}",
        ]);
    }

    public IWriter CreateWriter() => new Writer(this);

    public IReader CreateReader() => new Reader(this);

    public void Scan(ItemVisitor visit)
    {
        var iterator = rocksdb_create_iterator(_database, _readOptions);
        try
        {
            rocksdb_iter_seek_to_first(iterator);
            Walk(iterator, long.MaxValue, visit);
        }
        finally
        {
            rocksdb_iter_destroy(iterator);
        }
    }

    /// <summary>From where the iterator stands on; returns how many items it showed.</summary>
    private static long Walk(nint iterator, long count, ItemVisitor visit)
    {
        var seen = 0L;
        for (; seen < count && rocksdb_iter_valid(iterator) != 0; rocksdb_iter_next(iterator), seen++)
        {
            var key = rocksdb_iter_key(iterator, out var keyLength);
            var value = rocksdb_iter_value(iterator, out var valueLength);
            visit(new ReadOnlySpan<byte>(key, (int)keyLength), new ReadOnlySpan<byte>(value, (int)valueLength));
        }

        rocksdb_iter_get_error(iterator, out var error);
        Check(error);
        return seen;
    }

    public void RemoveEverything()
    {
        byte first = 0;
        fixed (byte* end = PastEveryKey)
        {
            var family = rocksdb_get_default_column_family_handle(_database);
            rocksdb_delete_range_cf(_database, _writeOptions, family, &first, 0, end, (nuint)PastEveryKey.Length, out var error);
            Check(error);
        }
    }

    public SortedDictionary<string, long> ReadCounters()
    {
        var counters = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (Match line in CounterLine().Matches(TakeString(rocksdb_options_statistics_get_string(_options))))
        {
            if (long.Parse(line.Groups[2].ValueSpan, CultureInfo.InvariantCulture) is not 0 and var count)
            {
                counters[line.Groups[1].Value] = count;
            }
        }

        foreach (var name in (string[])["block-cache-usage", "cur-size-all-mem-tables", "estimate-table-readers-mem", "total-sst-files-size"])
        {
            if (rocksdb_property_int(_database, $"rocksdb.{name}", out var value) == 0)
            {
                counters[$"rocksdb.{name}"] = (long)value;
            }
        }

        return counters;
    }

    public void Dispose()
    {
        rocksdb_close(_database);
        rocksdb_readoptions_destroy(_readOptions);
        rocksdb_writeoptions_destroy(_writeOptions);
        rocksdb_options_destroy(_options);
    }

    [GeneratedRegex(@"^(rocksdb\.\S+) COUNT : (\d+)$", RegexOptions.Multiline)]
    private static partial Regex CounterLine();

    private sealed class Writer(RocksDbEngine engine) : IWriter
    {
        private readonly nint _batch = rocksdb_writebatch_create();

        public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
        {
            fixed (byte* keyBytes = key, valueBytes = value)
            {
                rocksdb_writebatch_put(_batch, keyBytes, (nuint)key.Length, valueBytes, (nuint)value.Length);
            }
        }

        public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, uint expirySeconds) =>
            throw new NotSupportedException("RocksDB has no expiry of a key's own");

        public void Delete(ReadOnlySpan<byte> key)
        {
            fixed (byte* keyBytes = key)
            {
                rocksdb_writebatch_delete(_batch, keyBytes, (nuint)key.Length);
            }
        }

        public void Commit()
        {
            rocksdb_write(engine._database, engine._writeOptions, _batch, out var error);
            rocksdb_writebatch_clear(_batch);
            Check(error);
        }

        public void Dispose() => rocksdb_writebatch_destroy(_batch);
    }

    private sealed class Reader(RocksDbEngine engine) : IReader
    {
        public int Get(ReadOnlySpan<byte> key, Span<byte> value)
        {
            fixed (byte* keyBytes = key, valueBytes = value)
            {
                var hasRoom = rocksdb_get_into_buffer(
                    engine._database, engine._readOptions, keyBytes, (nuint)key.Length, valueBytes, (nuint)value.Length, out var length, out var isFound, out var error);
                Check(error);
                return isFound == 0 ? -1
                    : hasRoom != 0 ? (int)length
                    : throw new InvalidOperationException($"RocksDB has a value of {length} bytes, longer than any that was written");
            }
        }

        public int Scan(ReadOnlySpan<byte> from, int count, ItemVisitor visit)
        {
            var iterator = rocksdb_create_iterator(engine._database, engine._readOptions);
            try
            {
                fixed (byte* key = from)
                {
                    rocksdb_iter_seek(iterator, key, (nuint)from.Length);
                }

                return (int)Walk(iterator, count, visit);
            }
            finally
            {
                rocksdb_iter_destroy(iterator);
            }
        }

        public void Dispose()
        {
        }
    }
}
