using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// A store as it was at one moment: reads and scans see exactly that, whatever is written, flushed or compacted meanwhile. It may be held for as
/// long as it is needed, and holds nothing back but what it shows: the memory of the memtables it was taken with (up to three, once they
/// are flushed), and the files of the tables of that moment, once compactions have replaced them. They are given back when it and every
/// cursor of it are disposed of. Thread-safe; a <see cref="SnapshotCursor"/> has one owner.
/// </summary>
/// <remarks>
/// Also expiry is judged at its moment: an item that was live then stays in it. When the store is closed the snapshot ends with it, and every
/// use of it throws <see cref="ObjectDisposedException"/>.
/// </remarks>
public sealed class StoreSnapshot : IDisposable
{
    private readonly Holds.Hold _hold;
    private StoreReader? _spareReader;
    // The snapshot itself counts as one user, until it is disposed of; every cursor is another.
    private int _userCount = 1;
    private int _isDisposed;

    internal StoreSnapshot(Store store)
    {
        Store = store;
        var pin = store.Epochs.Register();
        try
        {
            pin.Enter();
            _hold = store.Holds.Take(store.Current);
            NowSeconds = store.NowSeconds();
        }
        finally
        {
            pin.Leave();
            store.Epochs.Unregister(pin);
        }
    }

    /// <summary>The Unix time, in seconds, that the snapshot shows.</summary>
    public uint NowSeconds { get; }

    /// <summary>The sequence number of the newest write in it.</summary>
    public ulong LastSequence => _hold.Snapshot.LastSequence.Value;

    internal Store Store { get; }

    /// <summary>The value of a key, or null. Allocates the copy. Throws <see cref="StoreException"/> when it cannot be read.</summary>
    public byte[]? Get(ReadOnlySpan<byte> key)
    {
        var reader = Interlocked.Exchange(ref _spareReader, null) ?? Store.CreateReader();
        reader.Enter(this);
        try
        {
            return reader.Find(key, NowSeconds, out var entry) switch
            {
                LookupOutcome.Found => entry.Value.ToArray(),
                LookupOutcome.Unreadable => throw new StoreException("the key's block cannot be read, see the log"),
                _ => null,
            };
        }
        catch (Exception) when (Store.Holds.IsClosed)
        {
            throw StoreClosed();
        }
        finally
        {
            reader.Exit();
            Interlocked.Exchange(ref _spareReader, reader)?.Dispose();
        }
    }

    /// <summary>All items, in ascending order of their keys' bytes.</summary>
    public SnapshotRange Scan() => new(this, KeyBoundsModule.all);

    /// <summary>
    /// The items from one key on, up to another that is left out, in ascending order of their keys' bytes. An empty key is no bound. Nothing
    /// before <paramref name="from"/> is read but the rest of its block.
    /// </summary>
    public SnapshotRange Scan(ReadOnlySpan<byte> from, ReadOnlySpan<byte> until = default) =>
        new(this, KeyBoundsModule.between(from.ToArray(), until.ToArray()));

    /// <summary>The items whose keys begin with some bytes, in ascending order.</summary>
    public SnapshotRange ScanPrefix(ReadOnlySpan<byte> prefix) => new(this, KeyBoundsModule.ofPrefix(prefix.ToArray()));

    /// <summary>Ends the hold, when no cursor is open any more.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            Leave();
        }
    }

    /// <summary>Begins a use, which keeps what is held until <see cref="Leave"/>. Throws <see cref="ObjectDisposedException"/>.</summary>
    internal Snapshot Use()
    {
        for (var count = Volatile.Read(ref _userCount); count > 0 && Volatile.Read(ref _isDisposed) == 0;)
        {
            var before = Interlocked.CompareExchange(ref _userCount, count + 1, count);
            if (before == count)
            {
                if (Store.Holds.IsClosed)
                {
                    Leave();
                    throw StoreClosed();
                }

                return _hold.Snapshot;
            }

            count = before;
        }

        throw new ObjectDisposedException(nameof(StoreSnapshot));
    }

    /// <summary>Ends a use.</summary>
    internal void Leave()
    {
        if (Interlocked.Decrement(ref _userCount) == 0)
        {
            Interlocked.Exchange(ref _spareReader, null)?.Dispose();
            Store.Holds.End(_hold);
        }
    }

    /// <summary>What a use of the snapshot ends in once the store is closed.</summary>
    internal static ObjectDisposedException StoreClosed() => new(nameof(Store), "The store was closed, and its snapshots with it.");
}
