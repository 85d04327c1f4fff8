using System.Globalization;
using System.Net.Sockets;

namespace LsmFs.Load;

/// <summary>What a server says of itself: the answer to one `stats` line, by name. Empty when it does not know the line.</summary>
public sealed class StatisticsClient
{
    const int TimeoutMilliseconds = 15_000;
    readonly Dictionary<string, string> values = [];

    StatisticsClient()
    {
    }

    /// <summary>Asks for the figures of the engine, which memcached does not have.</summary>
    public static StatisticsClient AskEngine(Target target) => Ask(target, "stats lsm");

    public static StatisticsClient Ask(Target target, string line)
    {
        var answer = new StatisticsClient();
        try
        {
            using var client = new TcpClient { ReceiveTimeout = TimeoutMilliseconds, SendTimeout = TimeoutMilliseconds };
            client.Connect(target.Address);
            var stream = client.GetStream();
            stream.Write(System.Text.Encoding.ASCII.GetBytes($"{line}\r\n"));
            using var reader = new StreamReader(stream);
            while (reader.ReadLine()?.Split(' ', 3) is ["STAT", var name, var value])
            {
                answer.values[name] = value;
            }
            return answer;
        }
        catch (Exception exception) when (exception is SocketException or IOException)
        {
            throw new LoadException($"{target.Name} did not answer \"{line}\": {exception.Message}");
        }
    }

    /// <summary>A figure; null when the server has none of this name.</summary>
    public double? this[string name] =>
        values.TryGetValue(name, out var text) && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) ? value : null;
}
