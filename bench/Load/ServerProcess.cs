using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace LsmFs.Load;

/// <summary>A server this program started on a free loopback port, and stops again whatever happens.</summary>
public sealed class ServerProcess : IDisposable
{
    const int StartSecondsMax = 30, StopSecondsMax = 20, KeptLineCount = 5;
    readonly Process process;
    readonly Queue<string> lastLines = new();

    ServerProcess(string name, Process process, IPEndPoint address)
    {
        this.process = process;
        Target = new Target(name, address, process.Id);
    }

    public Target Target { get; }

    /// <summary>From the moment it was started to its answer to a first get.</summary>
    public double FirstAnswerMilliseconds { get; private set; }

    /// <summary>The last lines it has printed so far.</summary>
    public IReadOnlyList<string> Lines
    {
        get
        {
            lock (lastLines)
            {
                return [.. lastLines];
            }
        }
    }

    /// <summary>Starts the command, in which {port} stands for the port it must listen on, and waits until it answers a get.</summary>
    public static ServerProcess Start(string name, string command, CancellationToken stop)
    {
        var address = new IPEndPoint(IPAddress.Loopback, FreePort());
        var words = SplitWords(command.Replace("{port}", $"{address.Port}", StringComparison.Ordinal));
        var start = new ProcessStartInfo(words[0], words[1..]) { RedirectStandardOutput = true, RedirectStandardError = true };
        Process process;
        var started = Stopwatch.StartNew();
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            throw new LoadException($"cannot start {name}: {exception.Message}");
        }
        var server = new ServerProcess(name, process, address);
        try
        {
            server.KeepOutput();
            server.WaitUntilReady(started, stop);
            return server;
        }
        catch
        {
            server.Dispose();
            throw;
        }
    }

    static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Splits at spaces outside double quotes.</summary>
    static List<string> SplitWords(string command)
    {
        List<string> words = [];
        var parts = command.Split('"');
        for (var i = 0; i < parts.Length; i++)
        {
            if (i % 2 == 1)
            {
                words.Add(parts[i]);
            }
            else
            {
                words.AddRange(parts[i].Split(' ', StringSplitOptions.RemoveEmptyEntries));
            }
        }
        return words.Count > 0 ? words : throw new LoadException("an empty command cannot be started");
    }

    // Unread pipes would block the server; its last words explain a failure.
    void KeepOutput()
    {
        void Keep(object sender, DataReceivedEventArgs line)
        {
            if (string.IsNullOrWhiteSpace(line.Data))
            {
                return;
            }
            lock (lastLines)
            {
                lastLines.Enqueue(line.Data.Trim());
                if (lastLines.Count > KeptLineCount)
                {
                    lastLines.Dequeue();
                }
            }
        }
        process.OutputDataReceived += Keep;
        process.ErrorDataReceived += Keep;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    void WaitUntilReady(Stopwatch started, CancellationToken stop)
    {
        while (!AnswersGet())
        {
            // Often, since how long it took is a figure of its own.
            if (process.WaitForExit(1))
            {
                process.WaitForExit();
                throw new LoadException($"{Target.Name} ended with exit code {process.ExitCode}: {LastWords()}");
            }
            if (stop.IsCancellationRequested || started.Elapsed.TotalSeconds > StartSecondsMax)
            {
                throw new LoadException($"{Target.Name} did not answer on {Target.Address} within {started.Elapsed.TotalSeconds:F0} s: {LastWords()}");
            }
        }
        FirstAnswerMilliseconds = started.Elapsed.TotalMilliseconds;
    }

    bool AnswersGet()
    {
        try
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 1000, SendTimeout = 1000 };
            socket.Connect(Target.Address);
            socket.Send("get lsmfs-load-is-it-there\r\n"u8);
            Span<byte> reply = stackalloc byte[5];
            var length = 0;
            for (var read = 1; length < reply.Length && read > 0; length += read)
            {
                read = socket.Receive(reply[length..]);
            }
            return reply.SequenceEqual("END\r\n"u8);
        }
        catch (SocketException)
        {
            return false;
        }
    }

    string LastWords()
    {
        lock (lastLines)
        {
            return lastLines.Count == 0 ? "it said nothing" : string.Join(" | ", lastLines);
        }
    }

    /// <summary>Stops it as an operator would, and by force when that takes too long.</summary>
    public void Dispose()
    {
        if (!process.HasExited)
        {
            Native.Terminate(process.Id);
            if (!process.WaitForExit(TimeSpan.FromSeconds(StopSecondsMax)))
            {
                process.Kill(entireProcessTree: true);
                process.WaitForExit();
            }
        }
        process.Dispose();
    }
}
