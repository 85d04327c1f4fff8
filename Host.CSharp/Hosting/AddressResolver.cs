using System.Net;
using System.Net.Sockets;
using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Turns the addresses of the command line into addresses to listen on.</summary>
internal static class AddressResolver
{
    /// <summary>
    /// Every endpoint that the addresses mean, each once, as the first that means it says. A name may stand for several. May ask the name service.
    /// Throws <see cref="ListenException"/>.
    /// </summary>
    public static IReadOnlyList<ListenPoint> Resolve(IEnumerable<ListenAddress> addresses, BindingProtocol protocol) =>
        [.. addresses
            .SelectMany(address => Resolve(address.Host).Select(ip => new ListenPoint
            {
                EndPoint = new IPEndPoint(ip, address.Port),
                Protocol = address.Protocol.IsSome ? address.Protocol.Value : protocol,
                Tls = address.Tls,
                Tag = address.Tag,
            }))
            .DistinctBy(point => point.EndPoint)];

    /// <summary>The one place to listen on that a unix domain socket is.</summary>
    public static IReadOnlyList<ListenPoint> OfSocket(UnixSocketOptions socket, BindingProtocol protocol) =>
        [new ListenPoint { Path = socket.Path, UnixMode = socket.Mode, Protocol = protocol }];

    private static IPAddress[] Resolve(string host)
    {
        if (host == "*")
        {
            return Socket.OSSupportsIPv6 ? [IPAddress.Any, IPAddress.IPv6Any] : [IPAddress.Any];
        }

        if (IPAddress.TryParse(host, out var address))
        {
            return [address];
        }

        try
        {
            return Dns.GetHostAddresses(host);
        }
        catch (SocketException cause)
        {
            throw new ListenException($"cannot listen on {host}: {cause.Message}", cause);
        }
    }
}
