using LsmFs.Engine;
using Microsoft.Extensions.Logging;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>Why background work failed.</summary>
/// <param name="Trouble">What it means for writes.</param>
/// <param name="Reason">A few words for a client.</param>
/// <param name="CompactedCount">Compactions that had ended when the work began.</param>
internal sealed record WorkFailure(DiskTrouble Trouble, string Reason, int CompactedCount);

/// <summary>
/// The threads that flush memtables and compact tables, as the engine's <see cref="Work"/> and <see cref="Picking"/> decide. Each piece of work ends in one
/// version edit that is durable before it is visible; files are deleted only when they are unreachable from disk and from every reader.
/// </summary>
internal sealed class BackgroundWork : IDisposable
{
    private const string FlushName = "a flush";
    private const string CompactionName = "a compaction";
    private static readonly TimeSpan ClockInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan ReclaimInterval = TimeSpan.FromMilliseconds(100);

    private readonly Store _store;
    private readonly CancellationTokenSource _stopping = new();
    private readonly AutoResetEvent _flushWanted = new(false);
    private readonly AutoResetEvent _compactionWanted = new(false);
    private readonly Worker _flusher;
    private readonly JobMemory _flushMemory;
    private readonly Worker[] _compactors;
    // Under Scheduling.Manual there are none.
    private readonly List<Thread> _threads = [];
    private volatile bool _isStopping;
    private readonly WorkFailure?[] _compactionFailures;
    // When each compactor began to look for work.
    private readonly uint[] _soughtAtSeconds;
    private volatile WorkFailure? _flushFailure;
    private volatile bool _isFlushing;
    private int _compactingCount;
    // Compactions that have ended, well or not.
    private int _compactedCount;

    internal BackgroundWork(Store store)
    {
        _store = store;
        Compactions = new Compactions(store, Counters);
        _flushMemory = new JobMemory(store.EngineOptions.MemtableSizeBytes);
        _compactionFailures = new WorkFailure?[store.Options.CompactionThreadCount];
        _soughtAtSeconds = new uint[_compactionFailures.Length];
        _flusher = new Worker(TryFlush, failure => _flushFailure = failure, FlushName);
        _compactors =
        [
            .. _compactionFailures.Select((_, index) =>
                new Worker(
                    () =>
                    {
                        _soughtAtSeconds[index] = store.NowSeconds();
                        return TryCompact(ref _compactionFailures[index]);
                    },
                    failure => Volatile.Write(ref _compactionFailures[index], failure),
                    CompactionName)),
        ];
    }

    /// <summary>What came of looking for work.</summary>
    private enum StepOutcome
    {
        Worked,
        HadNothing,
        Failed,
        Cancelled,
    }

    /// <summary>One kind of work, for one thread at a time.</summary>
    private sealed class Worker(Func<bool> tryWork, Action<WorkFailure?> setFailure, string work)
    {
        internal Func<bool> TryWork { get; } = tryWork;

        internal Action<WorkFailure?> SetFailure { get; } = setFailure;

        internal string Work { get; } = work;

        /// <summary>The last failure that was logged, until the work succeeds.</summary>
        internal string? LoggedFailure { get; set; }

        /// <summary>Whether a step of it is under way, under <see cref="Scheduling.Manual"/>.</summary>
        internal bool IsRunning { get; set; }
    }

    /// <summary>
    /// Why the last flush failed, or null. One that had no space while a compaction did, which has ended since, says nothing any more: it may have found
    /// taken what is there again, and is tried again at once.
    /// </summary>
    internal WorkFailure? FlushFailure =>
        _flushFailure is { } failure && (failure.Trouble != DiskTrouble.Full || failure.CompactedCount == Volatile.Read(ref _compactedCount))
            ? failure
            : null;

    /// <summary>Why the last compaction of a thread failed, the worst of them, or null.</summary>
    internal WorkFailure? CompactionFailure
    {
        get
        {
            WorkFailure? worst = null;
            foreach (ref var slot in _compactionFailures.AsSpan())
            {
                if (Volatile.Read(ref slot) is { } failure && (worst is null || failure.Trouble > worst.Trouble))
                {
                    worst = failure;
                }
            }

            return worst;
        }
    }

    /// <summary>Whether the last flush or compaction failed for want of space.</summary>
    internal bool LacksSpace => FlushFailure?.Trouble == DiskTrouble.Full || CompactionFailure?.Trouble == DiskTrouble.Full;

    /// <summary>Whether a flush is under way, or has not yet given back the space it makes free.</summary>
    internal bool IsFlushing => _isFlushing;

