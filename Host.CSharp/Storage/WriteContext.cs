using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// What a <see cref="Submission"/> reads and writes through while it is executed. Its writes form the open batch: they are seen by the submissions
/// that follow in the group, and by nobody else until the group is durable.
/// </summary>
public sealed class WriteContext
{
    private readonly StoreReader _reader;
    private readonly ByteBuffer _frame = new(64 * 1024);
    private readonly bool _logged;
    private MemtableEditor _editor;
    private ulong _lastSequence;
    private int _frameStart;

    internal WriteContext(StoreReader reader, bool logged)
    {
        _reader = reader;
        _logged = logged;
    }

    /// <summary>The Unix time, in seconds, at which the group is executed.</summary>
    public uint NowSeconds { get; private set; }

    /// <summary>Whether there is space for values. On a full disk only removals are carried out.</summary>
    public bool AdmitsPuts { get; private set; }

    /// <summary>The sequence number of the next write, which is its cas unique too unless it brings its own.</summary>
    public ulong NextSequence => _lastSequence + 1;

    /// <summary>The flush state after the batch.</summary>
    internal FlushState Flush { get; private set; }

    /// <summary>Whether there is a flush in the batch.</summary>
    internal bool HasFlush { get; private set; }

    /// <summary>The sequence number of the last write of the batch.</summary>
    internal SequenceNumber LastSequence => SequenceNumber.NewSequenceNumber(_lastSequence);

    /// <summary>Whether the batch has any writes.</summary>
    internal bool HasWrites { get; private set; }

    /// <summary>Bytes of the entries of the batch.</summary>
    internal long WrittenBytes { get; private set; }

    /// <summary>Bytes that the batch will take in the log.</summary>
    internal int FrameLength => _frame.Length;

    /// <summary>Finds the live value of a key, as left by the earlier writes of the group. The entry is valid until the next call.</summary>
    public LookupOutcome Find(ReadOnlySpan<byte> key, out Entry entry) =>
        _reader.FindInBatch(_editor, Flush, key, NowSeconds, out entry);

    /// <summary>
    /// Gives a key the value <paramref name="head"/> followed by <paramref name="tail"/>. Expiry is a Unix time in seconds, 0 for never.
    /// A cas unique of 0 stands for the new sequence number; the marks are what meta commands remember of the item. Returns the cas unique the entry has.
    /// </summary>
    public ulong Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> head, ReadOnlySpan<byte> tail, uint flags, uint expirySeconds, ulong cas, EntryMarks marks = EntryMarks.None)
    {
        if (!AdmitsPuts)
        {
            throw new InvalidOperationException("Puts are not admitted.");
        }

        Write(new EntryHeader(EntryKind.Value, Advance(), flags, expirySeconds, cas, marks), key, head, tail);
        return cas == 0 ? _lastSequence : cas;
    }

    /// <summary>Removes the value of a key.</summary>
    public void Delete(ReadOnlySpan<byte> key) =>
        Write(new EntryHeader(EntryKind.Tombstone, Advance(), 0, 0, 0, EntryMarks.None), key, default, default);

    /// <summary>Removes every value there is: now when the Unix time is 0, else everything there will be when that time comes.</summary>
    public void FlushAll(uint atSeconds)
    {
        var sequence = Advance();
        StartWrite();
        _ = EntryFormat.append(_frame, new EntryHeader(EntryKind.FlushAll, sequence, 0, atSeconds, 0, EntryMarks.None), default, default);
        Flush = FlushStateModule.apply(sequence, atSeconds, Flush);
        HasFlush = true;
    }

    /// <summary>Opens a batch on top of the snapshot that the reader has entered.</summary>
    internal void Begin(uint nowSeconds, bool admitsPuts)
    {
        AdmitsPuts = admitsPuts;
        var snapshot = _reader.Snapshot;
        NowSeconds = nowSeconds;
        Flush = snapshot.Flush;
        _editor = snapshot.Active.Edit();
        WrittenBytes = 0;
        _lastSequence = snapshot.LastSequence.Value;
        HasWrites = false;
        HasFlush = false;
        _frame.ClearAndTrim(4 * 1024 * 1024);
        _frameStart = LogFile.startFrame(_frame);
        if (Flush.IsDue(nowSeconds))
        {
            FlushAll(0);
        }
    }

    /// <summary>The batch as a frame of the log.</summary>
    internal ReadOnlySpan<byte> FinishFrame(uint seed)
    {
        LogFile.finishFrame(_frame, seed, _frameStart);
        return _frame.Written;
    }

    /// <summary>The memtable that has the batch in it.</summary>
    internal Memtable CommitMemtable() => _editor.Commit();

    /// <summary>Bytes of the memtable with the batch in it.</summary>
    internal long MemtableSizeBytes => _editor.SizeBytes;

    private SequenceNumber Advance() => SequenceNumber.NewSequenceNumber(++_lastSequence);

    private void StartWrite()
    {
        HasWrites = true;
        if (!_logged)
        {
            // Without a log the frame only lends its memory to one entry at a time.
            _frame.Truncate(LogFile.frameHeaderLength);
        }
    }

    private void Write(in EntryHeader header, ReadOnlySpan<byte> key, ReadOnlySpan<byte> head, ReadOnlySpan<byte> tail)
    {
        if (key.IsEmpty)
        {
            throw new ArgumentException("A key has at least one byte.", nameof(key));
        }

        StartWrite();
        var length = EntryFormat.appendParts(_frame, in header, key, head, tail);
        _editor.Put(_frame.Written[^length..]);
        WrittenBytes += length;
    }
}
