using System.Diagnostics;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>What flushes and compactions have done since the store was opened.</summary>
internal sealed class BackgroundCounters
{
    internal long FlushCount;
    internal long FlushedBytes;
    internal long CompactionCount;
    internal long CompactionReadBytes;
    internal long CompactionWrittenBytes;
}

/// <summary>
/// The threads that flush memtables and compact tables, as the engine's <see cref="Work"/> and <see cref="Picking"/> decide. Each piece of work ends in one
/// version edit that is durable before it is visible; files are deleted only when they are unreachable from disk and from every reader.
/// </summary>
internal sealed class BackgroundWork : IDisposable
{
    private static readonly TimeSpan ReclaimInterval = TimeSpan.FromMilliseconds(100);

    private readonly Store _store;
    private readonly CancellationTokenSource _stopping = new();
    private readonly AutoResetEvent _flushWanted = new(false);
    private readonly AutoResetEvent _compactionWanted = new(false);
    private readonly Thread _flusher;
    private readonly Thread _compactor;
    private volatile bool _isStopping;
    private volatile string? _flushFailure;
    private volatile string? _compactionFailure;

    internal BackgroundWork(Store store)
    {
        _store = store;
        _flusher = new Thread(() => RunThread(_flushWanted, TryFlush, SetFlushFailure, "a flush")) { IsBackground = true, Name = "lsmfs-flush" };
        _compactor = new Thread(() => RunThread(_compactionWanted, TryCompact, SetCompactionFailure, "a compaction")) { IsBackground = true, Name = "lsmfs-compact" };
    }

    /// <summary>Why background work fails, in words for a client, or null.</summary>
    internal string? Failure => _flushFailure ?? _compactionFailure;

    /// <summary>Whether no more work is begun.</summary>
    internal bool IsStopping => _isStopping;

    internal BackgroundCounters Counters { get; } = new();

    /// <summary>Begins to work, once the store is complete.</summary>
    internal void Start()
    {
        _flusher.Start();
        _compactor.Start();
    }

    /// <summary>There may be a memtable to flush.</summary>
    internal void WakeFlusher() => _flushWanted.Set();

    /// <summary>Gives up unfinished work and stops. What was given up is done again after the next start.</summary>
    public void Dispose()
    {
        _isStopping = true;
        _stopping.Cancel();
        _flushWanted.Set();
        _compactionWanted.Set();
        _flusher.Join();
        _compactor.Join();
        _store.Epochs.Reclaim();
        _flushWanted.Dispose();
        _compactionWanted.Dispose();
        _stopping.Dispose();
    }

    /// <summary>Does what there is to do, waits for more, and after a failure tries again; writes are refused until it succeeds.</summary>
    private void RunThread(AutoResetEvent wanted, Func<bool> tryWork, Action<string?> setFailure, string work)
    {
        var hasFailed = false;
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                var worked = tryWork();
                if (hasFailed)
                {
                    hasFailed = false;
                    setFailure(null);
                    _store.Log.BackgroundRecovered();
                    _store.WakeCommitter();
                }

                if (!worked)
                {
                    wanted.WaitOne(_store.Epochs.RetiredCount > 0 ? ReclaimInterval : Timeout.InfiniteTimeSpan);
                    _store.Epochs.Reclaim();
                }
            }
            catch (WorkCancelledException)
            {
                return;
            }
            catch (Exception cause)
            {
                hasFailed = true;
                setFailure(cause is IOException io && DiskFull.IsCauseOf(io) ? "out of disk space" : $"{work} failed, see the server's log");
                _store.Log.BackgroundFailed(work, cause is IOException or StoreException ? cause.Message : cause.ToString());
                _store.WakeCommitter();
                _ = _stopping.Token.WaitHandle.WaitOne(_store.Options.RetryDelay);
            }
        }
    }

    private void SetFlushFailure(string? reason) => _flushFailure = reason;

    private void SetCompactionFailure(string? reason) => _compactionFailure = reason;

    private bool TryFlush()
    {
        var snapshot = _store.Current;
        if (Work.flushNext(snapshot) is not { Value: var frozen })
        {
            return false;
        }

        var started = Stopwatch.GetTimestamp();
        var writer = new TableWriter(_store);
        var tables = writer.Run(Work.flushJob(_store.EngineOptions, snapshot, frozen, _store.NowSeconds()), _stopping.Token);
        _store.Install(
            tables,
            current => Work.flushEdit(current, ListModule.OfSeq(tables.Select(table => table.Meta))),
            SnapshotModule.flushed);
        Counters.FlushCount++;
        Counters.FlushedBytes += writer.WrittenBytes;
        _store.Log.Flushed(frozen.Memtable.SizeBytes, tables.Count, writer.WrittenBytes, (long)Stopwatch.GetElapsedTime(started).TotalMilliseconds);
        _store.RetireMemtable(frozen.Memtable);
        _compactionWanted.Set();
        _store.WakeCommitter();
        _store.DeleteLogsBefore(SnapshotModule.oldestLog(_store.Current));
        return true;
    }

    private bool TryCompact()
    {
        var snapshot = _store.Current;
        var input = Work.pickingInput(snapshot, _store.NowSeconds(), FSharpList<CompactionPlan>.Empty, FSharpList<FileNumber>.Empty);
        if (Picking.pick(_store.EngineOptions, input) is not { Value: var plan })
        {
            return false;
        }

        Compact(snapshot, plan);
        _store.WakeCommitter();
        return true;
    }

    private void Compact(Snapshot snapshot, CompactionPlan plan)
    {
        if (plan.Kind != CompactionKind.Merge)
        {
            var edit = CompactionPlanModule.edit(plan, FSharpList<TableMeta>.Empty);
            _store.Install([], _ => edit, SnapshotModule.compacted);
            return;
        }

        var started = Stopwatch.GetTimestamp();
        var writer = new TableWriter(_store);
        var outputs = writer.Run(Work.compactionJob(_store.EngineOptions, snapshot, plan, _store.NowSeconds()), _stopping.Token);
        var replacement = CompactionPlanModule.edit(plan, ListModule.OfSeq(outputs.Select(table => table.Meta)));
        // What was flushed is left out of the new tables, so the flush must be as durable as they are.
        _store.Install(outputs, current => Work.withFlush(current, replacement), SnapshotModule.compacted);
        Counters.CompactionCount++;
        Counters.CompactionReadBytes += writer.ReadBytes;
        Counters.CompactionWrittenBytes += writer.WrittenBytes;
        _store.Log.Compacted(
            CompactionPlanModule.print(plan),
            CompactionPlanModule.inputBytes(plan),
            outputs.Count,
            writer.WrittenBytes,
            (long)Stopwatch.GetElapsedTime(started).TotalMilliseconds);
        foreach (var (_, input) in plan.Inputs)
        {
            _store.RetireTable(input);
        }
    }
}
