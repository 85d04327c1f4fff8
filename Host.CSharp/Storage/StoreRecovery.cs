using System.Diagnostics;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace LsmFs.Host;

/// <summary>What recovery found.</summary>
internal sealed record RecoveredStore(
    ManifestState State,
    FrozenMemtable[] Frozen,
    FSharpFunc<FileNumber, Table> Tables,
    FlushState Flush,
    SequenceNumber LastSequence,
    FileNumber NextFile,
    IReadOnlyList<StoreFile> Leftovers,
    IReadOnlyList<FileNumber> Logs)
{
    /// <summary>What the new manifest says when logs before <paramref name="oldestLog"/> are not needed.</summary>
    internal ManifestState StateSince(FileNumber oldestLog) => new(State.Version, oldestLog, NextFile, LastSequence, Flush);
}

/// <summary>Opens the files of a folder as the engine's recovery decides.</summary>
internal static class StoreRecovery
{
    /// <summary>
    /// Reads manifest, tables and logs. Unless <paramref name="isReadOnly"/>, torn tails are cut and what was read is made durable; nothing else changes.
    /// </summary>
    internal static RecoveredStore Run(
        DataFolder folder, Options options, TableFiles tableFiles, ChunkPool chunks, ILogger log, bool isReadOnly = false)
    {
        var started = Stopwatch.GetTimestamp();
        var files = ListModule.OfSeq(folder.Files());
        var (manifest, state) = ReadManifest(folder, options, files);
        var plan = Require(folder, Recovery.plan(manifest, state, files));
        var tables = VersionModule.tables(state.Version).ToDictionary(table => table.Item2.Number, table => tableFiles.Open(table.Item2.Number));
        var logs = ListModule.OfSeq(plan.Logs.Select(number => ReadLog(folder, number)));
        var memtables = Require(folder, Recovery.applyLogs(options, FuncConvert.FromFunc(() => Memtable.Create(chunks)), state, logs));
        if (!isReadOnly)
        {
            SettleLogs(folder, logs, log);
        }

        log.Opened(
            folder.Path,
            tables.Count,
            tables.Values.Sum(table => table.SizeBytes),
            memtables.EntryCount,
            logs.Length,
            (long)Stopwatch.GetElapsedTime(started).TotalMilliseconds);
        return new RecoveredStore(
            state,
            [.. memtables.Memtables.Reverse()],
            FuncConvert.FromFunc<FileNumber, Table>(number => tables[number]),
            memtables.Flush,
            memtables.LastSequence,
            plan.NextFile,
            [.. plan.Leftovers],
            [.. plan.Logs]);
    }

    /// <summary>Deletes what nothing refers to, once the new manifest is in force.</summary>
    internal static void RemoveLeftovers(DataFolder folder, RecoveredStore recovered, FileNumber oldestLog, ILogger log)
    {
        // Every start replaces the manifest, so that one is no sign of a crash.
        var emptyLogs = recovered.Logs.Where(number => number.Value < oldestLog.Value).Select(StoreFile.NewLog);
        foreach (var file in recovered.Leftovers.Concat(emptyLogs))
        {
            try
            {
                folder.Delete(file);
            }
            catch (IOException cause)
            {
                log.DeleteFailed(FileName.ofFile(file), cause.Message);
                continue;
            }

            if (!file.IsManifest)
            {
                log.LeftoverRemoved(FileName.ofFile(file));
            }
        }
    }

    private static (FileNumber Manifest, ManifestState State) ReadManifest(DataFolder folder, Options options, FSharpList<StoreFile> files)
    {
        if (!folder.Exists(StoreFile.Current))
        {
            return Recovery.isNewStore(files)
                ? (FileNumber.NewFileNumber(0), ManifestReplay.initial(options.LevelCount))
                : throw new StoreException($"the data in {folder.Path} is damaged: CURRENT is missing, and there are tables or logs without it");
        }

        var number = Require(folder, ManifestReplay.decodeCurrent(folder.ReadAll(StoreFile.Current)));
        var file = StoreFile.NewManifest(number);
        if (!folder.Exists(file))
        {
            throw new StoreException($"the data in {folder.Path} is damaged: CURRENT names {FileName.ofFile(file)}, and it is not there");
        }

        return (number, Require(folder, ManifestReplay.replay(options.LevelCount, number, FileName.ofFile(file), folder.ReadAll(file))));
    }

    private static ReplayedLog ReadLog(DataFolder folder, FileNumber number)
    {
        var file = StoreFile.NewLog(number);
        var bytes = folder.ReadAll(file);
        return new ReplayedLog(number, bytes, Require(folder, LogFile.replay(LogKind.WriteAheadLog, number, FileName.ofFile(file), bytes)));
    }

    // A killed process may have left records that only the operating system's memory holds. Were they to be torn by a power cut later, after they were
    // served and others were written behind them, the log would be damaged in the middle. A sync alone would not do for the last group: were its own sync to
    // have failed before, the operating system would show it and take it for written (Rebello et al., 2020).
    private static void SettleLogs(DataFolder folder, IEnumerable<ReplayedLog> logs, ILogger log)
    {
        foreach (var replayed in logs)
        {
            var file = StoreFile.NewLog(replayed.Number);
            var validLength = replayed.Replay.ValidLengthBytes;
            folder.Settle(file, validLength, replayed.Bytes.AsSpan(LogFile.lastFrameOffset(replayed.Replay)..validLength));
            if (replayed.Replay.TornBytes > 0 && !replayed.Replay.IsTailUnused)
            {
                log.TornTailCut(FileName.ofFile(file), replayed.Replay.TornBytes);
            }
        }
    }

    private static T Require<T>(DataFolder folder, FSharpResult<T, Corruption> result) =>
        result.IsError ? throw StoreException.Damaged(folder.Path, result.ErrorValue) : result.ResultValue;
}
