using System.Diagnostics;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// The number of items in a store, counted when somebody asks; see the engine's <see cref="ItemCount"/>. A few items in memory are counted at once,
/// each time. All else is counted on a thread of its own, past the block cache, and the result answers further questions for twenty times as long as it
/// took to find, so that whoever asks all the time costs a twentieth of a processor. Thread-safe; commits do not notice.
/// </summary>
internal sealed class ItemCounter(Store store) : IDisposable
{
    /// <summary>How long who asks is kept waiting; he gets the count before, then, or what is known without one.</summary>
    private static readonly TimeSpan WaitMax = TimeSpan.FromMilliseconds(100);

    private static readonly TimeSpan AgeMax = TimeSpan.FromMinutes(1);
    private const int AgePerCost = 20;

    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _stop = new();
    private Task _counting = Task.CompletedTask;
    private Counted? _latest;
    private bool _isClosed;

    private sealed record Counted(long Items, FlushState Flush, bool IsFlushDue, long ValidUntilTimestamp);

    /// <summary>About how many items there are now.</summary>
    public long Count()
    {
        Task counting;
        long fallback;
        lock (_lock)
        {
            fallback = _latest?.Items ?? 0;
            if (_isClosed || IsValid(_latest))
            {
                return fallback;
            }

            if (_counting.IsCompleted)
            {
                var atMost = Start();
                fallback = _latest is null ? atMost : Math.Min(fallback, atMost);
            }

            counting = _counting;
        }

        return counting.Wait(WaitMax) && Volatile.Read(ref _latest) is { } latest ? latest.Items : fallback;
    }

    /// <summary>Ends the counting that goes on.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isClosed = true;
            _stop.Cancel();
        }

        _counting.Wait();
        _stop.Dispose();
    }

    private bool IsValid(Counted? counted)
    {
        var flush = store.Current.Flush;
        return counted is not null
            && Stopwatch.GetTimestamp() < counted.ValidUntilTimestamp
            && counted.Flush.Equals(flush)
            && counted.IsFlushDue == flush.IsDue(store.NowSeconds());
    }

    /// <summary>Starts to count, or counts what is counted at once; returns how many items there may be.</summary>
    private long Start()
    {
        var start = Stopwatch.GetTimestamp();
        var snapshot = store.CreateSnapshot();
        try
        {
            var current = snapshot.Use();
            snapshot.Leave();
            var count = new ItemCount(current, snapshot.NowSeconds);
            if (count.IsQuick || store.Options.Scheduling == Scheduling.Manual)
            {
                Run(count, current.Flush, snapshot, start);
            }
            else
            {
                var counted = snapshot;
                _counting = Task.Run(() => Run(count, current.Flush, counted, start));
            }

            snapshot = null;
            return count.AtMost;
        }
        finally
        {
            snapshot?.Dispose();
        }
    }

    private void Run(ItemCount count, FlushState flush, StoreSnapshot snapshot, long start)
    {
        using (snapshot)
        {
            try
            {
                while (count.Advance() == SourceState.NeedsBlock)
                {
                    _stop.Token.ThrowIfCancellationRequested();
                    var wanted = count.Wanted;
                    store.Tables.Read(wanted.Table, wanted.Handle.OffsetBytes, wanted.Destination.AsSpan(0, wanted.Handle.LengthBytes));
                    if (count.Supply() is { IsError: true } supplied)
                    {
                        var damage = supplied.ErrorValue;
                        store.Log.TableUnreadable(damage.File, damage.OffsetBytes, damage.Reason);
                        Volatile.Write(ref _latest, null);
                        return;
                    }
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (IOException cause)
            {
                var wanted = count.Wanted;
                store.Log.TableUnreadable(wanted.Table.File, wanted.Handle.OffsetBytes, cause.Message);
                Volatile.Write(ref _latest, null);
                return;
            }

            var now = Stopwatch.GetTimestamp();
            var age = count.IsQuick ? 0 : Math.Min((now - start) * AgePerCost, (long)(AgeMax.TotalSeconds * Stopwatch.Frequency));
            Volatile.Write(ref _latest, new Counted(count.Result, flush, flush.IsDue(snapshot.NowSeconds), now + age));
        }
    }
}
