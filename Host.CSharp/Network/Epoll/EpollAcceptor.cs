using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>The thread that accepts connections and deals them out to the epoll loops.</summary>
internal sealed unsafe class EpollAcceptor : IAcceptor
{
    private const int AcceptCountMaxPerEvent = 64;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    private readonly Server _server;
    private readonly EpollLoop[] _loops;
    private readonly Listener[] _listeners;
    private readonly ILogger _logger;
    private readonly Epoll _epoll = new();
    private readonly WakeEvent _wake = new();
    private readonly Thread _thread;
    private volatile bool _isStopping;
    private bool _isStarvedOfDescriptors;
    private bool _isFull;
    private int _nextLoop;

    public EpollAcceptor(Server server, EpollLoop[] loops, Listener[] listeners, ILogger logger)
    {
        _server = server;
        _loops = loops;
        _listeners = listeners;
        _logger = logger;
        _epoll.Watch(_wake.Descriptor, Epoll.Readable, (ulong)_listeners.Length);

        for (int index = 0; index < _listeners.Length; index++)
        {
            _listeners[index].Socket.Blocking = false;
            _epoll.Watch((int)_listeners[index].Socket.Handle, Epoll.Readable, (ulong)index);
        }

        _thread = new Thread(Run) { IsBackground = true, Name = "acceptor" };
    }

    public void Start() => _thread.Start();

    public void OnRoom() => _wake.Signal();

    public void Stop()
    {
        _isStopping = true;
        _wake.Signal();
        _thread.Join();

        foreach (Listener listener in _listeners)
        {
            listener.Dispose();
        }

        _wake.Dispose();
        _epoll.Dispose();
    }

    private void Run()
    {
        while (!_isStopping)
        {
            try
            {
                AcceptWaiting();
            }
            catch (Exception exception)
            {
                // The connections that there are must not end because a new one cannot come.
                _logger.LogError("Accepting connections failed and goes on: {Reason}", exception.ToString().ReplaceLineEndings(" "));
                Thread.Sleep(Pause);
            }
        }
    }

    private void AcceptWaiting()
    {
        int count = _epoll.Wait(-1);

        for (int index = 0; index < count && !_isStopping; index++)
        {
            ulong listener = _epoll[index].Data;

            if (listener < (ulong)_listeners.Length)
            {
                AcceptFrom(_listeners[listener]);
            }
            else
            {
                _wake.Clear();

                if (_isFull && _server.HasRoom)
                {
                    GoOn();
                }
            }
        }
    }

    private void AcceptFrom(Listener listener)
    {
        int listening = (int)listener.Descriptor;
        byte* name = stackalloc byte[SocketName.LengthMax];

        for (int count = 0; count < AcceptCountMaxPerEvent && !_isStopping; count++)
        {
            // Nobody else takes places, so one that is free stays so.
            if (!_server.Options.RefusesAtLimit && !_server.HasRoom)
            {
                if (count == 0)
                {
                    // Somebody is there: behind others, only the next event would say so.
                    AwaitRoom();
                }

                return;
            }

            uint nameLength = SocketName.LengthMax;
            int descriptor = Libc.accept4(listening, name, &nameLength, Libc.NonBlocking | Libc.CloseOnExec);

            if (descriptor >= 0)
            {
                _isStarvedOfDescriptors = false;
                Deal(descriptor, listener, new ReadOnlySpan<byte>(name, SocketName.LengthMax));
                continue;
            }

            switch (Marshal.GetLastPInvokeError())
            {
                case Libc.TryAgain:
                    return;
                case Libc.TooManyOpenFiles or Libc.FileTableOverflow or Libc.NoBufferSpace or Libc.OutOfMemory:
                    PauseAccepting();
                    return;
            }

            // Anything else is the end of one connection that was not accepted yet, and of no other.
        }
    }

    /// <summary>Accepts nobody until a place is free; who comes waits in the system's queue.</summary>
    private void AwaitRoom()
    {
        _isFull = true;
        WatchListeners(0);
        _server.BeginListenPause();

        if (_server.HasRoom)
        {
            GoOn();
        }
    }

    private void GoOn()
    {
        _isFull = false;
        WatchListeners(Epoll.Readable);
        _server.EndListenPause();
    }

    private void WatchListeners(uint interest)
    {
        for (int index = 0; index < _listeners.Length; index++)
        {
            _epoll.Change((int)_listeners[index].Socket.Handle, interest, (ulong)index);
        }
    }

    private void PauseAccepting()
    {
        if (!_isStarvedOfDescriptors)
        {
            _isStarvedOfDescriptors = true;
            _logger.LogWarning("Cannot accept connections for want of file descriptors or memory; trying again until it works");
        }

        _server.CountAcceptPause(Pause);
        Thread.Sleep(Pause);
    }

    /// <summary>TLS is spoken by the base library's streams, on its sockets.</summary>
    private void BeginTls(int descriptor, ListenPoint point)
    {
        var handle = new SafeSocketHandle((nint)descriptor, ownsHandle: true);

        try
        {
            _server.Handshakes!.Begin(new Socket(handle), point);
        }
        catch (SocketException)
        {
            // The peer has gone already.
            handle.Dispose();
            _server.Release();
        }
    }

    private void Deal(int descriptor, Listener listener, ReadOnlySpan<byte> peerName)
    {
        ListenPoint point = listener.Point;

        if (_server.TryAdmit())
        {
            if (_server.IsTls(point))
            {
                BeginTls(descriptor, point);
                return;
            }

            var origin = new Origin(point, descriptor, null, null);

            if (point.Path is null)
            {
                int one = 1;
                Libc.setsockopt(descriptor, Libc.ProtocolTcp, Libc.TcpNoDelay, &one, sizeof(int));
                origin = origin with
                {
                    Peer = SocketName.Parse(peerName),
                    Local = listener.IsOnAllAddresses ? SocketName.Local(descriptor) : listener.EndPoint,
                };
            }

            _loops[_nextLoop].Accept(descriptor, origin);
            _nextLoop = (_nextLoop + 1) % _loops.Length;
            return;
        }

        _server.CountRejection();
        ReadOnlySpan<byte> refusal = Server.TooManyConnections;

        fixed (byte* start = refusal)
        {
            Libc.send(descriptor, start, refusal.Length, Libc.MessageDontWait | Libc.MessageNoSignal);
        }

        Libc.close(descriptor);
    }
}
