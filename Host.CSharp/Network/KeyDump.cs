using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>A list of keys, of one snapshot. Its place among the running lists was taken by <see cref="Server.TryBeginCrawl"/>.</summary>
internal sealed class KeyDump(EventLoop loop, Connection connection, KeyList list) : Dump(loop, connection)
{
    private StoreSnapshot? _snapshot;
    private SnapshotCursor? _cursor;
    private KeyListProgress _progress;

    public override ConnectionFacts Facts => ConnectionFacts.IsListing;

    protected override ReadOnlySpan<byte> Apology => "SERVER_ERROR the stored keys cannot be read, see the server's log\r\n"u8;

    protected override bool Append(ByteBuffer piece)
    {
        if (_cursor is null)
        {
            _snapshot = Loop.Server.Store.CreateSnapshot();
            _cursor = _snapshot.Scan().GetEnumerator();
            _cursor.Cancellation = Cancellation;
        }

        while (piece.Length < PieceLengthBytes && !Cancellation.IsCancellationRequested)
        {
            if (!_cursor.MoveNext() || !TryAppend(_cursor.Current, piece))
            {
                piece.Append(Reply.line(list.Finish));
                return true;
            }
        }

        return false;
    }

    protected override void Release()
    {
        _cursor?.Dispose();
        _snapshot?.Dispose();
        Loop.Server.EndCrawl();
    }

    private bool TryAppend(in Entry entry, ByteBuffer piece) =>
        KeyListing.tryAppend(list, piece, entry, Loop.Recency.Find(in entry), ref _progress);
}
