using System.Net;
using System.Net.Sockets;

namespace LsmFs.Host;

/// <summary>A socket that a server listens on.</summary>
internal sealed class Listener : IDisposable
{
    private Listener(Socket socket, ListenPoint point)
    {
        Socket = socket;
        Point = point;
    }

    public Socket Socket { get; }

    /// <summary>Where it listens, as asked for.</summary>
    public ListenPoint Point { get; }

    /// <summary>Closes the socket.</summary>
    public void Dispose() => Socket.Dispose();

    /// <summary>One listener for each address.</summary>
    /// <exception cref="ListenException">An address cannot be listened on; none is left open.</exception>
    public static Listener[] Open(ServerOptions options)
    {
        var listeners = new List<Listener>();

        try
        {
            foreach (ListenPoint point in options.ListenPoints)
            {
                listeners.Add(new Listener(Open((IPEndPoint)point.EndPoint, options.BacklogCount), point));
            }

            return [.. listeners];
        }
        catch
        {
            listeners.ForEach(listener => listener.Dispose());
            throw;
        }
    }

    private static Socket Open(IPEndPoint endPoint, int backlogCount)
    {
        Socket? socket = null;

        try
        {
            socket = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);

            if (endPoint.AddressFamily == AddressFamily.InterNetworkV6)
            {
                // IPv4 gets a listener of its own where it is wanted.
                socket.DualMode = false;
            }

            socket.Bind(endPoint);
            socket.Listen(backlogCount);
            return socket;
        }
        catch (SocketException exception)
        {
            socket?.Dispose();
            throw new ListenException($"cannot listen on {endPoint}: {Reason(exception)}", exception);
        }
    }

    private static string Reason(SocketException exception) => exception.SocketErrorCode switch
    {
        SocketError.AddressAlreadyInUse => "address already in use; choose another port with -p",
        SocketError.AccessDenied => "permission denied; ports below 1024 need privileges, choose another with -p",
        SocketError.AddressNotAvailable => "this machine has no such address; choose another with -l",
        SocketError.AddressFamilyNotSupported => "the system does not support this kind of address; choose another with -l",
        _ => exception.Message,
    };
}