    /// <summary>Whether a compaction is.</summary>
    internal bool IsCompacting => Volatile.Read(ref _compactingCount) > 0;

    internal Compactions Compactions { get; }

    /// <summary>Whether no more work is begun.</summary>
    internal bool IsStopping => _isStopping;

    internal BackgroundCounters Counters { get; } = new();

    /// <summary>Begins to work, once the store is complete.</summary>
    internal void Start()
    {
        if (_store.Options.Scheduling == Scheduling.Manual)
        {
            return;
        }

        _threads.Add(new Thread(() => RunThread(_flusher, _flushWanted, () => null)) { IsBackground = true, Name = "lsmfs-flush" });
        _threads.AddRange(
            _compactors.Select((compactor, index) => new Thread(() => RunCompactor(compactor, index)) { IsBackground = true, Name = $"lsmfs-compact{index}" }));
        _threads.ForEach(thread => thread.Start());
    }

    /// <summary>Flushes a memtable, if one waits. Under <see cref="Scheduling.Manual"/>.</summary>
    internal bool TryRunFlush() => TryRun(_flusher);

    /// <summary>
    /// Carries out a compaction, if one is due that can be begun beside those under way. Under <see cref="Scheduling.Manual"/>. As on a thread of its own, a
    /// compactor that has failed tries again: nothing else ends its failure.
    /// </summary>
    internal bool TryRunCompaction()
    {
        var idle = Enumerable.Range(0, _compactors.Length).Where(index => !_compactors[index].IsRunning).ToArray();
        return idle.Length > 0 && TryRun(_compactors[idle.Where(index => _compactionFailures[index] is not null).FirstOrDefault(idle[0])]);
    }

    /// <summary>There may be a memtable to flush.</summary>
    internal void WakeFlusher() => _flushWanted.Set();

    /// <summary>There may be something to compact, or to drop.</summary>
    internal void WakeCompactors() => _compactionWanted.Set();

    /// <summary>Gives up unfinished work and stops. What was given up is done again after the next start.</summary>
    public void Dispose()
    {
        _isStopping = true;
        _stopping.Cancel();
        _flushWanted.Set();
        _compactionWanted.Set();
        // Of the compactors, the one that wakes passes it on.
        _threads.ForEach(thread => thread.Join());

        _store.Epochs.Reclaim();
        _flushWanted.Dispose();
        _compactionWanted.Dispose();
        _stopping.Dispose();
    }

    /// <summary>Does what there is to do, waits for more, and after a failure tries again.</summary>
    private void RunThread(Worker worker, AutoResetEvent wanted, Func<TimeSpan?> delayUntilDue)
    {
        while (!_stopping.IsCancellationRequested)
        {
            switch (Step(worker))
            {
                case StepOutcome.HadNothing:
                    wanted.WaitOne(WaitTime(delayUntilDue()));
                    _store.Epochs.Reclaim();
                    break;
                case StepOutcome.Failed:
                    _ = WaitHandle.WaitAny([_stopping.Token.WaitHandle, wanted], _store.Options.RetryDelay);
                    break;
                case StepOutcome.Cancelled:
                    return;
            }
        }
    }

    /// <summary>Does one piece of work. After a failure writes are refused until it succeeds.</summary>
    private StepOutcome Step(Worker worker)
    {
        try
        {
            var worked = worker.TryWork();
            if (worker.LoggedFailure is not null)
            {
                worker.LoggedFailure = null;
                worker.SetFailure(null);
                _store.Log.BackgroundRecovered();
                _store.WakeCommitter();
            }

            return worked ? StepOutcome.Worked : StepOutcome.HadNothing;
        }
        catch (WorkCancelledException)
        {
            return StepOutcome.Cancelled;
        }
        catch (Exception cause)
        {
            var reason = cause is IOException or StoreException ? cause.Message : cause.ToString();
            // Once, not with every attempt, each of which has another file.
            var kind = cause is IOException ? $"{cause.HResult}" : reason;
            if (kind != worker.LoggedFailure)
            {
                worker.LoggedFailure = kind;
                _store.Log.BackgroundFailed(worker.Work, reason);
            }

            _store.WakeCommitter();
            return StepOutcome.Failed;
        }
    }

    private bool TryRun(Worker worker)
    {
        if (worker.IsRunning || _isStopping)
        {
            return false;
        }

        worker.IsRunning = true;
        try
        {
            return Step(worker) == StepOutcome.Worked;
        }
        finally
        {
            worker.IsRunning = false;
        }
    }

