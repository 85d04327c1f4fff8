using System.Buffers;
using System.Net.Sockets;

namespace LsmFs.Host;

/// <summary>
/// A connected socket of the base library. It learns that bytes have arrived by a receive of no bytes, so that an idle connection
/// holds no buffer, and that there is room by sending a small copy of what waits.
/// </summary>
internal sealed class SocketChannel : LoopChannel
{
    private const int ProbeLengthMax = 16 * 1024;

    private readonly SocketLoop _loop;
    private readonly Socket _socket;
    private readonly SocketAsyncEventArgs _arrival = new();
    private SocketAsyncEventArgs? _departure;
    private byte[]? _probe;
    private bool _isArrivalAwaited;
    private bool _hasArrived;
    private bool _isClosed;

    public SocketChannel(SocketLoop loop, Socket socket, ListenPoint point) : base(Origin.Of(socket, point))
    {
        _loop = loop;
        _socket = socket;
        _socket.Blocking = false;

        try
        {
            if (point.Path is null)
            {
                _socket.NoDelay = true;
            }
        }
        catch (SocketException)
        {
            // Some systems refuse it when the peer has gone already; the first receive will tell.
        }

        _arrival.SetBuffer(Memory<byte>.Empty);
        _arrival.Completed += (_, _) => _loop.Ready(this, isArrival: true);
        Connection = new Connection(_loop, this);
    }

    public Connection Connection { get; }

    public override int Receive(Span<byte> buffer)
    {
        int count = _socket.Receive(buffer, SocketFlags.None, out SocketError error);

        return error switch
        {
            SocketError.Success => count,
            SocketError.WouldBlock or SocketError.Interrupted => NothingNow,
            _ => Broken,
        };
    }

    public override int Send(ReadOnlySpan<byte> bytes)
    {
        int count = _socket.Send(bytes, SocketFlags.None, out SocketError error);

        return error switch
        {
            SocketError.Success => count,
            SocketError.WouldBlock or SocketError.Interrupted or SocketError.NoBufferSpaceAvailable => 0,
            _ => Broken,
        };
    }

    public override void AwaitReadable()
    {
        Interest = Interest.Readable;

        if (_hasArrived)
        {
            _hasArrived = false;
            _loop.Ready(this, isArrival: true);
            _isArrivalAwaited = true;
        }
        else if (!_isArrivalAwaited)
        {
            _isArrivalAwaited = true;

            if (!_socket.ReceiveAsync(_arrival))
            {
                _loop.Ready(this, isArrival: true);
            }
        }
    }

    public override void AwaitWritable(ReadOnlySpan<byte> unsent)
    {
        Interest = Interest.Writable;

        if (_probe is not null)
        {
            return;
        }

        int length = Math.Min(unsent.Length, ProbeLengthMax);
        _probe = ArrayPool<byte>.Shared.Rent(length);
        unsent[..length].CopyTo(_probe);

        if (_departure is null)
        {
            _departure = new SocketAsyncEventArgs();
            _departure.Completed += (_, _) => _loop.Ready(this, isArrival: false);
        }

        _departure.SetBuffer(_probe, 0, length);

        if (!_socket.SendAsync(_departure))
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

        if (orderly)
        {
            try
            {
                _socket.Shutdown(SocketShutdown.Send);
            }
            catch (SocketException)
            {
                // The peer was faster.
            }

            DiscardArrived(_loop.ReceiveBuffer);
        }

        // Operations under way complete with an error, and their events are ignored below.
        _socket.Dispose();
    }

    /// <summary>The receive of no bytes has completed. In a turn.</summary>
    public override void OnArrival()
    {
        _isArrivalAwaited = false;

        if (_isClosed)
        {
            _arrival.Dispose();
        }
        else if (Interest == Interest.Readable)
        {
            Connection.OnReadable();
            AwaitAgain();
        }
        else
        {
            _hasArrived = true;
        }
    }

    /// <summary>The send of the small copy has completed. In a turn.</summary>
    public override void OnDeparture()
    {
        ArrayPool<byte>.Shared.Return(_probe!);
        _probe = null;

        if (_isClosed)
        {
            _departure!.Dispose();
        }
        else if (_departure!.SocketError != SocketError.Success)
        {
            Connection.Close();
        }
        else
        {
            Connection.OnWritable(_departure.BytesTransferred);
            AwaitAgain();
        }
    }

    private void AwaitAgain()
    {
        if (!_isClosed && Interest == Interest.Readable && !_isArrivalAwaited)
        {
            AwaitReadable();
        }
    }
}
