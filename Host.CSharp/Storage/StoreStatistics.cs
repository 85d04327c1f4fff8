using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>The block cache, and what the readers have counted at it.</summary>
internal readonly record struct CacheStatistics(BlockCache Cache, long HitCount, long MissCount, long AwaitedCount, long CommitReadCount);

/// <summary>Figures of a store at one moment.</summary>
public sealed record StoreStatistics
{
    /// <summary>The levels that have tables, shallowest first.</summary>
    public required IReadOnlyList<LevelSummary> Levels { get; init; }

    /// <summary>Entries in tables, those included that newer ones shadow, and tombstones.</summary>
    public required long EntryCount { get; init; }

    /// <summary>The sequence number of the newest write: how many there have been in the life of the store.</summary>
    public required ulong LastSequence { get; init; }

    /// <summary>Bytes of the active and the frozen memtables.</summary>
    public required long MemtableBytes { get; init; }

    /// <summary>Frozen memtables that wait to be flushed.</summary>
    public required int FrozenMemtableCount { get; init; }

    /// <summary>Tables, by level.</summary>
    public required IReadOnlyList<int> TableCounts { get; init; }

    /// <summary>Bytes of the tables, by level.</summary>
    public required IReadOnlyList<long> TableBytes { get; init; }

    /// <summary>Memory of filters and indexes.</summary>
    public required long TableMemoryBytes { get; init; }

    /// <summary>Memory that the block cache may take.</summary>
    public required long CacheCapacityBytes { get; init; }

    /// <summary>Memory that the block cache takes.</summary>
    public required long CacheBytes { get; init; }

    /// <summary>Blocks in the cache.</summary>
    public required long CacheBlockCount { get; init; }

    /// <summary>Blocks that were in the cache when they were asked for.</summary>
    public required long CacheHitCount { get; init; }

    /// <summary>Blocks that had to be read from a file.</summary>
    public required long CacheMissCount { get; init; }

    /// <summary>Of the missed blocks, those that neither the cache nor the operating system had in memory, so that read threads read them.</summary>
    public required long AwaitedReadCount { get; init; }

    /// <summary>Of the missed blocks, those that a commit had to read because they had left the cache since the write asked for them.</summary>
    public required long CommitReadCount { get; init; }

    /// <summary>Blocks that have left the cache.</summary>
    public required long CacheEvictionCount { get; init; }

    /// <summary>Bytes of the log that is being written; 0 when there is none.</summary>
    public required long LogBytes { get; init; }

    /// <summary>Bytes of the entries that were committed since the store was opened.</summary>
    public required long CommittedBytes { get; init; }

    /// <summary>Why writes wait at this moment.</summary>
    public required WritePressure Pressure { get; init; }

    /// <summary>Flushes since the store was opened.</summary>
    public required long FlushCount { get; init; }

    /// <summary>Bytes that flushes have written.</summary>
    public required long FlushedBytes { get; init; }

    /// <summary>Compactions since the store was opened, moves left out.</summary>
    public required long CompactionCount { get; init; }

    /// <summary>Bytes that compactions have read.</summary>
    public required long CompactionReadBytes { get; init; }

    /// <summary>Bytes that compactions have written.</summary>
    public required long CompactionWrittenBytes { get; init; }

    /// <summary>Moves of tables to a deeper level, unread.</summary>
    public required long CompactionMoveCount { get; init; }

    /// <summary>Tables that were dropped unread, because all in them was flushed or had expired.</summary>
    public required long DroppedTableCount { get; init; }

    /// <summary>Bytes of the tables that were dropped unread.</summary>
    public required long DroppedTableBytes { get; init; }

    /// <summary>How long the last compaction took, in milliseconds.</summary>
    public required long LastCompactionMilliseconds { get; init; }

    /// <summary>How long the longest compaction took, in milliseconds.</summary>
    public required long LongestCompactionMilliseconds { get; init; }

    /// <summary>Tables that cannot be read and are left alone by compaction.</summary>
    public required IReadOnlyList<FileNumber> QuarantinedTables { get; init; }

    /// <summary>How long writes were slowed since the store was opened, by what slowed them.</summary>
    public required IReadOnlyDictionary<WritePressure, TimeSpan> PacedTimes { get; init; }

