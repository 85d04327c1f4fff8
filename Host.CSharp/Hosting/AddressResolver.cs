using System.Net;
using System.Net.Sockets;
using LsmFs.Cli;

namespace LsmFs.Host;

/// <summary>Turns the addresses of the command line into addresses to listen on.</summary>
internal static class AddressResolver
{
    /// <summary>
    /// Every endpoint that the addresses mean, each once, in order. A name may stand for several. May ask the name service.
    /// Throws <see cref="ListenException"/>.
    /// </summary>
    public static IReadOnlyList<IPEndPoint> Resolve(IEnumerable<ListenAddress> addresses) =>
        [.. addresses.SelectMany(address => Resolve(address.Host).Select(ip => new IPEndPoint(ip, address.Port))).Distinct()];

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
