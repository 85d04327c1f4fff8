using System.Net;
using System.Net.Sockets;

namespace LsmFs.Host;

/// <summary>
/// The file in which a program that starts the server on any free port (<c>-p 0</c>) finds the ports, a line for each listener:
/// <c>TCP INET: 40399</c>, <c>TCP INET6: 40401</c>. Its path is in the environment, as memcached has it.
/// </summary>
internal static class PortsFile
{
    /// <summary>The variable that names the file; memcached's, since its test programs set it.</summary>
    public const string VariableName = "MEMCACHED_PORT_FILENAME";

    /// <summary>Writes the file: whole or not at all, so that whoever waits for it can read it as soon as it is there.</summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The file must not be written.</exception>
    public static void Write(string path, IEnumerable<EndPoint> endPoints)
    {
        var unfinished = $"{path}.lck";
        File.WriteAllLines(unfinished, endPoints.OfType<IPEndPoint>().Select(LineOf));
        File.Move(unfinished, path, overwrite: true);
    }

    private static string LineOf(IPEndPoint endPoint) =>
        $"TCP {(endPoint.AddressFamily == AddressFamily.InterNetworkV6 ? "INET6" : "INET")}: {endPoint.Port}";
}
