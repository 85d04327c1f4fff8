using System.Globalization;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>What `stats lsm` reports: how the store is doing. docs/OPERATIONS.md says what each line means.</summary>
internal static class LsmStatistics
{
    /// <summary>Names and values, in their order. No value has a space in it, as in memcached: tools cut lines at spaces.</summary>
    public static List<KeyValuePair<string, string>> Of(StoreStatistics store)
    {
        var list = new List<KeyValuePair<string, string>>();
        Add(list, "sequence", (long)store.LastSequence);

        AddLevels(list, store);
        Add(list, "memtable_bytes", store.MemtableBytes);
        Add(list, "memtables_frozen", store.FrozenMemtableCount);
        Add(list, "log_bytes", store.LogBytes);

        Add(list, "cache_capacity_bytes", store.CacheCapacityBytes);
        Add(list, "cache_bytes", store.CacheBytes);
        Add(list, "cache_blocks", store.CacheBlockCount);
        Add(list, "cache_hits", store.CacheHitCount);
        Add(list, "cache_misses", store.CacheMissCount);
        Add(list, "awaited_reads", store.AwaitedReadCount);
        Add(list, "commit_reads", store.CommitReadCount);
        Add(list, "cache_evictions", store.CacheEvictionCount);
        Add(list, "cache_hit_rate", store.CacheHitRate);

        Add(list, "committed_bytes", store.CommittedBytes);
        Add(list, "flushes", store.FlushCount);
        Add(list, "flush_written_bytes", store.FlushedBytes);
        Add(list, "compactions", store.CompactionCount);
        Add(list, "compaction_read_bytes", store.CompactionReadBytes);
        Add(list, "compaction_written_bytes", store.CompactionWrittenBytes);
        Add(list, "compaction_moves", store.CompactionMoveCount);
        Add(list, "compaction_last_ms", store.LastCompactionMilliseconds);
        Add(list, "compaction_longest_ms", store.LongestCompactionMilliseconds);
        Add(list, "dropped_tables", store.DroppedTableCount);
        Add(list, "dropped_table_bytes", store.DroppedTableBytes);
        Add(list, "quarantined_tables", store.QuarantinedTables.Count);
        Add(list, "write_amplification", store.WriteAmplification);
        Add(list, "space_amplification", store.SpaceAmplification);

        Add(list, "write_pressure", Word(store.Pressure.ToString()));
        Add(list, "write_pace_reason", Word(store.Pace.Reason.ToString()));
        Add(list, "write_pace_ns_per_byte", store.Pace.NanosecondsPerByte);
        foreach (var (reason, time) in store.PacedTimes)
        {
            Add(list, $"write_paced_{Word(reason.ToString())}_ms", (long)time.TotalMilliseconds);
        }

        foreach (var (reason, time) in store.StoppedTimes.Where(stopped => stopped.Key != WritePressure.Levels))
        {
            Add(list, $"write_stopped_{Word(reason.ToString())}_ms", (long)time.TotalMilliseconds);
        }

        Add(list, "write_refusal", Word(store.WriteRefusal ?? "none"));

        Add(list, "snapshots_held", store.Holds.Count);
        Add(list, "snapshot_oldest_seconds", (long)store.Holds.OldestAge.TotalSeconds);
        Add(list, "snapshot_memtable_bytes", store.Holds.MemtableBytes);
        Add(list, "snapshot_table_bytes", store.Holds.TableBytes);
        return list;
    }

    private static void AddLevels(List<KeyValuePair<string, string>> list, StoreStatistics store)
    {
        Add(list, "tables", store.Levels.Sum(level => level.TableCount));
        Add(list, "table_bytes", store.Levels.Sum(level => level.SizeBytes));
        Add(list, "table_entries", store.Levels.Sum(level => level.EntryCount));
        Add(list, "table_tombstones", store.Levels.Sum(level => level.TombstoneCount));
        Add(list, "table_memory_bytes", store.TableMemoryBytes);
        foreach (LevelSummary level in store.Levels)
        {
            Add(list, $"level_{level.Level}_tables", level.TableCount);
            Add(list, $"level_{level.Level}_bytes", level.SizeBytes);
            Add(list, $"level_{level.Level}_entries", level.EntryCount);
            Add(list, $"level_{level.Level}_tombstones", level.TombstoneCount);
        }
    }

    private static void Add(List<KeyValuePair<string, string>> list, string name, string value) => list.Add(new(name, value));

    private static void Add(List<KeyValuePair<string, string>> list, string name, long value) =>
        Add(list, name, value.ToString(CultureInfo.InvariantCulture));

    private static void Add(List<KeyValuePair<string, string>> list, string name, double value) =>
        Add(list, name, value.ToString("F2", CultureInfo.InvariantCulture));

    private static string Word(string text) => text.Replace(' ', '_').ToLowerInvariant();
}
