using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// Decides when submissions are committed, and by which thread: one at a time (<see cref="GroupCommit"/>). Under <see cref="Durability.Sync"/> it is a
/// thread of its own, since an fsync must not stall an event loop; otherwise it is whoever submits, who then also commits what others submitted meanwhile
/// (flat combining, Hendler et al. 2010), so that nobody waits for a lock.
/// </summary>
internal sealed class Committer : IDisposable
{
    private readonly Store _store;
    private readonly SubmissionQueue _queue = new();
    // Never disposed of, because late submissions may still set it.
    private readonly AutoResetEvent _work = new(false);
    private readonly Thread? _thread;
    private readonly bool _isManual;
    private readonly WritePacer _pacer;
    private int _busy;
    private volatile bool _stopping;

    internal Committer(Store store, ChunkPool chunks, LogWriter? log)
    {
        _store = store;
        _pacer = new WritePacer(store, Wake);
        Groups = new GroupCommit(store, _queue, _pacer, chunks, log);
        _isManual = store.Options.Scheduling == Scheduling.Manual;
        if (store.Options.Durability == Durability.Sync && !_isManual)
        {
            _thread = new Thread(RunThread) { IsBackground = true, Name = "lsmfs-commit" };
            _thread.Start();
        }
    }

    /// <summary>What commits a group, and what came of it so far.</summary>
    internal GroupCommit Groups { get; }

    internal void Submit(Submission submission)
    {
        _queue.Enqueue(submission);
        if (_thread is null || _stopping)
        {
            if (!_isManual || _stopping || _store.Scheduler.MayRun(StoreWork.Commit))
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

    /// <summary>Freezes the active memtable after what was submitted before, and returns when that is done, or why it was refused.</summary>
    internal string? FreezeActive()
    {
        var request = new FreezeRequest();
        Submit(request);
        _store.Scheduler.Await(request.IsDone);
        return request.Outcome.Refusal;
    }

    /// <summary>Asks for the active memtable to be frozen after what was submitted before. Not on the thread that asks, which has other work.</summary>
    internal void RequestFreeze()
    {
        _queue.Enqueue(new FreezeRequest());
        Wake();
    }

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

        Groups.Finish();
    }

    /// <summary>Closes the log. After <see cref="Stop"/>, when nothing wakes the committer any more.</summary>
    public void Dispose()
    {
        _pacer.Dispose();
        Groups.Dispose();
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
                    Groups.Commit(_stopping);
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

    private bool HasWork => !_queue.IsEmpty || Groups.IsHeld;

    private bool MustWait() =>
        Groups.Poison is null && !_stopping
        && (Work.trouble(_store.DiskCondition) == DiskTrouble.None
            ? _pacer.MustWait() || _pacer.MustStop(_store.Pressure)
            : Groups.Admission == Engine.Admission.Wait);
}