    /// <summary>Until something can be reclaimed or is due. The clock may be set meanwhile, so it is looked at every second.</summary>
    private TimeSpan WaitTime(TimeSpan? delayUntilDue)
    {
        if (_store.Epochs.RetiredCount > 0)
        {
            return ReclaimInterval;
        }

        return delayUntilDue is { } delay ? TimeSpan.FromTicks(Math.Min(delay.Ticks, ClockInterval.Ticks)) : Timeout.InfiniteTimeSpan;
    }

    private void RunCompactor(Worker compactor, int index)
    {
        Posix.LowerThreadPriority();
        RunThread(compactor, _compactionWanted, () => Compactions.DelayUntilDue(_soughtAtSeconds[index]));
        // The next one that waits is to stop too.
        _compactionWanted.Set();
    }

    private static WorkFailure FailureOf(Exception cause, string work, int compactedCount)
    {
        var trouble = DiskError.TroubleOf(cause);
        var reason = trouble == DiskTrouble.Failed ? $"{work} failed, see the server's log" : DiskSpace.reason(trouble);
        return new WorkFailure(trouble, reason, compactedCount);
    }

    private bool TryFlush()
    {
        if (Work.flushNext(_store.Current) is null)
        {
            return false;
        }

        _isFlushing = true;
        var compactedCount = Volatile.Read(ref _compactedCount);
        try
        {
            Flush();
            _flushFailure = null;
        }
        catch (Exception cause) when (cause is not WorkCancelledException)
        {
            _flushFailure = FailureOf(cause, FlushName, compactedCount);
            throw;
        }
        finally
        {
            _store.Folder.Reserve!.Refill();
            _isFlushing = false;
        }

        _store.WakeCommitter();
        return true;
    }

    private void Flush()
    {
        var snapshot = _store.Current;
        var frozen = Work.flushNext(snapshot)!.Value;
        var started = _store.Options.Clock.GetTimestamp();
        var memtableBytes = frozen.Memtable.SizeBytes;
        var writer = new TableWriter(_store, SpaceUse.Flush);
        IReadOnlyList<Table> tables;
        try
        {
            var job = Work.flushJob(_flushMemory, _store.EngineOptions, snapshot, frozen, _store.NowSeconds());
            tables = writer.Run(job, () => _store.MayFlushRest((double)job.TakenBytes / memtableBytes), _stopping.Token);
        }
        finally
        {
            _flushMemory.TakeBack();
        }

        _store.Versions.Install(
            tables,
            current => Work.flushEdit(current, ListModule.OfSeq(tables.Select(table => table.Meta))),
            SnapshotModule.flushed);
        Counters.Flushed(writer.WrittenBytes);
        var cost = new JobCost(tables.Count, ReadBytes: 0, writer.WrittenBytes, (long)_store.Options.Clock.GetElapsedTime(started).TotalMilliseconds);
        _store.Log.Flushed(memtableBytes, cost.TableCount, cost.WrittenBytes, cost.ElapsedMilliseconds);
        _store.Decisions.Flushed(memtableBytes, cost);
        _store.RetireMemtable(frozen.Memtable);
        _compactionWanted.Set();
        _store.WakeCommitter();
        _store.DeleteLogsBefore(SnapshotModule.oldestLog(_store.Current));
    }

    private bool TryCompact(ref WorkFailure? failure)
    {
        _ = Interlocked.Increment(ref _compactingCount);
        try
        {
            if (Work.shouldFlushForCompaction(_store.EngineOptions, _store.Current, _store.DiskCondition))
            {
                _store.RequestFreeze();
            }

            // Whoever finds a plan lets the next one look for another.
            var hasWorked = Compactions.TryWork(WakeCompactors, _stopping.Token);
            if (!hasWorked)
            {
                _store.Versions.SettleUndecided();
            }

            Volatile.Write(ref failure, null);
            return hasWorked;
        }
        catch (Exception cause) when (cause is not WorkCancelledException)
        {
            Volatile.Write(ref failure, FailureOf(cause, CompactionName, _compactedCount));
            throw;
        }
        finally
        {
            // With its outcome known: while work fails for want of space, the disk counts as full.
            _store.Folder.Reserve!.Refill();
            // First the one, then the other: whoever sees that none is under way sees as well that a flush may succeed now.
            _ = Interlocked.Increment(ref _compactedCount);
            _ = Interlocked.Decrement(ref _compactingCount);
            if (_store.Folder.Reserve.IsDiskFull)
            {
                _flushWanted.Set();
            }

            _store.WakeCommitter();
        }
    }
}
