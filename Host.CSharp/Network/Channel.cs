namespace LsmFs.Host;

/// <summary>What a connection waits for.</summary>
internal enum Interest : byte
{
    /// <summary>Nothing: a commit, a piece of a list, or its next turn, wakes it.</summary>
    None,

    /// <summary>Bytes from the peer.</summary>
    Readable,

    /// <summary>Room for the bytes that the peer has not taken yet.</summary>
    Writable,
}

/// <summary>
/// The seam between a connection and the transport that carries its bytes. A channel belongs to one event loop and is used by
/// that loop's turn only. No call blocks.
/// </summary>
internal abstract class Channel(Origin origin)
{
    /// <summary>Where the connection came in, and where it comes from.</summary>
    public Origin Origin { get; } = origin;

    /// <summary>Where the connection came in.</summary>
    public ListenPoint ListenPoint => Origin.ListenPoint;

    /// <summary>What <see cref="Receive"/> returns when no bytes are there yet.</summary>
    public const int NothingNow = -1;

    /// <summary>What <see cref="Receive"/> and <see cref="Send"/> return when the connection is gone.</summary>
    public const int Broken = -2;

    /// <summary>Receives that the close of a connection may make for bytes that nobody will look at.</summary>
    private const int DiscardCountMax = 16;

    /// <summary>What the transport was last told to wait for.</summary>
    public Interest Interest { get; protected set; }

    /// <summary>Whether <see cref="AwaitReadable"/> must be called again to hear of what has arrived, though the interest is in it.</summary>
    public bool HasUnread { get; protected set; }

    /// <summary>Receives what has arrived: the number of bytes, 0 when the peer will send no more, or one of the constants above.</summary>
    public abstract int Receive(Span<byte> buffer);

    /// <summary>Sends what the socket takes: the number of bytes, which may be 0, or <see cref="Broken"/>.</summary>
    public abstract int Send(ReadOnlySpan<byte> bytes);

    /// <summary>The transport calls <see cref="Connection.OnReadable"/> from now on and until told otherwise.</summary>
    public abstract void AwaitReadable();

    /// <summary>
    /// The transport calls <see cref="Connection.OnWritable"/> when there is room. It may send some of <paramref name="unsent"/>
    /// itself by then, and says how much; it keeps no reference to the span.
    /// </summary>
    public abstract void AwaitWritable(ReadOnlySpan<byte> unsent);

    /// <summary>The transport reports nothing more until told otherwise, except that the connection broke.</summary>
    public abstract void AwaitNothing();

    /// <summary>Closes the connection. With <paramref name="orderly"/> the peer sees the end of the stream behind the last reply.</summary>
    public abstract void Close(bool orderly);

    /// <summary>
    /// Receives and drops what has arrived. A socket that is closed over unread bytes is reset, and replies that the peer has not read yet are lost to it.
    /// </summary>
    protected void DiscardArrived(Span<byte> scratch)
    {
        for (int count = 0; count < DiscardCountMax && Receive(scratch) > 0; count++)
        {
        }
    }
}
