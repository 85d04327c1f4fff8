using System.Collections.Concurrent;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// Commits submissions in groups: execute, append to the log, sync, publish, answer. One thread at a time is in here. Under
/// <see cref="Durability.Sync"/> it is a thread of its own, since an fsync must not stall an event loop; otherwise it is whoever submits, who then
/// also commits what others submitted meanwhile (flat combining, Hendler et al. 2010), so that nobody waits for a lock.
/// </summary>
internal sealed class Committer : IDisposable
{
    private const int GroupSizeBytesMax = 4 * 1024 * 1024;
    private const int RemovalGroupSizeBytesMax = 16 * 1024;

    private readonly Store _store;
    private readonly StoreReader _reader;
    private readonly WriteContext _context;
    private readonly SubmissionQueue _queue = new();
    private readonly List<Submission> _group = [];
    // Whether the group waits to be committed again: nothing of it has happened.
    private volatile bool _isGroupHeld;
    private readonly ConcurrentQueue<Memtable> _recyclable = new();
    private readonly ChunkPool _chunks;
    // Never disposed of, because late submissions may still set it.
    private readonly AutoResetEvent _work = new(false);
    private readonly Thread? _thread;
    private readonly bool _isManual;
    // Under Os: logs of frozen memtables, which a clean end makes durable. Locked, since the flusher closes those whose entries are in tables.
    private readonly List<LogWriter> _unsynced = [];
    private LogWriter? _log;
    private long _committedBytes;
    private readonly WritePacer _pacer;
    private int _busy;
    private volatile bool _stopping;
    private volatile string? _poison;
    // The last refusal that was logged, until a write succeeds.
    private string? _loggedRefusal;

    internal Committer(Store store, ChunkPool chunks, LogWriter? log)
    {
        _store = store;
        _chunks = chunks;
        _log = log;
        _reader = new StoreReader(store);
        _pacer = new WritePacer(store, Wake);
        _context = new WriteContext(_reader, log is not null);
        _isManual = store.Options.Scheduling == Scheduling.Manual;
        if (store.Options.Durability == Durability.Sync && !_isManual)
        {
            _thread = new Thread(RunThread) { IsBackground = true, Name = "lsmfs-commit" };
            _thread.Start();
        }
    }

    /// <summary>Bytes of the log that is being written; 0 when there is none. Any thread.</summary>
    internal long LogBytes => Volatile.Read(ref _log)?.LengthBytes ?? 0;

    /// <summary>Bytes of the entries committed so far. Any thread.</summary>
    internal long CommittedBytes => Volatile.Read(ref _committedBytes);

    /// <summary>Why no write is possible any more, or null.</summary>
    internal string? Poison => _poison;

    /// <summary>Blocks that commits had to read, and wait for.</summary>
    internal long BlockReadCount => _reader.MissCount;

    internal void Submit(Submission submission)
    {
        _queue.Enqueue(submission);
        if (_thread is null || _stopping)
        {
            if (!_isManual || _stopping || _store.MayRun(StoreWork.Commit))
            {
                Drain();
            }
        }
        else
        {
            _work.Set();
        }
    }

    /// <summary>Commits what may be committed now; whether there was anything. Under <see cref="Scheduling.Manual"/>.</summary>
    internal bool TryRun()
    {
        var hadWork = HasWork && !MustWait() && Volatile.Read(ref _busy) == 0;
        Drain();
        return hadWork;
    }

