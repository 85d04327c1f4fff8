using System.Diagnostics;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// Holds writes up as the engine's <see cref="Pacing"/> says, without making a thread sleep: the committer asks whether it must wait, and is woken when
/// it need not any more. Thread-safe; <see cref="Written"/> is for the committing thread.
/// </summary>
internal sealed class WritePacer : IDisposable
{
    // What a timer can tell apart. Shorter pauses add up until they are worth it.
    private static readonly long ShortestPause = Stopwatch.Frequency / 1000;

    private readonly Store _store;
    private readonly Action _wake;
    private readonly Timer _timer;
    // In ticks of the stopwatch, 0 for none.
    private long _resumeAt;
    private long _stoppedSince;
    private int _stopReason;
    private int _isArmed;

    internal WritePacer(Store store, Action wake)
    {
        _store = store;
        _wake = wake;
        _timer = new Timer(_ => Resume());
    }

    /// <summary>Whether writes pause.</summary>
    internal bool MustWait()
    {
        var at = Volatile.Read(ref _resumeAt);
        var remaining = at - Stopwatch.GetTimestamp();
        if (at != 0 && remaining <= 0)
        {
            _ = Interlocked.CompareExchange(ref _resumeAt, 0, at);
        }

        return at != 0 && remaining >= ShortestPause;
    }

    /// <summary>Whether writes are at a bound; counts how long.</summary>
    internal bool MustStop(WritePressure pressure)
    {
        if (pressure != WritePressure.None)
        {
            if (Interlocked.CompareExchange(ref _stoppedSince, Stopwatch.GetTimestamp(), 0) == 0)
            {
                Volatile.Write(ref _stopReason, (int)pressure);
            }

            return true;
        }

        var since = Volatile.Read(ref _stoppedSince);
        if (since != 0 && Interlocked.CompareExchange(ref _stoppedSince, 0, since) == since)
        {
            _store.BackgroundCounters.Stopped((WritePressure)Volatile.Read(ref _stopReason), Stopwatch.GetElapsedTime(since));
        }

        return false;
    }

    /// <summary>So many bytes were written: what comes next may have to wait.</summary>
    internal void Written(long bytes)
    {
        var pace = _store.Pace;
        if (pace.NanosecondsPerByte <= 0)
        {
            return;
        }

        var pause = Pacing.pauseNanoseconds(pace, bytes);
        var from = Math.Max(Volatile.Read(ref _resumeAt), Stopwatch.GetTimestamp());
        Volatile.Write(ref _resumeAt, from + (long)(pause * Stopwatch.Frequency / 1e9));
        _store.BackgroundCounters.Paced(pace.Reason, pause);
    }

    /// <summary>Wakes the committer when the pause is over, if there is one.</summary>
    internal void WakeWhenDue()
    {
        // Also when it is just over: whoever found that it was not has not gone on.
        var at = Volatile.Read(ref _resumeAt);
        if (at != 0 && Interlocked.Exchange(ref _isArmed, 1) == 0)
        {
            var remaining = TimeSpan.FromSeconds((double)Math.Max(at - Stopwatch.GetTimestamp(), ShortestPause) / Stopwatch.Frequency);
            try
            {
                _ = _timer.Change(remaining, Timeout.InfiniteTimeSpan);
            }
            catch (ObjectDisposedException)
            {
                // The store is closed.
            }
        }
    }

    /// <summary>Wakes nobody any more.</summary>
    public void Dispose() => _timer.Dispose();

    private void Resume()
    {
        Volatile.Write(ref _isArmed, 0);
        _wake();
    }
}
