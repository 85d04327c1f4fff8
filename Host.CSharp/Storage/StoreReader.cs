using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// Reads a store from one thread. Between <see cref="Enter()"/> and <see cref="Exit"/> it looks at one snapshot, and the entries it finds stay valid
/// until the next lookup.
/// </summary>
public sealed class StoreReader : IDisposable
{
    private readonly Store _store;
    private readonly Epochs.Pin _pin;
    private byte[] _block = GC.AllocateUninitializedArray<byte>(16 * 1024);
    private Snapshot? _snapshot;
    private StoreSnapshot? _held;

    internal StoreReader(Store store)
    {
        _store = store;
        _pin = store.Epochs.Register();
    }

    /// <summary>The snapshot between <see cref="Enter()"/> and <see cref="Exit"/>.</summary>
    internal Snapshot Snapshot => _snapshot ?? throw new InvalidOperationException("A reader is used between Enter and Exit.");

    /// <summary>Takes the newest snapshot and keeps it alive.</summary>
    public void Enter()
    {
        _pin.Enter();
        _snapshot = _store.Current;
    }

    /// <summary>
    /// Looks at a held snapshot instead of the newest; lookups should ask for its <see cref="StoreSnapshot.NowSeconds"/>. Throws
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
    /// Finds the live value of a key at a Unix time. The entry is valid until the next call of any method of this reader. Allocates nothing
    /// when the key is in a memtable.
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
    public void Dispose() => _store.Epochs.Unregister(_pin);

    private LookupOutcome Finish(Snapshot snapshot, FlushState flush, ReadOnlySpan<byte> key, uint nowSeconds, LookupStep step, out Entry entry)
    {
        while (step.Outcome == LookupOutcome.ReadBlock)
        {
            if (!TryReadBlock(step.Table, step.Block))
            {
                entry = default;
                return LookupOutcome.Unreadable;
            }

            step = Lookup.resume(snapshot, flush, key, nowSeconds, step, _block, step.Block.LengthBytes);
        }

        entry = step.Entry;
        return step.Outcome;
    }

    private bool TryReadBlock(Table table, BlockHandle handle)
    {
        if (_block.Length < handle.LengthBytes)
        {
            _block = GC.AllocateUninitializedArray<byte>(handle.LengthBytes);
        }

        var block = _block.AsSpan(0, handle.LengthBytes);
        try
        {
            _store.Tables.Read(table, handle.OffsetBytes, block);
        }
        catch (IOException cause)
        {
            _store.Log.TableUnreadable(table.File, handle.OffsetBytes, cause.Message);
            return false;
        }

        var verified = Block.verify(table.File, handle, _block, 0);
        if (verified.IsError)
        {
            var damage = verified.ErrorValue;
            _store.Log.TableUnreadable(damage.File, damage.OffsetBytes, damage.Reason);
            return false;
        }

        return true;
    }
}
