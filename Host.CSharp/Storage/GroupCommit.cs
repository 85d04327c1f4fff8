using System.Collections.Concurrent;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// Invariants
//   1. A group is executed, appended to the log, synced where that is promised, published and answered, in this order; one group after the other.
//   2. Nothing of a group that is held has happened. It is executed again from the beginning, before what was submitted after it.
//   3. Nothing is written any more when a sync has failed, or something else between the log and the snapshot: nobody knows what the disk holds, or sequence
//      numbers that are in the log would be used again.

/// <summary>
/// Commits submissions in groups. One thread at a time is in here, as the <see cref="Committer"/> sees to; what any thread may call says so.
/// </summary>
internal sealed class GroupCommit : IDisposable
{
    private const int GroupSizeBytesMax = 4 * 1024 * 1024;
    private const int RemovalGroupSizeBytesMax = 16 * 1024;

    private readonly Store _store;
    private readonly SubmissionQueue _queue;
    private readonly WritePacer _pacer;
    private readonly ChunkPool _chunks;
    // Null under Memory.
    private readonly WriteAheadLogs? _logs;
    private readonly StoreReader _reader;
    private readonly WriteContext _context;
    private readonly List<Submission> _group = [];
    // Whether the group waits to be committed again.
    private volatile bool _isHeld;
    private readonly ConcurrentQueue<Memtable> _recyclable = new();
    private long _committedBytes;
    private volatile string? _poison;
    // The last refusal that was logged, until a write succeeds.
    private string? _loggedRefusal;

    internal GroupCommit(Store store, SubmissionQueue queue, WritePacer pacer, ChunkPool chunks, LogWriter? log)
    {
        _store = store;
        _queue = queue;
        _pacer = pacer;
        _chunks = chunks;
        _logs = log is null ? null : new WriteAheadLogs(store, log);
        _reader = new StoreReader(store);
        _context = new WriteContext(_reader, log is not null);
    }

    /// <summary>Bytes of the log that is being written; 0 when there is none. Any thread.</summary>
    internal long LogBytes => _logs?.LengthBytes ?? 0;

    /// <summary>Bytes of the entries committed so far. Any thread.</summary>
    internal long CommittedBytes => Volatile.Read(ref _committedBytes);

    /// <summary>Why no write is possible any more, or null. Any thread.</summary>
    internal string? Poison => _poison;

    /// <summary>Blocks that commits had to read, and wait for. Any thread.</summary>
    internal long BlockReadCount => _reader.MissCount;

    /// <summary>Whether a group waits to be committed again. Any thread.</summary>
    internal bool IsHeld => _isHeld;

    /// <summary>Which writes are taken now. Any thread.</summary>
    // The snapshot first: when it has no frozen memtable any more, its flush has either given its space back or says that it is about to.
    internal Admission Admission => Work.admits(_store.Pressure, _store.Current, _store.DiskCondition);

    /// <summary>Whether the calling thread is at the logs of frozen memtables.</summary>
    internal bool IsEntered => _logs?.IsEntered ?? false;

    /// <summary>Takes a memtable that no reader can reach; its memory serves the next ones. Any thread.</summary>
    internal void Recycle(Memtable memtable) => _recyclable.Enqueue(memtable);

    /// <summary>Closes logs that are no longer needed: an open file keeps its space. Any thread.</summary>
    internal void CloseLogsBefore(FileNumber oldestLog) => _logs?.CloseBefore(oldestLog);

    /// <summary>Freezes what the last commit left, when no other follows.</summary>
    internal void FreezeLast()
    {
        if (!_store.Current.Active.IsEmpty)
        {
            Freeze();
        }
    }

    /// <summary>Makes the logs durable, when no commit follows, unless each commit has done so.</summary>
    internal void Finish()
    {
        if (_poison is null && _store.Options.Durability == Durability.Os)
        {
            _logs!.Finish();
        }
    }

    /// <summary>Closes the logs.</summary>
    public void Dispose()
    {
        _logs?.Dispose();
        _reader.Dispose();
    }

    /// <summary>Takes a group off the queue and commits it, or what it can of it, or refuses all that is queued.</summary>
    internal void Commit(bool isStopping)
    {
        _isHeld = false;
        var admission = Admission;
        var refusal = _poison
            ?? (isStopping ? "server is shutting down" : null)
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

        if (_isHeld)
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
            if (_context.HasWrites && !_isHeld)
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
        _isHeld = DiskError.IsFull(cause) && Admission == Engine.Admission.Wait;
        return _isHeld;
    }

    /// <summary>Freezes a memtable that is full, or whose log is, or any that has something in it when that is the next request.</summary>
    private void FreezeIfNeeded()
    {
        var active = _store.Current.Active;
        var isRequested = _queue.Peek() is FreezeRequest;
        var logBytes = LogBytes;
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
        if (_logs is null)
        {
            return null;
        }

        try
        {
            try
            {
                _logs.Append(_context.FinishFrame(_logs.Seed), admitsPuts ? null : SpaceUse.Removal);
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

                _logs.Append(_context.FinishFrame(_logs.Seed), SpaceUse.Removal);
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
                _logs.Sync();
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

    /// <summary>Puts an empty memtable, and a new log for it, in the place of the full one.</summary>
    private void Freeze()
    {
        while (_recyclable.TryDequeue(out var memtable))
        {
            memtable.Recycle();
        }

        var number = _store.NextFileNumber();
        if (_logs is not null)
        {
            SyncCut(_logs);
            _logs.Switch(number);
        }

        _store.PublishFrozen(Memtable.Create(_chunks), number);
    }

    /// <summary>Before records go to another log: an unfinished one that came back behind a power cut would look like damage then.</summary>
    private void SyncCut(WriteAheadLogs logs)
    {
        if (!logs.HasUnsyncedCut)
        {
            return;
        }

        logs.CutTail();
        try
        {
            // With the logs before it: a later part of what was written is not to outlive an earlier one.
            logs.Sync();
        }
        catch (IOException cause)
        {
            SetPoison(cause);
            throw;
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
