using LsmFs.Engine;

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
    private readonly BlockDecoder _decoder = new();
    // The block that was read last, as it is stored.
    private byte[] _block = [];
    private Snapshot? _snapshot;
    private StoreSnapshot? _held;
    private BlockRequest _missing;
    private long _hitCount;
    private long _missCount;

    /// <summary>What a lookup does when a block is not in the cache.</summary>
    private enum Patience
    {
        /// <summary>Waits for the disk.</summary>
        Wait,

        /// <summary>Takes it from the operating system's memory, or ends.</summary>
        None,

        /// <summary>The same, for a lookup that a commit will do again: no hit is counted.</summary>
        Look,

        /// <summary>The same, for a key whose turn has not come: it uses none of the wanted blocks.</summary>
        LookAhead,
    }

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
        return Finish(snapshot, snapshot.Flush, key, nowSeconds, step, Patience.Wait, null, out entry);
    }

    /// <summary>
    /// Finds the live value of a key without waiting for the disk. When that is not possible the outcome is <see cref="LookupOutcome.ReadBlock"/>:
    /// the caller asks for the block (<see cref="RequestMissing"/>) and tries again when it has been read. <paramref name="wanted"/> are the blocks he
    /// has asked for.
    /// </summary>
    internal LookupOutcome FindNow(ReadOnlySpan<byte> key, uint nowSeconds, WantedBlocks? wanted, out Entry entry)
    {
        var snapshot = Snapshot;
        var step = Lookup.start(snapshot, key, nowSeconds);
        return Finish(snapshot, snapshot.Flush, key, nowSeconds, step, Patience.None, wanted, out entry);
    }

    /// <summary>Has the processor fetch what lookups of these keys in <paramref name="text"/> read first, so that their waits for memory pass side by side.</summary>
    internal void Fetch(ReadOnlySpan<byte> text, Span<ComingKey> keys) => Lookup.fetch(Snapshot, text, keys);

    /// <summary>Whether a lookup of the key would not wait for the disk; if it would, then for the missing block.</summary>
    internal bool IsAtHand(ReadOnlySpan<byte> key, uint nowSeconds, WantedBlocks? wanted, bool isAhead)
    {
        var snapshot = Snapshot;
        var step = Lookup.start(snapshot, key, nowSeconds);
        var patience = isAhead ? Patience.LookAhead : Patience.Look;
        return Finish(snapshot, snapshot.Flush, key, nowSeconds, step, patience, wanted, out _) != LookupOutcome.ReadBlock;
    }

    /// <summary>Bytes of the block that the last lookup missed.</summary>
    internal int MissingLengthBytes => _missing.Handle.LengthBytes;

    /// <summary>Has the block read that the last lookup missed, unless it has been asked for, and keeps it among the wanted ones.</summary>
    internal PendingRead RequestMissing(WantedBlocks wanted)
    {
        if (wanted.Find(in _missing, isUse: false) is { } asked)
        {
            return asked;
        }

        _missCount++;
        var read = _store.Reads.Request(in _missing);
        wanted.Add(read);
        return read;
    }

    /// <summary>Finds what a writer sees: his own batch first.</summary>
    internal LookupOutcome FindInBatch(MemtableEditor batch, FlushState flush, ReadOnlySpan<byte> key, uint nowSeconds, out Entry entry)
    {
        var snapshot = Snapshot;
        var step = Lookup.startInBatch(snapshot, batch, flush, key, nowSeconds);
        return Finish(snapshot, flush, key, nowSeconds, step, Patience.Wait, null, out entry);
    }

    /// <summary>Gives the reader up.</summary>
    public void Dispose()
    {
        _store.Epochs.Unregister(_pin);
        _store.Remove(this);
    }

    private LookupOutcome Finish(
        Snapshot snapshot, FlushState flush, ReadOnlySpan<byte> key, uint nowSeconds, LookupStep step, Patience patience, WantedBlocks? wanted, out Entry entry)
    {
        while (step.Outcome == LookupOutcome.ReadBlock)
        {
            switch (GetBlock(step.Request, patience, wanted, out var block, out var lengthBytes))
            {
                case BlockState.AtHand:
                    step = Lookup.resume(snapshot, flush, key, nowSeconds, step, block, lengthBytes);
                    break;
                case BlockState.NotNow:
                    _missing = step.Request;
                    entry = default;
                    return LookupOutcome.ReadBlock;
                default:
                    entry = default;
                    return LookupOutcome.Unreadable;
            }
        }

        entry = step.Entry;
        return step.Outcome;
    }

    private BlockState GetBlock(in BlockRequest request, Patience patience, WantedBlocks? wanted, out byte[] block, out int lengthBytes)
    {
        // First what was waited for: it is there whatever the cache has done since.
        if (wanted is { Count: > 0 } && wanted.Find(in request, isUse: patience != Patience.LookAhead) is { } read)
        {
            // Completion first: only then the rest is there.
            var state = !read.IsCompleted ? BlockState.NotNow : read.IsReadable ? BlockState.AtHand : BlockState.Unreadable;
            block = state == BlockState.AtHand ? read.Block : [];
            lengthBytes = read.LengthBytes;
            return state;
        }

        var isUse = patience is Patience.Wait or Patience.None;
        if (_held is null && _store.Cache.Find(request.Table.Number.Value, request.Handle.OffsetBytes, isUse) is { } cached)
        {
            _hitCount += isUse ? 1 : 0;
            block = cached.Buffer;
            lengthBytes = cached.LengthBytes;
            return BlockState.AtHand;
        }

        var storedLength = request.Handle.LengthBytes;
        if (!isUse && !_store.Cache.Takes(storedLength))
        {
            // It would have to be read once more.
            block = [];
            lengthBytes = 0;
            return BlockState.NotNow;
        }

        if (_block.Length < storedLength)
        {
            _block = GC.AllocateUninitializedArray<byte>(Math.Max(storedLength, BlockLengthMin));
        }

        var isCached = _held is null;
        var found =
            patience != Patience.Wait ? _store.Blocks.TryReadNow(in request, _decoder, _block, isCached, out var content)
            : _store.Blocks.TryRead(in request, _decoder, _block, isCached, out content) ? BlockState.AtHand
            : BlockState.Unreadable;
        block = content.Bytes;
        lengthBytes = content.Length;
        _missCount += found == BlockState.NotNow ? 0 : 1;
        return found;
    }
}
