using System.Net;
using System.Net.Sockets;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>A socket that a server listens on.</summary>
internal sealed class Listener : IDisposable
{
    private readonly UnixSocket.Identity _file;

    private Listener(ListenPoint point, int backlogCount)
    {
        Point = point;
        Socket = point.Path is null
            ? Open(point.EndPoint ?? throw new ArgumentException("a listener needs an address or a path", nameof(point)), backlogCount)
            : UnixSocket.Open(point.Path, point.UnixMode, backlogCount, out _file);
        Descriptor = Socket.Handle;
        EndPoint = point.Path is null ? (IPEndPoint)Socket.LocalEndPoint! : null;
    }

    public Socket Socket { get; }

    /// <summary>The socket's, also when it is closed.</summary>
    public long Descriptor { get; }

    /// <summary>The address of TCP that it is bound to.</summary>
    public IPEndPoint? EndPoint { get; }

    /// <summary>Whether its connections may have come in on any address of the machine.</summary>
    public bool IsOnAllAddresses => EndPoint is not null && (EndPoint.Address.Equals(IPAddress.Any) || EndPoint.Address.Equals(IPAddress.IPv6Any));

    /// <summary>What it listens on, as `stats conns` has it.</summary>
    public string Address => EndPoint is null ? ConnectionListing.unixAddress(Point.Path!) : Origin.Text(EndPoint);

    /// <summary>Where it listens, as asked for.</summary>
    public ListenPoint Point { get; }

    /// <summary>Closes the socket, and removes its file if it has one.</summary>
    public void Dispose()
    {
        Socket.Dispose();

        if (Point.Path is not null)
        {
            UnixSocket.Remove(Point.Path, _file);
        }
    }

    /// <summary>One listener for each address.</summary>
    /// <exception cref="ListenException">An address cannot be listened on; none is left open.</exception>
    public static Listener[] Open(ServerOptions options)
    {
        var listeners = new List<Listener>();

        try
        {
            foreach (ListenPoint point in options.ListenPoints)
            {
                listeners.Add(new Listener(point, options.BacklogCount));
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

            // Connections take it over: a peer that is gone without a word is noticed, if only after hours.
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
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
