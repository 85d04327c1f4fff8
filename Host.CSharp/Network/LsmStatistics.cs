using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>What `stats lsm` reports: how the store is doing. docs/OPERATIONS.md says what each line means.</summary>
internal static class LsmStatistics
{
    /// <summary>Names and values, in their order. No value has a space in it, as in memcached: tools cut lines at spaces.</summary>
    public static StatisticList Of(StoreStatistics store)
    {
        var list = new StatisticList();
        list.Add("sequence", (long)store.LastSequence);

        AddLevels(list, store);
        list.Add("memtable_bytes", store.MemtableBytes);
        list.Add("memtables_frozen", store.FrozenMemtableCount);
        list.Add("log_bytes", store.LogBytes);

        list.Add("cache_capacity_bytes", store.CacheCapacityBytes);
        list.Add("cache_bytes", store.CacheBytes);
        list.Add("cache_blocks", store.CacheBlockCount);
        list.Add("cache_hits", store.CacheHitCount);
        list.Add("cache_misses", store.CacheMissCount);
        list.Add("awaited_reads", store.AwaitedReadCount);
        list.Add("commit_reads", store.CommitReadCount);
        list.Add("cache_evictions", store.CacheEvictionCount);
        list.Add("cache_hit_rate", store.CacheHitRate);

        list.Add("committed_bytes", store.CommittedBytes);
        list.Add("flushes", store.FlushCount);
        list.Add("flush_written_bytes", store.FlushedBytes);
        list.Add("compactions", store.CompactionCount);
        list.Add("compaction_read_bytes", store.CompactionReadBytes);
        list.Add("compaction_written_bytes", store.CompactionWrittenBytes);
        list.Add("compaction_moves", store.CompactionMoveCount);
        list.Add("compaction_last_ms", store.LastCompactionMilliseconds);
        list.Add("compaction_longest_ms", store.LongestCompactionMilliseconds);
        list.Add("dropped_tables", store.DroppedTableCount);
        list.Add("dropped_table_bytes", store.DroppedTableBytes);
        list.Add("quarantined_tables", store.QuarantinedTables.Count);
        list.Add("write_amplification", store.WriteAmplification);
        list.Add("space_amplification", store.SpaceAmplification);

        list.Add("write_pressure", Word(store.Pressure.ToString()));
        list.Add("write_pace_reason", Word(store.Pace.Reason.ToString()));
        list.Add("write_pace_ns_per_byte", store.Pace.NanosecondsPerByte);
        foreach (var (reason, time) in store.PacedTimes)
        {
            list.Add($"write_paced_{Word(reason.ToString())}_ms", (long)time.TotalMilliseconds);
        }

        foreach (var (reason, time) in store.StoppedTimes.Where(stopped => stopped.Key != WritePressure.Levels))
        {
            list.Add($"write_stopped_{Word(reason.ToString())}_ms", (long)time.TotalMilliseconds);
        }

        list.Add("write_refusal", Word(store.WriteRefusal ?? "none"));

        list.Add("snapshots_held", store.Holds.Count);
        list.Add("snapshot_oldest_seconds", (long)store.Holds.OldestAge.TotalSeconds);
        list.Add("snapshot_memtable_bytes", store.Holds.MemtableBytes);
        list.Add("snapshot_table_bytes", store.Holds.TableBytes);

        for (int generation = 0; generation <= GC.MaxGeneration; generation++)
        {
            list.Add($"gc_{generation}_collections", GC.CollectionCount(generation));
        }

        list.Add("gc_pauses_us", (long)CollectionPauses.Total.TotalMicroseconds);
        list.Add("gc_longest_pause_us", (long)CollectionPauses.Longest.TotalMicroseconds);
        list.Add("gc_allocated_bytes", GC.GetTotalAllocatedBytes());
        return list;
    }

    private static void AddLevels(StatisticList list, StoreStatistics store)
    {
        list.Add("tables", store.Levels.Sum(level => level.TableCount));
        list.Add("table_bytes", store.Levels.Sum(level => level.SizeBytes));
        list.Add("table_entries", store.Levels.Sum(level => level.EntryCount));
        list.Add("table_tombstones", store.Levels.Sum(level => level.TombstoneCount));
        list.Add("table_memory_bytes", store.TableMemoryBytes);
        foreach (LevelSummary level in store.Levels)
        {
            list.Add($"level_{level.Level}_tables", level.TableCount);
            list.Add($"level_{level.Level}_bytes", level.SizeBytes);
            list.Add($"level_{level.Level}_entries", level.EntryCount);
            list.Add($"level_{level.Level}_tombstones", level.TombstoneCount);
        }
    }

    private static string Word(string text) => text.Replace(' ', '_').ToLowerInvariant();
}
