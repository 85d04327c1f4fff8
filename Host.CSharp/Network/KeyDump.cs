using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// Invariants
//   1. It is idle, working or ended. A loop's turn makes it work, and it makes itself idle again with a piece that is ready; whoever
//      finds it idle, in a turn, owns it. The end may come at any time: whoever of turn and worker comes second gives the snapshot back.
//   2. A piece is made when the peer has taken the one before it, so one piece is all the memory that a peer who does not read costs.
//   3. The snapshot and the place among the running lists are given back once, at the latest piece, or at the end that came before it.

/// <summary>
/// A list of keys that is on its way to a client: pieces of it are made on another thread, because they read the disk, and sent in turns of the
/// connection's loop.
/// </summary>
internal sealed class KeyDump : IThreadPoolWorkItem
{
    private const int PieceLengthBytes = 64 * 1024;

    private const int Idle = 0;
    private const int Working = 1;
    private const int Ended = 2;

    private readonly EventLoop _loop;
    private readonly Connection _connection;
    private readonly KeyList _list;
    private readonly CancellationTokenSource _cancellation = new();
    private readonly ByteBuffer _piece = new(PieceLengthBytes + 1024);
    private StoreSnapshot? _snapshot;
    private SnapshotCursor? _cursor;
    private KeyListProgress _progress;
    private int _state = Idle;
    private int _isReleased;

    /// <summary>A list of which nothing is made yet. Its place among the running lists was taken by <see cref="Server.TryBeginCrawl"/>.</summary>
    public KeyDump(EventLoop loop, Connection connection, KeyList list)
    {
        _loop = loop;
        _connection = connection;
        _list = list;
    }

    /// <summary>The piece that is ready. In a turn, when idle.</summary>
    public ReadOnlySpan<byte> Piece => _piece.Written;

    /// <summary>Whether the piece that is ready is the last.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Whether a piece is ready, or none was asked for yet. In a turn.</summary>
    public bool IsIdle => Volatile.Read(ref _state) == Idle;

    /// <summary>Has the next piece made; the connection hears of it in a turn. In a turn, when idle.</summary>
    public void Request()
    {
        _loop.Server.EnterCrawlWork();
        Volatile.Write(ref _state, Working);
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    /// <summary>No more of it is wanted. In a turn.</summary>
    public void End()
    {
        _cancellation.Cancel();
        if (Interlocked.Exchange(ref _state, Ended) == Idle && Volatile.Read(ref _isReleased) == 0)
        {
            // Giving a snapshot back may delete files.
            _loop.Server.EnterCrawlWork();
            ThreadPool.UnsafeQueueUserWorkItem(
                static dump =>
                {
                    dump.Release();
                    dump._loop.Server.LeaveCrawlWork();
                },
                this,
                preferLocal: false);
        }
    }

    /// <summary>Makes a piece. On a thread of the pool.</summary>
    void IThreadPoolWorkItem.Execute()
    {
        MakePiece();
        if (IsComplete)
        {
            // Before the client hears of the end, so that the next list it asks for finds its place.
            Release();
        }

        if (Interlocked.CompareExchange(ref _state, Idle, Working) == Working)
        {
            _loop.Post(() => _connection.OnDumped(this));
        }
        else
        {
            Release();
        }

        _loop.Server.LeaveCrawlWork();
    }

    private bool TryAppend(in Entry entry) =>
        KeyListing.tryAppend(_list, _piece, entry, _loop.Recency.Find(in entry), ref _progress);

    private void MakePiece()
    {
        _piece.ClearAndTrim(2 * PieceLengthBytes);
        try
        {
            if (_cursor is null)
            {
                _snapshot = _loop.Server.Store.CreateSnapshot();
                _cursor = _snapshot.Scan().GetEnumerator();
                _cursor.Cancellation = _cancellation.Token;
            }

            while (_piece.Length < PieceLengthBytes && !_cancellation.IsCancellationRequested)
            {
                if (!_cursor.MoveNext() || !TryAppend(_cursor.Current))
                {
                    IsComplete = true;
                    _piece.Append(Reply.line(_list.Finish));
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Nobody waits for the piece.
        }
        catch (Exception cause)
        {
            // A line that ends no list tells the client that this one is not whole.
            _loop.Logger.LogError("A list of keys ends before its end: {Reason}", cause.Message.ReplaceLineEndings(" "));
            IsComplete = true;
            _piece.Append("SERVER_ERROR the stored keys cannot be read, see the server's log\r\n"u8);
        }
    }

    private void Release()
    {
        if (Interlocked.Exchange(ref _isReleased, 1) == 0)
        {
            _cursor?.Dispose();
            _snapshot?.Dispose();
            _loop.Server.EndCrawl();
        }
    }
}
