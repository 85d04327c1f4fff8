using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// Invariants
//   1. It is idle, working or ended. A loop's turn makes it work, and it makes itself idle again with a piece that is ready; whoever
//      finds it idle, in a turn, owns it. The end may come at any time: whoever of turn and worker comes second releases what it holds.
//   2. A piece is made when the peer has taken the one before it, so one piece is all the memory that a peer who does not read costs.
//   3. What it holds is released once, at the latest piece, or at the end that came before it.

/// <summary>
/// A long answer that is on its way to a client: pieces of it are made on another thread, because they take long, and sent in turns of the connection's loop.
/// </summary>
internal abstract class Dump(EventLoop loop, Connection connection) : IThreadPoolWorkItem
{
    /// <summary>Bytes from which on a piece takes no more.</summary>
    protected const int PieceLengthBytes = 64 * 1024;

    private const int Idle = 0;
    private const int Working = 1;
    private const int Ended = 2;

    private readonly CancellationTokenSource _cancellation = new();
    private readonly ByteBuffer _piece = new(PieceLengthBytes + 1024);
    private int _state = Idle;
    private int _isReleased;

    /// <summary>The piece that is ready. In a turn, when idle.</summary>
    public ReadOnlySpan<byte> Piece => _piece.Written;

    /// <summary>Whether the piece that is ready is the last.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Whether a piece is ready, or none was asked for yet. In a turn.</summary>
    public bool IsIdle => Volatile.Read(ref _state) == Idle;

    /// <summary>What it is while it is on its way, for `stats conns`.</summary>
    public abstract ConnectionFacts Facts { get; }

    /// <summary>The loop of the connection.</summary>
    protected EventLoop Loop => loop;

    /// <summary>Asked to stop when nobody wants the answer any more.</summary>
    protected CancellationToken Cancellation => _cancellation.Token;

    /// <summary>Has the next piece made; the connection hears of it in a turn. In a turn, when idle.</summary>
    public void Request()
    {
        loop.Server.EnterCrawlWork();
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
            loop.Server.EnterCrawlWork();
            ThreadPool.UnsafeQueueUserWorkItem(
                static dump =>
                {
                    dump.ReleaseOnce();
                    dump.Loop.Server.LeaveCrawlWork();
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
            ReleaseOnce();
        }

        if (Interlocked.CompareExchange(ref _state, Idle, Working) == Working)
        {
            loop.Post(() => connection.OnDumped(this));
        }
        else
        {
            ReleaseOnce();
        }

        loop.Server.LeaveCrawlWork();
    }

    /// <summary>Appends up to <see cref="PieceLengthBytes"/>; true when that was all.</summary>
    protected abstract bool Append(ByteBuffer piece);

    /// <summary>What the client is told instead of the rest when an exception ends it.</summary>
    protected abstract ReadOnlySpan<byte> Apology { get; }

    /// <summary>Gives back what it holds.</summary>
    protected abstract void Release();

    private void MakePiece()
    {
        _piece.ClearAndTrim(2 * PieceLengthBytes);
        try
        {
            IsComplete = Append(_piece);
        }
        catch (OperationCanceledException)
        {
            // Nobody waits for the piece.
        }
        catch (Exception cause)
        {
            // A line that ends no list tells the client that this one is not whole.
            loop.Logger.LogError("A list ends before its end: {Reason}", cause.Message.ReplaceLineEndings(" "));
            IsComplete = true;
            _piece.Append(Apology);
        }
    }

    private void ReleaseOnce()
    {
        if (Interlocked.Exchange(ref _isReleased, 1) == 0)
        {
            Release();
        }
    }
}
