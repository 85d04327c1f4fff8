using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>Accepts connections with the base library's sockets and deals them out to the loops.</summary>
internal sealed class SocketAcceptor(Server server, SocketLoop[] loops, Listener[] listeners, ILogger logger) : IAcceptor
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    private volatile bool _isStopping;
    private int _nextLoop;
    private Task[] _accepting = [];

    public void Start() => _accepting = Array.ConvertAll(listeners, listener => Task.Run(() => AcceptFrom(listener)));

    public void Stop()
    {
        _isStopping = true;

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
                Deal(await listener.Socket.AcceptAsync().ConfigureAwait(false), listener.Point);
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

    private void Deal(Socket socket, ListenPoint point)
    {
        if (server.TryAdmit())
        {
            int loop = (Interlocked.Increment(ref _nextLoop) & int.MaxValue) % loops.Length;
            loops[loop].Accept(socket, point);
            return;
        }

        using (socket)
        {
            socket.Blocking = false;
            socket.Send(Server.TooManyConnections, SocketFlags.None, out _);
        }
    }
}
