using System.Buffers;
using System.Net.Security;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// Invariants
//   1. At most one read and one write of the stream are under way. Each owns its buffer until its event has come in a turn; nobody else touches it.
//   2. What has arrived and was not received is at most one read, and nothing more is read before it is received: a peer that is not served cannot make it grow.
//   3. What was handed over and not sent is at most one write, and nothing more is taken before it has completed: nor can one that does not read.
//   4. An idle connection has neither buffer.

/// <summary>A connection over TLS, its handshake done.</summary>
internal sealed class TlsChannel : LoopChannel
{
    /// <summary>Bytes of a read: what a TLS record holds at most.</summary>
    private const int ReadLength = 16 * 1024;

    /// <summary>How long the end of an orderly close may wait for a peer that does not read.</summary>
    private static readonly TimeSpan ClosePatience = TimeSpan.FromSeconds(3);

    private readonly SocketLoop _loop;
    private readonly SslStream _stream;
    private readonly Socket _socket;
    private readonly TlsHandshakes _handshakes;
    private readonly int _writeLength;
    private byte[]? _received;
    private int _receivedStart;
    private int _receivedLength;
    private byte[]? _sending;
    private Task _write = Task.CompletedTask;
    private bool _isWritten;
    private bool _isArrivalDue;
    private bool _hasEnded;
    private bool _isBroken;
    private bool _isClosed;

    public TlsChannel(SocketLoop loop, SslStream stream, Socket socket, ListenPoint point, TlsHandshakes handshakes)
        : base(Origin.Of(socket, point))
    {
        _loop = loop;
        _stream = stream;
        _socket = socket;
        _handshakes = handshakes;
        _writeLength = handshakes.WriteLength;
        Connection = new Connection(loop, this);
    }

    public Connection Connection { get; }

    public override int Receive(Span<byte> buffer)
    {
        if (_isArrivalDue)
        {
            return NothingNow;
        }

        if (_received is null)
        {
            return _isBroken ? Broken : _hasEnded ? 0 : NothingNow;
        }

        int count = Math.Min(_receivedLength, buffer.Length);
        _received.AsSpan(_receivedStart, count).CopyTo(buffer);
        _receivedStart += count;
        _receivedLength -= count;

        if (_receivedLength == 0)
        {
            Return(ref _received);
        }

        return count;
    }

    public override int Send(ReadOnlySpan<byte> bytes)
    {
        int taken = 0;

        while (taken < bytes.Length && _sending is null && !_isBroken)
        {
            int length = Math.Min(bytes.Length - taken, _writeLength);
            _sending = ArrayPool<byte>.Shared.Rent(length);
            bytes.Slice(taken, length).CopyTo(_sending);
            taken += length;
            ValueTask write = _stream.WriteAsync(_sending.AsMemory(0, length));

            if (write.IsCompletedSuccessfully)
            {
                write.GetAwaiter().GetResult();
                Return(ref _sending);
            }
            else
            {
                _isWritten = false;
                _write = Finish(write.AsTask());
            }
        }

        return _isBroken ? Broken : taken;
    }

    public override void AwaitReadable()
    {
        Interest = Interest.Readable;

        if (_isArrivalDue)
        {
            return;
        }

        _isArrivalDue = true;

        if (_received is not null || _hasEnded || _isBroken)
        {
            _loop.Ready(this, isArrival: true);
        }
        else
        {
            _ = Read();
        }
    }

    public override void AwaitWritable(ReadOnlySpan<byte> unsent)
    {
        Interest = Interest.Writable;

        if (_sending is null)
        {
            _loop.Ready(this, isArrival: false);
        }
    }

    public override void AwaitNothing() => Interest = Interest.None;

    public override void Close(bool orderly)
    {
        if (_isClosed)
        {
            return;
        }

        _isClosed = true;

        if (!_isArrivalDue)
        {
            Return(ref _received);
        }

        if (orderly && !_isBroken)
        {
            _handshakes.EnterWork();
            _ = CloseOrderly();
        }
        else
        {
            // Operations under way complete with an error, and their events are ignored below.
            _socket.Dispose();
            _stream.Dispose();
        }
    }

    public override void OnArrival()
    {
        _isArrivalDue = false;

        if (_isClosed)
        {
            Return(ref _received);
        }
        else if (Interest == Interest.Readable)
        {
            Connection.OnReadable();
            AwaitAgain();
        }
    }

    public override void OnDeparture()
    {
        if (_sending is not null)
        {
            if (!Volatile.Read(ref _isWritten))
            {
                // The event of an earlier wait; that of the write follows.
                return;
            }

            Return(ref _sending);
        }

        if (_isClosed)
        {
            return;
        }

        if (_isBroken)
        {
            Connection.Close();
        }
        else if (Interest == Interest.Writable)
        {
            Connection.OnWritable(0);
            AwaitAgain();
        }
    }

    private void AwaitAgain()
    {
        if (!_isClosed && Interest == Interest.Readable)
        {
            AwaitReadable();
        }
    }

    /// <summary>Waits for bytes without a buffer, and then reads them. The event comes behind the last change of a field.</summary>
    private async Task Read()
    {
        try
        {
            await _stream.ReadAsync(Memory<byte>.Empty).ConfigureAwait(false);
            _received = ArrayPool<byte>.Shared.Rent(ReadLength);
            _receivedStart = 0;
            _receivedLength = await _stream.ReadAsync(_received.AsMemory(0, ReadLength)).ConfigureAwait(false);
            _hasEnded = _receivedLength == 0;
        }
        catch (Exception exception)
        {
            _receivedLength = 0;
            Break(exception);
        }

        if (_receivedLength == 0)
        {
            Return(ref _received);
        }

        _loop.Ready(this, isArrival: true);
    }

    private async Task Finish(Task write)
    {
        try
        {
            await write.ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            Break(exception);
        }

        Volatile.Write(ref _isWritten, true);
        _loop.Ready(this, isArrival: false);
    }

    /// <summary>Sends what was handed over, then the end of the stream in TLS and in TCP.</summary>
    private async Task CloseOrderly()
    {
        try
        {
            await FinishStream().WaitAsync(ClosePatience).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or SocketException or TimeoutException or ObjectDisposedException or InvalidOperationException)
        {
            // The peer was faster, or does not read.
        }
        finally
        {
            _socket.Dispose();
            await _stream.DisposeAsync().ConfigureAwait(false);
            _handshakes.LeaveWork();
        }
    }

    private async Task FinishStream()
    {
        await _write.ConfigureAwait(false);

        if (!_isBroken)
        {
            await _stream.ShutdownAsync().ConfigureAwait(false);
            _socket.Shutdown(SocketShutdown.Send);
        }
    }

    private void Break(Exception exception)
    {
        _isBroken = true;

        if (!_isClosed && exception is IOException { InnerException: not (null or SocketException or ObjectDisposedException) })
        {
            _handshakes.CountProtocolError();
        }

        if (exception is not (IOException or ObjectDisposedException or OperationCanceledException))
        {
            _loop.Logger.LogError("A TLS connection ended for a reason of its own: {Reason}", exception.ToString().ReplaceLineEndings(" "));
        }
    }

    private static void Return(ref byte[]? buffer)
    {
        if (buffer is not null)
        {
            ArrayPool<byte>.Shared.Return(buffer);
            buffer = null;
        }
    }
}
