namespace LsmFs.Host;

/// <summary>
/// Tells when nobody can hold on to a replaced snapshot any more, without a lock or a count on the readers' side (epoch-based reclamation,
/// Fraser 2004). A reader pins the epoch before it takes the current snapshot; what is retired after a new snapshot was published waits
/// until every pinned epoch is younger.
/// </summary>
internal sealed class Epochs
{
    private const long Unpinned = long.MaxValue;

    private readonly Lock _lock = new();
    private readonly List<(long Epoch, Action Release)> _retired = [];
    // Replaced whole, under the lock.
    private Pin[] _pins = [];
    private long _epoch = 1;

    /// <summary>One reader's place. The padding keeps two readers off one cache line.</summary>
    internal sealed class Pin(Epochs epochs)
    {
#pragma warning disable CS0169, IDE0051 // padding
        private readonly long _padding0, _padding1, _padding2, _padding3, _padding4, _padding5, _padding6;
#pragma warning restore CS0169, IDE0051
        private long _pinned = Unpinned;

        internal long Pinned => Volatile.Read(ref _pinned);

        /// <summary>From here to <see cref="Leave"/> nothing that is reachable from the current snapshot is released.</summary>
        internal void Enter()
        {
            _pinned = Volatile.Read(ref epochs._epoch);
            // The pin must be seen by whoever retires something before this reader loads the snapshot.
            Interlocked.MemoryBarrier();
        }

        internal void Leave() => Volatile.Write(ref _pinned, Unpinned);
    }

    /// <summary>Things that wait to be released.</summary>
    internal int RetiredCount
    {
        get
        {
            lock (_lock)
            {
                return _retired.Count;
            }
        }
    }

    /// <summary>A place for one more reader.</summary>
    internal Pin Register()
    {
        var pin = new Pin(this);
        lock (_lock)
        {
            Volatile.Write(ref _pins, [.. _pins, pin]);
        }

        return pin;
    }

    /// <summary>Gives a reader's place up.</summary>
    internal void Unregister(Pin pin)
    {
        lock (_lock)
        {
            Volatile.Write(ref _pins, [.. _pins.Where(other => other != pin)]);
        }
    }

    /// <summary>
    /// Begins a new epoch and returns it. What was made unreachable before can be used again once <see cref="OldestReader"/> is not older. For what is
    /// retired too often for <see cref="Retire"/>: no lock, nothing allocated.
    /// </summary>
    internal long Advance() => Interlocked.Increment(ref _epoch);

    /// <summary>The oldest epoch that a reader has pinned.</summary>
    internal long OldestReader()
    {
        var oldest = Unpinned;
        foreach (var pin in Volatile.Read(ref _pins))
        {
            oldest = Math.Min(oldest, pin.Pinned);
        }

        return oldest;
    }

    /// <summary>Calls <paramref name="release"/> once no reader can reach what the snapshot before the current one held. Call after publishing.</summary>
    internal void Retire(Action release)
    {
        lock (_lock)
        {
            _retired.Add((Advance(), release));
        }

        Reclaim();
    }

    /// <summary>Releases what can be released.</summary>
    internal void Reclaim()
    {
        List<Action> due = [];
        lock (_lock)
        {
            var oldest = OldestReader();
            for (var index = _retired.Count - 1; index >= 0; index--)
            {
                if (_retired[index].Epoch <= oldest)
                {
                    due.Add(_retired[index].Release);
                    _retired.RemoveAt(index);
                }
            }
        }

        foreach (var release in due)
        {
            release();
        }
    }
}
