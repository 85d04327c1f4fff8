using System.Net.Sockets;
using System.Text;
using LsmFs.Cli;

namespace LsmFs.Host;

/// <summary><c>lsmfs stats</c>: what a running server says of itself.</summary>
internal static class StatsCommand
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(10);

    private static readonly string[] Requests = ["stats", "stats settings", "stats lsm"];

    /// <summary>
    /// Prints the figures of a server: aligned under headings on a terminal, as lines of name and value elsewhere. Throws <see cref="StoreException"/> when
    /// nothing listens there, or it does not answer as memcached does.
    /// </summary>
    public static int Run(StatsOptions options)
    {
        var server = options.Server;
        var groups = Requests.Zip(Ask(server)).Where(group => group.Second.Count > 0).ToArray();
        foreach (var (request, figures) in groups)
        {
            if (Console.IsOutputRedirected)
            {
                figures.ForEach(figure => Console.Out.WriteLine($"{figure.Name} {figure.Value}"));
                continue;
            }

            var width = figures.Max(figure => figure.Name.Length);
            Console.Out.WriteLine(request);
            figures.ForEach(figure => Console.Out.WriteLine($"  {figure.Name.PadRight(width)}  {figure.Value}"));
        }

        return ExitCode.Success;
    }

    private static List<List<(string Name, string Value)>> Ask(ListenAddress server)
    {
        try
        {
            using var client = new TcpClient();
            if (!client.ConnectAsync(server.Host, server.Port).Wait(Timeout))
            {
                throw new StoreException($"{server} does not answer; is it the address of a server?");
            }

            client.ReceiveTimeout = (int)Timeout.TotalMilliseconds;
            using var stream = client.GetStream();
            using var reader = new StreamReader(stream, Encoding.Latin1);
            return [.. Requests.Select(request => Ask(server, stream, reader, request))];
        }
        catch (AggregateException cause) when (cause.InnerException is SocketException refused)
        {
            throw new StoreException($"cannot connect to {server}: {refused.Message}; choose a running server with --server", refused);
        }
        catch (IOException cause)
        {
            throw new StoreException($"{server} does not answer: {cause.Message}", cause);
        }
    }

    /// <summary>The figures of one request; none when the server does not know it.</summary>
    private static List<(string Name, string Value)> Ask(ListenAddress server, NetworkStream stream, StreamReader reader, string request)
    {
        stream.Write(Encoding.ASCII.GetBytes(request + "\r\n"));
        var figures = new List<(string, string)>();
        while (true)
        {
            switch (reader.ReadLine()?.Split(' ', 3))
            {
                case ["STAT", var name, var value]:
                    figures.Add((name, value));
                    break;

                case ["STAT", var name]:
                    figures.Add((name, ""));
                    break;

                case ["END"] or ["ERROR", ..] or ["CLIENT_ERROR", ..]:
                    return figures;

                case null:
                    throw new StoreException($"{server} closed the connection");

                default:
                    throw new StoreException($"{server} does not speak memcached's protocol");
            }
        }
    }
}
