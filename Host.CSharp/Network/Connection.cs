using System.Buffers;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// What a client sends is parsed where it arrived, in the loop's receive buffer, and replies are written into the loop's send buffer.
// Only what cannot be finished in the turn is kept in buffers of the connection's own, so an idle connection has none.
//
// Invariants
//   1. Replies leave in the order of the commands: whatever is answered at once waits until the writes before it are committed.
//   2. While the peer has not taken all of the last replies (_output is not null) nothing is read, parsed or produced for it, except
//      that replies to writes that are already committed, which the charges bound, are appended.
//   3. A turn does a bounded amount of work for a connection; what is left makes it due for another turn.
//   4. _input holds at most twice the bytes that arrived, or the command they belong to.
//   5. After a step of the connection it waits for bytes, room, a commit, a block, a piece of a list or its next turn, or is closed.
//   6. While it waits for a block (_awaited is not null) nothing is read or parsed for it; the command that needs the block is at the start of the
//      input and is tried again when the block is there.
//   7. While a list of keys is on its way (_dump is not null), or certificates are read again (_isRefreshing), nothing is read or parsed for it either.

/// <summary>One client: receives, parses, answers, and collects writes. Knows no transport, and belongs to one event loop.</summary>
internal sealed partial class Connection(EventLoop loop, Channel channel) : IBlockWaiter
{
    /// <summary>Kept bytes up to this many are moved in front of the next ones in the receive buffer; beyond, those go behind the kept ones.</summary>
    private const int SharedInputLengthMax = EventLoop.ReceiveBufferLength / 4;

    /// <summary>Bytes of own room that a receive into kept input should have.</summary>
    private const int ReceiveRoomMin = 16 * 1024;

    /// <summary>Bytes of writes waiting for their commit at which the connection is not read any more.</summary>
    private const int PendingBytesMax = 256 * 1024;

    /// <summary>Units of work in a turn are counted: a command or a key is one, and so are these many bytes sent.</summary>
    private const int BytesPerWork = 512;

    private ParserState _parser;
    private bool _hasSpoken;
    private bool _isBinary;
    private byte[]? _input;
    private int _inputStart;
    private int _inputLength;
    private int _wantedLength;
    private byte[]? _output;
    private int _outputStart;
    private int _outputLength;
    private int _sendLength;
    private int _pendingCount;
    private int _pendingBytes;
    private int _workLeft;
    private long _lastMoveSeconds;
    private bool _isDue;
    private bool _isWaiting;
    private bool _isRefreshing;
    private bool _isFinished;
    private bool _isClosing;
    private bool _isClosed;

    /// <summary>Whether a key of the retrieval that is executed was refused. Only touched by the committing thread.</summary>
    public bool IsRetrievalRefused { get; set; }

    private bool CanRead =>
        _output is null && _awaited is null && _dump is null
        && !_isRefreshing && !_isDue && !_isWaiting && !_isFinished && !_isClosing && _pendingBytes < PendingBytesMax;

    /// <summary>Where it came in, and where it comes from. Any thread.</summary>
    public Origin Origin => channel.Origin;

    /// <summary>What is true of it. Any thread: outside of a turn it may be a moment old.</summary>
    public ConnectionFacts Facts =>
        (_hasSpoken ? ConnectionFacts.HasSpoken : 0)
        | (_wantedLength > _inputLength && _inputLength > 0 ? ConnectionFacts.AwaitsValue : 0)
        | (_isDue ? ConnectionFacts.HasWork : 0)
        | (_pendingCount > 0 || _isWaiting || _isRefreshing || _awaited is not null ? ConnectionFacts.AwaitsStore : 0)
        | (_dump?.Facts ?? 0)
        | (_output is not null ? ConnectionFacts.OwesReplies : 0)
        | (_isClosing || _isFinished || _isClosed ? ConnectionFacts.IsClosing : 0);

