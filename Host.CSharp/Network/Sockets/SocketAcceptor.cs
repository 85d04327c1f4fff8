using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>Accepts connections with the base library's sockets and deals them out to the loops.</summary>
internal sealed class SocketAcceptor(Server server, SocketLoop[] loops, Listener[] listeners, ILogger logger) : IAcceptor
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    private readonly SemaphoreSlim _room = new(0);
    private volatile bool _isStopping;
    private int _nextLoop;
    private Task[] _accepting = [];

    public void Start() => _accepting = Array.ConvertAll(listeners, listener => Task.Run(() => AcceptFrom(listener)));

    public void OnRoom() => _room.Release();

    public void Stop()
    {
        _isStopping = true;
        // Whoever waits for room looks at the line above.
        _room.Release(listeners.Length);

        foreach (Listener listener in listeners)
        {
            listener.Dispose();
        }

        Task.WaitAll(_accepting);
    }

    private async Task AcceptFrom(Listener listener)
    {
        bool isStarvedOfDescriptors = false;

        while (!_isStopping)
        {
            try
            {
                await Deal(await listener.Socket.AcceptAsync().ConfigureAwait(false), listener.Point).ConfigureAwait(false);
                isStarvedOfDescriptors = false;
            }
            catch (SocketException exception) when (!_isStopping && IsShortage(exception.SocketErrorCode))
            {
                if (!isStarvedOfDescriptors)
                {
                    isStarvedOfDescriptors = true;
                    logger.LogWarning("Cannot accept connections for want of file descriptors or memory; trying again until it works");
                }

                server.CountAcceptPause(Pause);
                await Task.Delay(Pause).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                // The end of the listener, which the loop's condition sees, or of one connection. Never again at once: it might persist.
                await Task.Delay(1).ConfigureAwait(false);
            }
        }
    }

    private static bool IsShortage(SocketError error) =>
        error is SocketError.TooManyOpenSockets or SocketError.NoBufferSpaceAvailable;

    private async Task Deal(Socket socket, ListenPoint point)
    {
        if (server.TryAdmit() || (!server.Options.RefusesAtLimit && await AwaitRoom().ConfigureAwait(false)))
        {
            if (server.IsTls(point))
            {
                server.Handshakes!.Begin(socket, point);
                return;
            }

            int loop = (Interlocked.Increment(ref _nextLoop) & int.MaxValue) % loops.Length;
            loops[loop].Accept(socket, point);
            return;
        }

        using (socket)
        {
            if (!_isStopping)
            {
                server.CountRejection();
                socket.Blocking = false;
                socket.Send(Server.TooManyConnections, SocketFlags.None, out _);
            }
        }
    }

    /// <summary>Waits for a place and takes it; false when the server stops before.</summary>
    private async Task<bool> AwaitRoom()
    {
        server.BeginListenPause();

        try
        {
            while (!server.TryAdmit())
            {
                if (_isStopping)
                {
                    return false;
                }

                await _room.WaitAsync().ConfigureAwait(false);
            }

            return true;
        }
        finally
        {
            server.EndListenPause();
        }
    }
}
