using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Security;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// An event loop without a thread of its own: the thread that brings an event to an idle loop runs its turns until nothing is left,
/// and threads that come meanwhile leave their events and go. Fast when socket completions run inline, see
/// <see cref="ConfigureRuntime"/>, correct in any case.
/// </summary>
internal sealed class SocketLoop(Server server, Store store, ILogger logger) : EventLoop(server, store, logger)
{
    private const int EventCountMaxPerTurn = 512;

    private readonly ConcurrentQueue<(LoopChannel Channel, bool IsArrival)> _events = new();
    private int _requestCount;

    /// <summary>
    /// Has the runtime complete socket operations on as many threads as there are loops, without a hop to the thread pool, unless the
    /// environment says otherwise. The runtime reads this once, before its first socket.
    /// </summary>
    public static void ConfigureRuntime(int threadCount)
    {
        SetUnlessSet("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1");
        SetUnlessSet("DOTNET_SYSTEM_NET_SOCKETS_THREAD_COUNT", threadCount.ToString(CultureInfo.InvariantCulture));
    }

    /// <summary>Takes over an accepted socket. Any thread.</summary>
    public void Accept(Socket socket, ListenPoint point) => Post(() => Add(new SocketChannel(this, socket, point).Connection));

    /// <summary>Takes over a connection whose TLS handshake is done. Any thread.</summary>
    public void Accept(SslStream stream, Socket socket, ListenPoint point, TlsHandshakes handshakes) =>
        Post(() => Add(new TlsChannel(this, stream, socket, point, handshakes).Connection));

    /// <summary>An operation of a channel has completed. Any thread, also the one in the turn.</summary>
    public void Ready(LoopChannel channel, bool isArrival)
    {
        _events.Enqueue((channel, isArrival));

        if (Interlocked.Increment(ref _requestCount) == 1)
        {
            Run();
        }
    }

    protected override void Wake()
    {
        // Whoever completes a commit must not be kept: the turns run elsewhere.
        if (Interlocked.Increment(ref _requestCount) == 1)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static loop => loop.Run(), this, preferLocal: false);
        }
    }

    private static void SetUnlessSet(string name, string value)
    {
        if (Environment.GetEnvironmentVariable(name) is null)
        {
            Environment.SetEnvironmentVariable(name, value);
        }
    }

    private void Run()
    {
        do
        {
            Interlocked.Exchange(ref _requestCount, 1);

            try
            {
                Turn();
            }
            catch (Exception exception)
            {
                // Connections guard themselves, so this is the loop's own failure: staying up slowly beats taking the process down.
                Logger.LogError("An event loop failed and goes on: {Reason}", exception.ToString().ReplaceLineEndings(" "));
                Thread.Sleep(10);
            }
        }
        while (HasWorkLeft || !_events.IsEmpty || Interlocked.CompareExchange(ref _requestCount, 0, 1) != 1);
    }

    private void Turn()
    {
        BeginTurn();

        for (int count = 0; count < EventCountMaxPerTurn && _events.TryDequeue(out var next); count++)
        {
            if (next.IsArrival)
            {
                next.Channel.OnArrival();
            }
            else
            {
                next.Channel.OnDeparture();
            }
        }

        EndTurn();
    }
}
