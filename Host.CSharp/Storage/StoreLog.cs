using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>What a store tells its operator, one line each.</summary>
internal static partial class StoreLog
{
    [LoggerMessage(1, LogLevel.Information, "opened {Folder}: {TableCount} tables, {TableBytes} bytes, {EntryCount} entries replayed from {LogCount} logs in {ElapsedMilliseconds} ms")]
    internal static partial void Opened(this ILogger log, string folder, int tableCount, long tableBytes, long entryCount, int logCount, long elapsedMilliseconds);

    [LoggerMessage(2, LogLevel.Warning, "{File}: cut {TornBytes} bytes of an unfinished record at its end, left by a crash; nothing in them had been acknowledged")]
    internal static partial void TornTailCut(this ILogger log, string file, long tornBytes);

    [LoggerMessage(3, LogLevel.Information, "removed {File}, which an earlier run left behind")]
    internal static partial void LeftoverRemoved(this ILogger log, string file);

    [LoggerMessage(4, LogLevel.Debug, "flushed a memtable of {MemtableBytes} bytes to {TableCount} tables of {TableBytes} bytes in {ElapsedMilliseconds} ms")]
    internal static partial void Flushed(this ILogger log, long memtableBytes, int tableCount, long tableBytes, long elapsedMilliseconds);

    [LoggerMessage(5, LogLevel.Debug, "compacted ({Plan}) {InputBytes} bytes into {OutputCount} tables of {OutputBytes} in {ElapsedMilliseconds} ms")]
    internal static partial void Compacted(this ILogger log, string plan, long inputBytes, int outputCount, long outputBytes, long elapsedMilliseconds);

    [LoggerMessage(6, LogLevel.Error, "{File}: offset {OffsetBytes}: cannot be read: {Reason}; lookups that need it are answered with an error")]
    internal static partial void TableUnreadable(this ILogger log, string file, long offsetBytes, string reason);

    [LoggerMessage(7, LogLevel.Error, "writes are refused: {Reason}; each is tried, and those that follow are refused without a line of their own until one succeeds")]
    internal static partial void WriteRefused(this ILogger log, string reason);

    [LoggerMessage(8, LogLevel.Critical, "writes stopped, reads go on: the log could not be written durably: {Reason}; restart to recover")]
    internal static partial void Poisoned(this ILogger log, string reason);

    [LoggerMessage(9, LogLevel.Error, "a group of writes was refused by an internal error")]
    internal static partial void CommitFailed(this ILogger log, Exception cause);

    [LoggerMessage(10, LogLevel.Error, "{Work} failed: {Reason}; it is tried again every second, and values are refused until it succeeds")]
    internal static partial void BackgroundFailed(this ILogger log, string work, string reason);

    [LoggerMessage(11, LogLevel.Information, "background work succeeds again, writes are accepted")]
    internal static partial void BackgroundRecovered(this ILogger log);

    [LoggerMessage(12, LogLevel.Warning, "durability is 'memory': NOTHING IS LOGGED; a write that is not yet in a table when the process is killed is lost")]
    internal static partial void NotDurable(this ILogger log);

    [LoggerMessage(20, LogLevel.Error, "the disk takes no more: {Reason}; values are refused, deletes and flush_all go on with {ReserveBytes} bytes in reserve; make room, values are accepted again by themselves then")]
    internal static partial void DiskFull(this ILogger log, string reason, long reserveBytes);

    [LoggerMessage(21, LogLevel.Information, "there is disk space again, and {ReserveBytes} bytes are in reserve")]
    internal static partial void SpaceIsBack(this ILogger log, long reserveBytes);

    [LoggerMessage(22, LogLevel.Information, "writes succeed again")]
    internal static partial void WritesSucceed(this ILogger log);

    [LoggerMessage(13, LogLevel.Warning, "cannot delete {File}: {Reason}; the next start removes it")]
    internal static partial void DeleteFailed(this ILogger log, string file, string reason);

    [LoggerMessage(30, LogLevel.Error, "{File}: offset {OffsetBytes}: {Reason}; the table is set aside: no compaction touches it, reads of whole blocks and writes go on; run lsmfs check, then lsmfs salvage or restore a backup")]
    internal static partial void TableSetAside(this ILogger log, string file, long offsetBytes, string reason);

    [LoggerMessage(31, LogLevel.Warning, "decisions are not recorded for now: {Reason}; the store works on without, and recording is tried again in ten minutes")]
    internal static partial void DecisionsNotRecorded(this ILogger log, string reason);
}
