using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// Holds writes up as the engine's <see cref="Pacing"/> says, without making a thread sleep: the committer asks whether it must wait, and is woken when
/// it need not any more. Thread-safe; <see cref="Written"/> is for the committing thread.
/// </summary>
internal sealed class WritePacer : IDisposable
{
    private readonly Store _store;
    private readonly Action _wake;
    private readonly TimeProvider _clock;
    private readonly ITimer _timer;
    // What a timer can tell apart, in ticks of the clock. Shorter pauses add up until they are worth it.
    private readonly long _shortestPause;
    // In ticks of the clock, 0 for none.
    private long _resumeAt;
    private long _stoppedSince;
    private int _stopReason;
    private int _isArmed;

    internal WritePacer(Store store, Action wake)
    {
        _store = store;
        _wake = wake;
        _clock = store.Options.Clock;
        _shortestPause = _clock.TimestampFrequency / 1000;
        _timer = _clock.CreateTimer(_ => Resume(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Whether writes pause.</summary>
    internal bool MustWait()
    {
        var at = Volatile.Read(ref _resumeAt);
        if (at == 0)
        {
            return false;
        }

        var remaining = at - _clock.GetTimestamp();
        if (remaining <= 0)
        {
            _ = Interlocked.CompareExchange(ref _resumeAt, 0, at);
        }

        return remaining >= _shortestPause;
    }

    /// <summary>Whether writes are at a bound; counts how long.</summary>
    internal bool MustStop(WritePressure pressure)
    {
        if (pressure != WritePressure.None)
        {
            if (Interlocked.CompareExchange(ref _stoppedSince, _clock.GetTimestamp(), 0) == 0)
            {
                Volatile.Write(ref _stopReason, (int)pressure);
            }

            return true;
        }

        var since = Volatile.Read(ref _stoppedSince);
        if (since != 0 && Interlocked.CompareExchange(ref _stoppedSince, 0, since) == since)
        {
            _store.BackgroundCounters.Stopped((WritePressure)Volatile.Read(ref _stopReason), _clock.GetElapsedTime(since));
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
        var from = Math.Max(Volatile.Read(ref _resumeAt), _clock.GetTimestamp());
        Volatile.Write(ref _resumeAt, from + (long)(pause * _clock.TimestampFrequency / 1e9));
        _store.BackgroundCounters.Paced(pace.Reason, pause);
    }

    /// <summary>Wakes the committer when the pause is over, if there is one.</summary>
    internal void WakeWhenDue()
    {
        // Also when it is just over: whoever found that it was not has not gone on.
        var at = Volatile.Read(ref _resumeAt);
        if (at != 0 && Interlocked.Exchange(ref _isArmed, 1) == 0)
        {
            var remaining = TimeSpan.FromSeconds((double)Math.Max(at - _clock.GetTimestamp(), _shortestPause) / _clock.TimestampFrequency);
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
