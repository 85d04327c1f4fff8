using System.Net;
using System.Net.Sockets;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Where a connection came in and where it comes from, as it was when it was accepted. The descriptor tells it from all others that are open.</summary>
internal readonly record struct Origin(ListenPoint ListenPoint, long Descriptor, IPEndPoint? Peer, IPEndPoint? Local)
{
    /// <summary>Where it comes from, as `stats conns` has it.</summary>
    public string Address => Text(Peer);

    /// <summary>Where it came in.</summary>
    public string ListenAddress => ListenPoint.Path is { } path ? ConnectionListing.unixAddress(path) : Text(Local);

    /// <summary>The origin of an accepted socket.</summary>
    public static Origin Of(Socket socket, ListenPoint point)
    {
        IPEndPoint? peer = null;
        IPEndPoint? local = null;

        try
        {
            if (point.Path is null)
            {
                peer = socket.RemoteEndPoint as IPEndPoint;
                local = socket.LocalEndPoint as IPEndPoint;
            }
        }
        catch (SocketException)
        {
            // The peer has gone already.
        }

        return new Origin(point, socket.Handle, peer, local);
    }

    /// <summary>An address as `stats conns` has it.</summary>
    public static string Text(IPEndPoint? endPoint) =>
        endPoint is null ? ConnectionListing.noAddress : ConnectionListing.tcpAddress(endPoint.Address.ToString(), endPoint.Port);
}
