using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// Reads a store from one thread. Between <see cref="Enter()"/> and <see cref="Exit"/> it looks at one snapshot, and the entries it finds stay valid
/// until the next lookup: they lie in a memtable, in a cached block, or in the reader's own memory.
/// </summary>
public sealed class StoreReader : IDisposable
{
    private const int BlockLengthMin = 16 * 1024;

    private readonly Store _store;
    private readonly Epochs.Pin _pin;
    // The block that was read last.
    private byte[] _block = [];
    private Snapshot? _snapshot;
    private StoreSnapshot? _held;
    private long _hitCount;
    private long _missCount;

    internal StoreReader(Store store)
    {
        _store = store;
        _pin = store.Epochs.Register();
        store.Add(this);
    }

    /// <summary>Blocks that were in the cache when they were asked for. Any thread may read it.</summary>
    internal long HitCount => Volatile.Read(ref _hitCount);

    /// <summary>Blocks that had to be read. Any thread may read it.</summary>
    internal long MissCount => Volatile.Read(ref _missCount);

    /// <summary>The snapshot between <see cref="Enter()"/> and <see cref="Exit"/>.</summary>
    internal Snapshot Snapshot => _snapshot ?? throw new InvalidOperationException("A reader is used between Enter and Exit.");

    /// <summary>Takes the newest snapshot and keeps it alive.</summary>
    public void Enter()
    {
        _pin.Enter();
        _snapshot = _store.Current;
    }

    /// <summary>
    /// Looks at a held snapshot instead of the newest, past the block cache, whose memory could not be used again meanwhile; lookups should ask for its <see cref="StoreSnapshot.NowSeconds"/>. Throws
    /// <see cref="ObjectDisposedException"/>.
    /// </summary>
    public void Enter(StoreSnapshot snapshot)
    {
        _snapshot = snapshot.Use();
        _held = snapshot;
    }

    /// <summary>Lets the snapshot go, and every entry found in it.</summary>
    public void Exit()
    {
        _snapshot = null;
        if (_held is { } held)
        {
            _held = null;
            held.Leave();
        }
        else
        {
            _pin.Leave();
        }
    }

    /// <summary>
    /// Finds the live value of a key at a Unix time. The entry is valid until the next call of any method of this reader. Waits for the disk when a
    /// block is not in the cache; otherwise takes no lock and allocates nothing.
    /// </summary>
    public LookupOutcome Find(ReadOnlySpan<byte> key, uint nowSeconds, out Entry entry)
    {
        var snapshot = Snapshot;
        var step = Lookup.start(snapshot, key, nowSeconds);
        return Finish(snapshot, snapshot.Flush, key, nowSeconds, step, out entry);
    }

    /// <summary>Finds what a writer sees: his own batch first.</summary>
    internal LookupOutcome FindInBatch(MemtableEditor batch, FlushState flush, ReadOnlySpan<byte> key, uint nowSeconds, out Entry entry)
    {
        var snapshot = Snapshot;
        var step = Lookup.startInBatch(snapshot, batch, flush, key, nowSeconds);
        return Finish(snapshot, flush, key, nowSeconds, step, out entry);
    }

    /// <summary>Gives the reader up.</summary>
    public void Dispose()
    {
        _store.Epochs.Unregister(_pin);
        _store.Remove(this);
    }

    private LookupOutcome Finish(Snapshot snapshot, FlushState flush, ReadOnlySpan<byte> key, uint nowSeconds, LookupStep step, out Entry entry)
    {
        while (step.Outcome == LookupOutcome.ReadBlock)
        {
            if (!TryReadBlock(step.Table, step.Block, out var block, out var lengthBytes))
            {
                entry = default;
                return LookupOutcome.Unreadable;
            }

            step = Lookup.resume(snapshot, flush, key, nowSeconds, step, block, lengthBytes);
        }

        entry = step.Entry;
        return step.Outcome;
    }

    private bool TryReadBlock(Table table, BlockHandle handle, out byte[] block, out int lengthBytes)
    {
        if (_held is null && _store.Cache.Find(table.Number.Value, handle.OffsetBytes) is { } cached)
        {
            _hitCount++;
            block = cached.Buffer;
            lengthBytes = cached.LengthBytes;
            return true;
        }

        _missCount++;
        if (_block.Length < handle.LengthBytes)
        {
            _block = GC.AllocateUninitializedArray<byte>(Math.Max(handle.LengthBytes, BlockLengthMin));
        }

        block = _block;
        lengthBytes = handle.LengthBytes;
        try
        {
            _store.Tables.Read(table, handle.OffsetBytes, block.AsSpan(0, lengthBytes));
        }
        catch (IOException cause)
        {
            _store.Log.TableUnreadable(table.File, handle.OffsetBytes, cause.Message);
            return false;
        }

        return TryOpenBlock(table, handle, block);
    }

    /// <summary>Verifies a block as it was read, and puts it into the cache.</summary>
    private bool TryOpenBlock(Table table, BlockHandle handle, byte[] block)
    {
        var verified = Block.verify(table.File, handle, block, 0);
        if (verified.IsError)
        {
            var damage = verified.ErrorValue;
            _store.Log.TableUnreadable(damage.File, damage.OffsetBytes, damage.Reason);
            return false;
        }

        if (_held is null)
        {
            _store.Cache.Add(table.Number.Value, handle.OffsetBytes, block.AsSpan(0, handle.LengthBytes));
        }

        return true;
    }
}
