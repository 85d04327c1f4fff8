using LsmFs.Engine;

namespace LsmFs.Host;

// Invariants
//   1. Whoever takes a hold pins the epoch, reads the current snapshot, registers it here, and only then leaves the pin. So what a held
//      snapshot has is retired after it was registered, or before it was current.
//   2. What is retired is offered here once no pin can reach it: by (1) every hold that has it is registered by then, and no later one can have it.
//   3. Something is parked if and only if a live hold has it.
//   4. After Close nothing is parked, and no hold is registered again.

/// <summary>
/// Snapshots that are held for longer than a pinned epoch should be. A hold keeps what is in its own snapshot and nothing else: the rest is
/// reclaimed as if there were none. Thread-safe.
/// </summary>
internal sealed class Holds(TimeProvider clock)
{
    private readonly Lock _lock = new();
    private readonly List<Hold> _live = [];
    private readonly List<Parked> _parked = [];
    private bool _isClosed;

    private readonly record struct Parked(Retired Retired, bool IsMemtable, long SizeBytes, Action Release);

    /// <summary>Something that the newest snapshot has no more: which snapshots do?</summary>
    internal delegate bool Retired(Snapshot snapshot);

    /// <summary>One held snapshot.</summary>
    internal sealed record Hold(Snapshot Snapshot, long SinceTimestamp);

    /// <summary>Whether the store is closed, and what was held is gone.</summary>
    internal bool IsClosed => Volatile.Read(ref _isClosed);

    /// <summary>What is held now.</summary>
    internal HoldStatistics Statistics
    {
        get
        {
            lock (_lock)
            {
                return new HoldStatistics(
                    _live.Count,
                    _live.Count == 0 ? TimeSpan.Zero : clock.GetElapsedTime(_live.Min(hold => hold.SinceTimestamp)),
                    _parked.Count,
                    _parked.Where(parked => parked.IsMemtable).Sum(parked => parked.SizeBytes),
                    _parked.Where(parked => !parked.IsMemtable).Sum(parked => parked.SizeBytes));
            }
        }
    }

    /// <summary>Registers a hold, before the pin is left under which the snapshot was read (invariant 1). Throws <see cref="ObjectDisposedException"/>.</summary>
    internal Hold Take(Snapshot snapshot)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isClosed, typeof(Store));
            var hold = new Hold(snapshot, clock.GetTimestamp());
            _live.Add(hold);
            return hold;
        }
    }

    /// <summary>Ends a hold and releases what no other one has. Once; after <see cref="Close"/> it does nothing.</summary>
    internal void End(Hold hold)
    {
        var due = new List<Action>();
        lock (_lock)
        {
            _ = _live.RemoveAll(live => ReferenceEquals(live, hold));
            for (var index = _parked.Count - 1; index >= 0; index--)
            {
                if (!IsHeld(_parked[index].Retired))
                {
                    due.Add(_parked[index].Release);
                    _parked.RemoveAt(index);
                }
            }
        }

        due.ForEach(release => release());
    }

    /// <summary>Releases a memtable now, or when the last hold that has it ends.</summary>
    internal void Release(Memtable memtable, Action release) =>
        Release(new Parked(snapshot => SnapshotModule.holdsMemtable(memtable, snapshot), IsMemtable: true, memtable.SizeBytes, release));

    /// <summary>Releases a table now, or when the last hold that has it ends.</summary>
    internal void Release(TableMeta table, Action release) =>
        Release(new Parked(snapshot => SnapshotModule.holdsTable(table.Number, snapshot), IsMemtable: false, table.SizeBytes, release));

    /// <summary>
    /// The store closes: every hold is over. Tables are released, so that their files do not stay behind; the memory of memtables is left to
    /// the garbage collector, since somebody may be reading it at this moment.
    /// </summary>
    internal void Close()
    {
        Parked[] parked;
        lock (_lock)
        {
            Volatile.Write(ref _isClosed, true);
            _live.Clear();
            parked = [.. _parked];
            _parked.Clear();
        }

        foreach (var table in parked.Where(parked => !parked.IsMemtable))
        {
            table.Release();
        }
    }

    private void Release(Parked retired)
    {
        lock (_lock)
        {
            if (IsHeld(retired.Retired))
            {
                _parked.Add(retired);
                return;
            }
        }

        retired.Release();
    }

    private bool IsHeld(Retired retired) => _live.Exists(hold => retired(hold.Snapshot));
}

/// <summary>What held snapshots keep that the store itself needs no more.</summary>
/// <param name="Count">Snapshots held now.</param>
/// <param name="OldestAge">For how long the oldest has been held.</param>
/// <param name="RetiredCount">Memtables and tables that are kept for them alone.</param>
/// <param name="MemtableBytes">Memory of those memtables.</param>
/// <param name="TableBytes">Files of those tables.</param>
public sealed record HoldStatistics(int Count, TimeSpan OldestAge, int RetiredCount, long MemtableBytes, long TableBytes);
