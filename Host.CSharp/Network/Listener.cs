using System.Net;
using System.Net.Sockets;

namespace LsmFs.Host;

/// <summary>Opening the sockets a server listens on.</summary>
internal static class Listener
{
    /// <summary>One listening socket for each address.</summary>
    /// <exception cref="ListenException">An address cannot be listened on; none is left open.</exception>
    public static Socket[] Open(ServerOptions options)
    {
        var listeners = new List<Socket>();

        try
        {
            foreach (IPEndPoint endPoint in options.EndPoints)
            {
                listeners.Add(Open(endPoint, options.BacklogCount));
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
