using LsmFs.Engine;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>What a flush or a compaction has made, read and written.</summary>
internal sealed record JobCost(int TableCount, long ReadBytes, long WrittenBytes, long ElapsedMilliseconds);

/// <summary>
/// Records what a store decides, in a file that the store itself never reads (DecisionLog.fs). It is written without waiting for the disk and never
/// synced. An error stops the recording for a while and nothing else. Thread-safe.
/// </summary>
internal sealed class DecisionRecorder(Store store) : IDisposable
{
    private static readonly TimeSpan PauseAfterError = TimeSpan.FromMinutes(10);

    // Held while a plan is chosen and while a version is published, so that the records are in the order in which things happened.
    private readonly Lock _gate = new();
    private readonly List<Tuple<ulong, CompactionPlan>> _running = [];
    private readonly ByteBuffer _frame = new(4096);
    private ulong _lastJob;
    private LogWriter? _log;
    private DateTimeOffset _resumeAt = DateTimeOffset.MinValue;

    /// <summary>Whether the calling thread is in here.</summary>
    internal bool IsEntered => _gate.IsHeldByCurrentThread;

    /// <summary>Chooses the plan that is most due now and can be begun beside <paramref name="running"/>; null when none is.</summary>
    internal (Snapshot Snapshot, CompactionPlan Plan)? Decide(FSharpList<CompactionPlan> running, FSharpList<FileNumber> quarantined)
    {
        lock (_gate)
        {
            var now = store.Options.Clock.GetUtcNow();
            var snapshot = store.Current;
            var input = Work.pickingInput(snapshot, (uint)now.ToUnixTimeSeconds(), running, quarantined);
            if (store.Options.Pick(store.EngineOptions, input) is not { Value: var plan })
            {
                return null;
            }

            var job = ++_lastJob;
            var jobs = ListModule.OfSeq(running.Select(other => _running.Find(known => ReferenceEquals(known.Item2, other))!.Item1));
            Record(now, DecisionLog.planned(job, jobs, input, plan));
            _running.Insert(0, Tuple.Create(job, plan));
            return (snapshot, plan);
        }
    }

    /// <summary>Publishes the version that an edit makes.</summary>
    internal void Install(VersionEdit edit, Action publish)
    {
        lock (_gate)
        {
            var now = store.Options.Clock.GetUtcNow();
            // A log that begins here begins with the version before.
            Begin(now);
            publish();
            Record(now, DecisionEvent.NewInstalled(edit));
        }
    }

    /// <summary>A plan was carried out, or given up when there is no cost.</summary>
    internal void Ended(CompactionPlan plan, JobCost? cost)
    {
        lock (_gate)
        {
            var index = _running.FindIndex(known => ReferenceEquals(known.Item2, plan));
            var end = new JobEnd(
                _running[index].Item1,
                cost is null ? JobOutcome.GivenUp : JobOutcome.Done,
                cost?.TableCount ?? 0,
                cost?.ReadBytes ?? 0,
                cost?.WrittenBytes ?? 0,
                (uint)(cost?.ElapsedMilliseconds ?? 0));
            Record(store.Options.Clock.GetUtcNow(), DecisionEvent.NewEnded(end));
            _running.RemoveAt(index);
        }
    }

    /// <summary>A memtable was frozen.</summary>
    internal void Frozen(long memtableBytes)
    {
        lock (_gate)
        {
            Record(store.Options.Clock.GetUtcNow(), DecisionEvent.NewFrozen(memtableBytes));
        }
    }

    /// <summary>A memtable was flushed.</summary>
    internal void Flushed(long memtableBytes, JobCost cost)
    {
        lock (_gate)
        {
            var flushed = DecisionEvent.NewFlushed(memtableBytes, cost.TableCount, cost.WrittenBytes, (uint)cost.ElapsedMilliseconds);
            Record(store.Options.Clock.GetUtcNow(), flushed);
        }
    }

    /// <summary>Closes the file.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _log?.Dispose();
            _log = null;
            _resumeAt = DateTimeOffset.MaxValue;
        }
    }

    private void Record(DateTimeOffset now, DecisionEvent happened)
    {
        Begin(now);
        if (_log is not null)
        {
            Try(now, () => Append(_log, now, happened));
        }
    }

    /// <summary>Sees to it that there is a log to append to, unless recording pauses.</summary>
    private void Begin(DateTimeOffset now)
    {
        if (_log?.LengthBytes >= DecisionLog.lengthBytesMax)
        {
            _log.Dispose();
            _log = null;
        }

        if (_log is null && now >= _resumeAt)
        {
            Try(now, () => Create(now));
        }
    }

    private void Create(DateTimeOffset now)
    {
        foreach (var number in DecisionLog.outdated(store.Folder.Files()))
        {
            store.Folder.Delete(StoreFile.NewDecisions(number));
        }

        var log = LogWriter.Create(store.Folder, LogKind.DecisionLog, store.NextFileNumber(), durable: false);
        try
        {
            Append(log, now, DecisionEvent.NewOpened(store.EngineOptions, store.Current.Version, ListModule.OfSeq(_running)));
        }
        catch
        {
            log.Dispose();
            store.Folder.Delete(StoreFile.NewDecisions(log.Number));
            throw;
        }

        _log = log;
    }

    private void Append(LogWriter log, DateTimeOffset now, DecisionEvent happened)
    {
        _frame.Clear();
        var start = LogFile.startFrame(_frame);
        DecisionLog.encode(_frame, new DecisionRecord(now.ToUnixTimeMilliseconds(), happened));
        LogFile.finishFrame(_frame, log.Seed, start);
        // The reserve of a full disk is for what the store needs.
        log.Append(_frame.Written, use: null);
    }

    private void Try(DateTimeOffset now, Action write)
    {
        try
        {
            write();
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            _log?.Dispose();
            _log = null;
            _resumeAt = now + PauseAfterError;
            store.Log.DecisionsNotRecorded(cause.Message);
        }
    }
}