    /// <summary>Background work has made room, or failed: what waits is looked at again. Not on the thread that tells so, which has other work.</summary>
    internal void Wake()
    {
        if (_thread is not null)
        {
            _work.Set();
        }
        else if (HasWork && !_isManual)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static committer => committer.Drain(), this, preferLocal: false);
        }
    }

    /// <summary>Asks for the active memtable to be frozen after what was submitted before.</summary>
    private sealed class FreezeRequest : Submission
    {
        internal ManualResetEventSlim IsDone { get; } = new(false);

        internal CommitOutcome Outcome { get; private set; }

        protected internal override bool NeedsPuts => false;

        protected internal override void Execute(WriteContext context)
        {
            // The committer freezes before it executes the group that follows.
        }

        protected internal override void Completed(CommitOutcome outcome)
        {
            Outcome = outcome;
            IsDone.Set();
        }
    }

    /// <summary>Freezes the active memtable after what was submitted before, and returns when that is done, or why it was refused.</summary>
    internal string? FreezeActive()
    {
        var request = new FreezeRequest();
        Submit(request);
        _store.Await(request.IsDone);
        return request.Outcome.Refusal;
    }

    /// <summary>Asks for the active memtable to be frozen after what was submitted before. Not on the thread that asks, which has other work.</summary>
    internal void RequestFreeze()
    {
        _queue.Enqueue(new FreezeRequest());
        Wake();
    }

    /// <summary>Freezes what the last commit left. After <see cref="Stop"/>.</summary>
    internal void FreezeLast()
    {
        if (!_store.Current.Active.IsEmpty)
        {
            Freeze();
        }
    }

    /// <summary>Whether the calling thread is at the logs of frozen memtables.</summary>
    internal bool IsEntered => Monitor.IsEntered(_unsynced);

    /// <summary>Takes a memtable that no reader can reach; its memory serves the next ones.</summary>
    internal void Recycle(Memtable memtable) => _recyclable.Enqueue(memtable);

    /// <summary>Ends the commit that is under way, refuses what is still queued and every later write, and makes the log durable.</summary>
    internal void Stop()
    {
        _stopping = true;
        _work.Set();
        _thread?.Join();
        while (HasWork || Volatile.Read(ref _busy) != 0)
        {
            Drain();
            Thread.Yield();
        }

        if (_log is not null && _poison is null && _store.Options.Durability == Durability.Os)
        {
            _log.Seal();
            SyncLogs();
        }
    }

    /// <summary>Closes the log. After <see cref="Stop"/>, when nothing wakes the committer any more.</summary>
    public void Dispose()
    {
        _pacer.Dispose();
        _log?.Dispose();
        _unsynced.ForEach(log => log.Dispose());
        _reader.Dispose();
    }

    private void RunThread()
    {
        while (!_stopping || HasWork)
        {
            Drain();
            if (!_stopping)
            {
                _work.WaitOne();
            }
        }
    }

    private void Drain()
    {
        while (HasWork && !MustWait() && Interlocked.CompareExchange(ref _busy, 1, 0) == 0)
        {
            try
            {
                while (HasWork && !MustWait())
                {
                    CommitGroup();
                }
            }
            finally
            {
                // A full fence: whoever found this busy has queued or published before, and the loop's condition sees it.
                Interlocked.Exchange(ref _busy, 0);
            }
        }

        if (HasWork)
        {
            _pacer.WakeWhenDue();
        }
    }

    private bool HasWork => !_queue.IsEmpty || _isGroupHeld;

    private bool MustWait() =>
        _poison is null && !_stopping
        && (Work.trouble(_store.DiskCondition) == DiskTrouble.None
            ? _pacer.MustWait() || _pacer.MustStop(_store.Pressure)
            : Admission() == Engine.Admission.Wait);

    // The snapshot first: when it has no frozen memtable any more, its flush has either given its space back or says that it is about to.
    private Admission Admission() => Work.admits(_store.Pressure, _store.Current, _store.DiskCondition);

    private void CommitGroup()
    {
        _isGroupHeld = false;
        var admission = Admission();
        var refusal = _poison
            ?? (_stopping ? "server is shutting down" : null)
            ?? (admission == Engine.Admission.Nothing ? _store.WriteTrouble ?? DiskSpace.reason(DiskTrouble.Failed) : null);
        var admitsPuts = admission is Engine.Admission.Everything;
        if (refusal is null)
        {
            refusal = TryCommitGroup(ref admitsPuts);
        }
        else
        {
            TakeAll();
        }

        if (_isGroupHeld)
        {
            return;
        }

        var outcome = refusal is null ? CommitOutcome.Committed : CommitOutcome.Refused(refusal);
        var putOutcome = refusal is null && !admitsPuts ? CommitOutcome.Refused(DiskSpace.reason(DiskTrouble.Full)) : outcome;
        foreach (var submission in _group)
        {
            submission.Completed(submission.NeedsPuts ? putOutcome : outcome);
        }

        _group.Clear();
    }

    private void TakeAll()
    {
        while (_queue.TryDequeue() is { } submission)
        {
            _group.Add(submission);
        }
    }

    /// <summary>
    /// Commits one group; what went wrong is returned in words for a client, and nothing of the group remains. Whether puts were carried out is known
    /// afterwards: a disk that turns out to be full takes only removals.
    /// </summary>
    private string? TryCommitGroup(ref bool admitsPuts)
    {
        var isLogged = false;
        try
        {
            FreezeIfNeeded();
            // Only now: the snapshot must have the memtable that was just frozen.
            _reader.Enter();
            TakeAndExecuteGroup(admitsPuts);
            if (_context.HasWrites && TryAppend(ref admitsPuts) is { } refusal)
            {
                return refusal;
            }

            // No writes may be left of the group when its puts were not admitted.
            if (_context.HasWrites && !_isGroupHeld)
            {
                isLogged = true;
                Volatile.Write(ref _committedBytes, _committedBytes + _context.WrittenBytes);
                _store.PublishCommit(_context.CommitMemtable(), _context.Flush, _context.LastSequence);
                _pacer.Written(_context.FrameLength);
            }

            return null;
        }
        catch (IOException cause)
        {
            if (TryHold(cause))
            {
                return null;
            }

            TakeAll();
            return Refuse(cause);
        }
        catch (Exception cause)
        {
            TakeAll();
            _store.Log.CommitFailed(cause);
            if (isLogged)
            {
                // The next group would use the sequence numbers of what is in the log again.
                SetPoison(cause);
            }

            return "internal error, see the server's log";
        }
        finally
        {
            _reader.Exit();
        }
    }

    /// <summary>
    /// Whether the group is committed again later: background work has taken the space that was given up for it since it was admitted, and will give it back.
    /// </summary>
    private bool TryHold(IOException cause)
    {
        _isGroupHeld = DiskError.IsFull(cause) && Admission() == Engine.Admission.Wait;
        return _isGroupHeld;
    }

    /// <summary>Freezes a memtable that is full, or whose log is, or any that has something in it when that is the next request.</summary>
    private void FreezeIfNeeded()
    {
        var active = _store.Current.Active;
        var isRequested = _queue.Peek() is FreezeRequest;
        var logBytes = _log?.LengthBytes ?? 0;
        if (Work.shouldFreeze(_store.EngineOptions, active)
            || Work.isLogFull(_store.EngineOptions, logBytes)
            || Work.shouldFreezeForSpace(_store.EngineOptions, _store.Current, _store.DiskCondition, logBytes)
            || (isRequested && !active.IsEmpty))
        {
            Freeze();
        }

        if (isRequested)
        {
            _group.Add(_queue.TryDequeue()!);
        }
    }

    private void TakeAndExecuteGroup(bool admitsPuts)
    {
        // There is one already when it was held.
        ExecuteGroup(admitsPuts);
        var groupSizeBytesMax = admitsPuts ? Math.Min(GroupSizeBytesMax, Pacing.groupBytesMax(_store.Pace)) : RemovalGroupSizeBytesMax;
        while (_context.FrameLength < groupSizeBytesMax
            && _context.MemtableSizeBytes < _store.EngineOptions.MemtableSizeBytes
            && _queue.Peek() is not FreezeRequest
            && _queue.TryDequeue() is { } next)
        {
            _group.Add(next);
            Execute(next);
        }
    }

    private void Execute(Submission submission)
    {
        if (_context.AdmitsPuts || !submission.NeedsPuts)
        {
            submission.Execute(_context);
        }
    }

    /// <summary>Drops what the group may have done before, and executes it from the beginning.</summary>
    private void ExecuteGroup(bool admitsPuts)
    {
        _context.Begin(_store.NowSeconds(), admitsPuts);
        foreach (var submission in _group)
        {
            Execute(submission);
        }
    }

    private string? TryAppend(ref bool admitsPuts)
    {
        if (_log is null)
        {
            return null;
        }

        try
        {
            try
            {
                _log.Append(_context.FinishFrame(_log.Seed), admitsPuts ? null : SpaceUse.Removal);
            }
            catch (IOException cause) when (admitsPuts && DiskError.IsFull(cause))
            {
                _store.Folder.Reserve!.ReportFull(cause);
                admitsPuts = false;
                ExecuteGroup(admitsPuts);
                if (!_context.HasWrites)
                {
                    return null;
                }

                _log.Append(_context.FinishFrame(_log.Seed), SpaceUse.Removal);
            }
        }
        catch (IOException cause)
        {
            return !admitsPuts && TryHold(cause) ? null : Refuse(cause);
        }

        if (_loggedRefusal is not null)
        {
            _loggedRefusal = null;
            _store.Log.WritesSucceed();
        }

        if (_store.Options.Durability == Durability.Sync || _context.HasFlush)
        {
            try
            {
                SyncLogs();
            }
            catch (IOException cause)
            {
                // After a failed sync nobody knows what the disk holds, and a second sync would lie (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
                SetPoison(cause);
                return _poison;
            }
        }

        return null;
    }

    /// <summary>
    /// Makes everything in the logs durable. Without <see cref="Durability.Sync"/> that is done for a flush of everything: the next edit of the manifest
    /// records it, and would tell of it after a power cut that had taken the rest of its group, and what was written before.
    /// </summary>
    private void SyncLogs()
    {
        lock (_unsynced)
        {
            _unsynced.ForEach(log => log.Sync());
        }

        _log!.Sync();
        if (_store.Options.Durability != Durability.Sync)
        {
            _store.Folder.Sync();
        }
    }

    /// <summary>Puts an empty memtable, and a new log for it, in the place of the full one.</summary>
    private void Freeze()
    {
        while (_recyclable.TryDequeue(out var memtable))
        {
            memtable.Recycle();
        }

        var number = _store.NextFileNumber();
        if (_log is not null)
        {
            SyncCut(_log);
            var isSync = _store.Options.Durability == Durability.Sync;
            // Before there is a next log: zeros at the end of any but the last would look like damage.
            _log.Seal();
            var next = LogWriter.Create(_store.Folder, LogKind.WriteAheadLog, number, durable: isSync, takesAhead: !isSync);
            if (isSync)
            {
                _log.Dispose();
            }
            else
            {
                lock (_unsynced)
                {
                    _unsynced.Add(_log);
                }
            }

            _log = next;
        }

        _store.PublishFrozen(Memtable.Create(_chunks), number);
    }

    /// <summary>Before records go to another log: an unfinished one that came back behind a power cut would look like damage then.</summary>
    private void SyncCut(LogWriter log)
    {
        if (!log.HasUnsyncedCut)
        {
            return;
        }

        log.CutTail();
        try
        {
            // With the logs before it: a later part of what was written is not to outlive an earlier one.
            SyncLogs();
        }
        catch (IOException cause)
        {
            SetPoison(cause);
            throw;
        }
    }

    /// <summary>Closes logs that are no longer needed: an open file keeps its space.</summary>
    internal void CloseLogsBefore(FileNumber oldestLog)
    {
        lock (_unsynced)
        {
            foreach (var flushed in _unsynced.Where(log => log.Number.Value < oldestLog.Value))
            {
                flushed.Dispose();
            }

            _unsynced.RemoveAll(log => log.Number.Value < oldestLog.Value);
        }
    }

    private void SetPoison(Exception cause)
    {
        _poison = "the log could not be written durably; writes stopped until the server is restarted";
        _store.Log.Poisoned(cause.Message);
    }

    private string Refuse(IOException cause)
    {
        var reason = DiskSpace.reason(DiskError.TroubleOf(cause));
        if (reason != _loggedRefusal)
        {
            // Once, not with every write of a busy server.
            _loggedRefusal = reason;
            _store.Log.WriteRefused(cause.Message);
        }

        return reason;
    }
}