    /// <summary>How long writes had to wait at a bound since the store was opened, by what bound.</summary>
    public required IReadOnlyDictionary<WritePressure, TimeSpan> StoppedTimes { get; init; }

    /// <summary>How much writes are slowed now, and by what.</summary>
    public required WritePace Pace { get; init; }

    /// <summary>Snapshots that are held, and what is kept for them alone.</summary>
    public required HoldStatistics Holds { get; init; }

    /// <summary>Why writes are refused, or null.</summary>
    public required string? WriteRefusal { get; init; }

    /// <summary>The part of the blocks asked for that were in the cache, from 0 to 1; 0 before the first.</summary>
    public double CacheHitRate =>
        CacheHitCount + CacheMissCount == 0 ? 0 : (double)CacheHitCount / (CacheHitCount + CacheMissCount);

    /// <summary>Bytes that flushes and compactions have written for each byte committed, since the store was opened; 0 before the first.</summary>
    public double WriteAmplification =>
        CommittedBytes == 0 ? 0 : (double)(FlushedBytes + CompactionWrittenBytes) / CommittedBytes;

    /// <summary>Bytes of all levels for each byte of the deepest.</summary>
    public double SpaceAmplification => LevelSummaryModule.spaceAmplification([.. Levels]);

    internal static StoreStatistics Of(Store store, BackgroundWork background, CacheStatistics cache, Committer committer)
    {
        var snapshot = store.Current;
        var levels = snapshot.Version.Levels;
        var counters = background.Counters;
        WritePressure[] pressures = [WritePressure.Memtables, WritePressure.LevelZero, WritePressure.Levels];
        var memtables = snapshot.Frozen.Select(frozen => frozen.Memtable).Append(snapshot.Active).ToArray();
        return new StoreStatistics
        {
            Levels = LevelSummaryModule.ofVersion(snapshot.Version),
            EntryCount = levels.Sum(level => level.Sum(table => table.Properties.EntryCount)),
            LastSequence = snapshot.LastSequence.Value,
            MemtableBytes = memtables.Sum(memtable => memtable.SizeBytes),
            FrozenMemtableCount = snapshot.Frozen.Length,
            TableCounts = [.. levels.Select(level => level.Length)],
            TableBytes = [.. levels.Select(level => level.Sum(table => table.SizeBytes))],
            TableMemoryBytes = snapshot.Tables.Sum(level => level.Sum(table => table.MemoryBytes)),
            CacheCapacityBytes = cache.Cache.CapacityBytes,
            CacheBytes = cache.Cache.AllocatedBytes,
            CacheBlockCount = cache.Cache.Content.Count,
            CacheHitCount = cache.HitCount,
            CacheMissCount = cache.MissCount,
            AwaitedReadCount = cache.AwaitedCount,
            CommitReadCount = cache.CommitReadCount,
            CacheEvictionCount = cache.Cache.EvictionCount,
            LogBytes = committer.Groups.LogBytes,
            CommittedBytes = committer.Groups.CommittedBytes,
            Pressure = store.Pressure,
            FlushCount = counters.FlushCount,
            FlushedBytes = counters.FlushedBytes,
            CompactionCount = counters.CompactionCount,
            CompactionReadBytes = counters.CompactionReadBytes,
            CompactionWrittenBytes = counters.CompactionWrittenBytes,
            CompactionMoveCount = counters.MoveCount,
            DroppedTableCount = counters.DropCount,
            DroppedTableBytes = counters.DroppedBytes,
            LastCompactionMilliseconds = counters.LastCompactionMilliseconds,
            LongestCompactionMilliseconds = counters.LongestCompactionMilliseconds,
            QuarantinedTables = [.. background.Compactions.Quarantined.Where(number => levels.Any(level => level.Any(table => table.Number.Equals(number))))],
            PacedTimes = pressures.ToDictionary(reason => reason, counters.PacedTime),
            StoppedTimes = pressures.ToDictionary(reason => reason, counters.StoppedTime),
            Pace = store.Pace,
            Holds = store.Holds.Statistics,
            WriteRefusal = committer.Groups.Poison ?? store.WriteTrouble,
        };
    }
}