    /// <summary>Begins to wait for the first command.</summary>
    public void Start()
    {
        try
        {
            _lastMoveSeconds = loop.ClockSeconds;
            channel.AwaitReadable();
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>
    /// When the peer last moved something, on the loop's clock: finished a command, sent a part of a value, or took a part of a reply.
    /// Bytes of a line that does not end are no move, so trickling them keeps nobody in.
    /// </summary>
    public long LastMoveSeconds => _lastMoveSeconds;

    /// <summary>Whether it is the peer who is waited for, and not the store, the disk, or others' turns.</summary>
    public bool IsPeersTurn =>
        !_isDue && !_isWaiting && !_isRefreshing && _pendingCount == 0 && _awaited is null && (_dump is null || _output is not null);

    /// <summary>Closes because the peer has been idle for too long.</summary>
    public void Kick()
    {
        loop.Counters.IdleKicks++;
        Close(orderly: true);
    }

    /// <summary>Bytes have arrived, or the peer has closed.</summary>
    public void OnReadable()
    {
        if (_isClosed || _isDue)
        {
            return;
        }

        try
        {
            _workLeft = loop.WorkMax;

            if (CanRead)
            {
                Receive();
            }
            else
            {
                channel.AwaitNothing();
            }
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>Whether bytes that arrive now can be received apart from the connection's own: none of its input waits for them.</summary>
    public bool CanReceiveApart => CanRead && !_isClosed && _inputLength == 0;

    /// <summary>Receives into a buffer that others share; what <see cref="OnArrived"/> is to be called with, or less than 0 when there is nothing.</summary>
    public int ReceiveApart(Span<byte> buffer)
    {
        try
        {
            int count = channel.Receive(buffer);

            if (count == Channel.Broken)
            {
                Close();
            }

            return count;
        }
        catch (Exception exception)
        {
            Fail(exception);
            return Channel.Broken;
        }
    }

    /// <summary>Bytes were received apart from the connection's own, or, when there are none, the peer's end.</summary>
    public void OnArrived(byte[] buffer, int start, int count)
    {
        if (_isClosed)
        {
            return;
        }

        try
        {
            _workLeft = loop.WorkMax;
            ServeArrived(buffer, start, count);
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>The peer takes bytes again, and <paramref name="sentBytes"/> of the output were sent by the transport already.</summary>
    public void OnWritable(int sentBytes)
    {
        if (_isClosed || _output is null)
        {
            return;
        }

        try
        {
            _workLeft = loop.WorkMax;
            loop.Counters.BytesWritten += sentBytes;
            _lastMoveSeconds = loop.ClockSeconds;
            SendOutput(sentBytes);
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>The connection's turn has come again: for work that was left, or because writes can be collected again.</summary>
    public void OnDue()
    {
        if (_isClosed)
        {
            return;
        }

        try
        {
            _isDue = false;
            _isWaiting = false;
            _workLeft = loop.WorkMax;
            ServeKept();
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>Writes were committed or refused; these are the replies.</summary>
    public void OnCompleted(int requestCount, int charge, ReadOnlySpan<byte> replies)
    {
        _pendingCount -= requestCount;
        _pendingBytes -= charge;
        _lastMoveSeconds = loop.ClockSeconds;

        if (_isClosed)
        {
            return;
        }

        try
        {
            _workLeft = loop.WorkMax;
            Write(replies);
            _isWaiting = false;
            ServeKept();
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>The server stops: what has arrived by now is the last that is served.</summary>
    public void OnStopping()
    {
        OnReadable();

        if (!_isClosed)
        {
            _isFinished = true;
            Settle();
        }
    }

    /// <summary>Closes at once; replies that were not sent are lost.</summary>
    public void Close() => Close(orderly: false);

    private void Close(bool orderly)
    {
        if (_isClosed)
        {
            return;
        }

        _isClosed = true;
        _sendLength = 0;
        Release(ref _input);
        Release(ref _output);
        ReleaseBlocks();
        EndDump();
        loop.Forget(this);
        channel.Close(orderly);
    }

    /// <summary>Closes after an internal error, and says so in the log.</summary>
    public void Fail(Exception exception)
    {
        loop.Logger.LogError("Closing a connection after an internal error: {Reason}", exception.ToString().ReplaceLineEndings(" "));
        Close();
    }

    private void Receive()
    {
        byte[] buffer = loop.ReceiveBuffer;
        int start = 0;

        if (_inputLength > SharedInputLengthMax)
        {
            MakeRoom();
            buffer = _input!;
            start = _inputStart;
        }
        else if (_inputLength > 0)
        {
            Buffer.BlockCopy(_input!, _inputStart, buffer, 0, _inputLength);
        }

        int count = channel.Receive(buffer.AsSpan(start + _inputLength));

        if (count == Channel.Broken)
        {
            Close();
        }
        else if (count != Channel.NothingNow)
        {
            loop.LeaveSnapshot();
            ServeArrived(buffer, start, count);
        }
    }

    /// <summary>Serves what has arrived behind the input, which begins at <paramref name="start"/>.</summary>
    private void ServeArrived(byte[] buffer, int start, int count)
    {
        _isFinished = count == 0;
        loop.Counters.BytesRead += count;
        Serve(buffer, start, _inputLength + count);

        if (_wantedLength > _inputLength)
        {
            // A part of a value, which is no command yet.
            _lastMoveSeconds = loop.ClockSeconds;
        }
    }

    /// <summary>Makes room behind the kept input: as much as the command wants, but never more than has arrived already.</summary>
    private void MakeRoom()
    {
        int room = _input!.Length - _inputStart - _inputLength;

        if (room >= ReceiveRoomMin || (_wantedLength > 0 && _inputLength + room >= _wantedLength))
        {
            return;
        }

        int length = (int)Math.Min(_inputLength * 2L, Array.MaxLength);

        if (_wantedLength > _inputLength && _wantedLength < length)
        {
            length = _wantedLength;
        }

        Move(Math.Max(length, _inputLength + ReceiveRoomMin));
    }

    private void Move(int length)
    {
        byte[] larger = ArrayPool<byte>.Shared.Rent(length);
        Buffer.BlockCopy(_input!, _inputStart, larger, 0, _inputLength);
        ArrayPool<byte>.Shared.Return(_input!);
        _input = larger;
        _inputStart = 0;
    }

    private void ServeKept() => Serve(_input ?? [], _inputStart, _inputLength);

    /// <summary>Serves the commands in these bytes, keeps what is left of them, and settles what to wait for.</summary>
    private void Serve(byte[] buffer, int start, int length)
    {
        if (!_hasSpoken && length > 0)
        {
            _hasSpoken = true;
            _isBinary = BindingProtocolModule.isBinary(channel.ListenPoint.Protocol, buffer[start]);
        }

        int consumed = Execute(buffer.AsSpan(start, length));

        if (consumed > 0)
        {
            _lastMoveSeconds = loop.ClockSeconds;
        }

        if (!_isClosed)
        {
            Keep(buffer, start + consumed, length - consumed);
            Settle();
        }
    }

    private void Keep(byte[] buffer, int start, int length)
    {
        if (length == 0 || _isClosing)
        {
            Release(ref _input);
            start = length = 0;
        }
        else if (buffer == _input)
        {
            _inputStart = start;
            _inputLength = length;
            return;
        }
        else
        {
            if (_input is null || _input.Length < length)
            {
                Release(ref _input);
                _input = ArrayPool<byte>.Shared.Rent(length);
            }

            Buffer.BlockCopy(buffer, start, _input, 0, length);
        }

        _inputStart = 0;
        _inputLength = length;
    }

    /// <summary>Sends what was written, and decides what the connection waits for now (invariant 5).</summary>
    private void Settle()
    {
        Flush();

        if (IsAtEnd && IsInBatch)
        {
            loop.Replies.Send();
        }

        if (_isClosed)
        {
            return;
        }

        if (_output is not null)
        {
            channel.AwaitWritable(_output.AsSpan(_outputStart, _outputLength));
        }
        else if (_dump is not null)
        {
            ContinueDump(_dump);
        }
        else if (IsAtEnd)
        {
            Close(orderly: true);
        }
        else if (CanRead && (channel.Interest != Interest.Readable || channel.HasUnread))
        {
            channel.AwaitReadable();
        }
        else if (!CanRead && channel.Interest == Interest.Writable)
        {
            // There is room and nothing to send, which would be reported again and again.
            channel.AwaitNothing();
        }
    }

    /// <summary>Whether it is closed as soon as the replies are sent, and the list that is under way.</summary>
    private bool IsAtEnd =>
        _pendingCount == 0 && (_isClosing || (_isFinished && !_isDue && !_isWaiting && !_isRefreshing && _awaited is null));

    private void MakeDue()
    {
        _isDue = true;
        loop.MakeDue(this);
    }

    private static void Release(ref byte[]? buffer)
    {
        if (buffer is not null)
        {
            ArrayPool<byte>.Shared.Return(buffer);
            buffer = null;
        }
    }
}
