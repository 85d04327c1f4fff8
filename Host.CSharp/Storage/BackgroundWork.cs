using System.Diagnostics;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>
/// The threads that flush memtables and compact tables, as the engine's <see cref="Work"/> and <see cref="Picking"/> decide. Each piece of work ends in one
/// version edit that is durable before it is visible; files are deleted only when they are unreachable from disk and from every reader.
/// </summary>
internal sealed class BackgroundWork : IDisposable
{
    private const int CompactorCountMax = 4;
    private static readonly TimeSpan ClockInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan ReclaimInterval = TimeSpan.FromMilliseconds(100);

    private readonly Store _store;
    private readonly CancellationTokenSource _stopping = new();
    private readonly AutoResetEvent _flushWanted = new(false);
    private readonly AutoResetEvent _compactionWanted = new(false);
    private readonly Thread _flusher;
    private readonly Thread[] _compactors;
    private volatile bool _isStopping;
    private volatile string? _flushFailure;
    private readonly string?[] _compactionFailures;

    internal BackgroundWork(Store store)
    {
        _store = store;
        Compactions = new Compactions(store, Counters);
        _compactionFailures = new string?[Math.Clamp(Environment.ProcessorCount / 2, 1, CompactorCountMax)];
        _flusher = new Thread(() => RunThread(_flushWanted, TryFlush, SetFlushFailure, "a flush")) { IsBackground = true, Name = "lsmfs-flush" };
        _compactors = [.. _compactionFailures.Select((_, index) => new Thread(() => RunCompactor(index)) { IsBackground = true, Name = $"lsmfs-compact{index}" })];
    }

    /// <summary>Why background work fails, in words for a client, or null.</summary>
    internal string? Failure => _flushFailure ?? CompactionFailure;

    private string? CompactionFailure
    {
        get
        {
            foreach (ref var failure in _compactionFailures.AsSpan())
            {
                if (Volatile.Read(ref failure) is { } reason)
                {
                    return reason;
                }
            }

            return null;
        }
    }

    internal Compactions Compactions { get; }

    /// <summary>Whether no more work is begun.</summary>
    internal bool IsStopping => _isStopping;

    internal BackgroundCounters Counters { get; } = new();

    /// <summary>Begins to work, once the store is complete.</summary>
    internal void Start()
    {
        _flusher.Start();
        Array.ForEach(_compactors, compactor => compactor.Start());
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
        _flusher.Join();
        foreach (var compactor in _compactors)
        {
            // The one that wakes passes it on.
            compactor.Join();
        }

        _store.Epochs.Reclaim();
        _flushWanted.Dispose();
        _compactionWanted.Dispose();
        _stopping.Dispose();
    }

    /// <summary>Does what there is to do, waits for more, and after a failure tries again; writes are refused until it succeeds.</summary>
    private void RunThread(AutoResetEvent wanted, Func<bool> tryWork, Action<string?> setFailure, string work, Func<TimeSpan?>? delayUntilDue = null)
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
                    wanted.WaitOne(WaitTime(delayUntilDue?.Invoke()));
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

    /// <summary>Until something can be reclaimed or is due. The clock may be set meanwhile, so it is looked at every second.</summary>
    private TimeSpan WaitTime(TimeSpan? delayUntilDue)
    {
        if (_store.Epochs.RetiredCount > 0)
        {
            return ReclaimInterval;
        }

        return delayUntilDue is { } delay ? TimeSpan.FromTicks(Math.Min(delay.Ticks, ClockInterval.Ticks)) : Timeout.InfiniteTimeSpan;
    }

    private void RunCompactor(int index)
    {
        Posix.LowerThreadPriority();
        RunThread(
            _compactionWanted,
            TryCompact,
            failure => Volatile.Write(ref _compactionFailures[index], failure),
            "a compaction",
            Compactions.DelayUntilDue);
        // The next one that waits is to stop too.
        _compactionWanted.Set();
    }

    private void SetFlushFailure(string? reason) => _flushFailure = reason;

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
        Counters.Flushed(writer.WrittenBytes);
        _store.Log.Flushed(frozen.Memtable.SizeBytes, tables.Count, writer.WrittenBytes, (long)Stopwatch.GetElapsedTime(started).TotalMilliseconds);
        _store.RetireMemtable(frozen.Memtable);
        _compactionWanted.Set();
        _store.WakeCommitter();
        _store.DeleteLogsBefore(SnapshotModule.oldestLog(_store.Current));
        return true;
    }

    private bool TryCompact()
    {
        // Whoever finds a plan lets the next one look for another.
        var hasWorked = Compactions.TryWork(WakeCompactors, _stopping.Token);
        if (hasWorked)
        {
            _store.WakeCommitter();
        }

        return hasWorked;
    }
}
