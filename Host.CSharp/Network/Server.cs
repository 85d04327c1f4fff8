using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using LsmFs.Cli;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>The memcached server on one store: listeners, event loops and what they count.</summary>
public sealed class Server : IAsyncDisposable
{
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(3);

    private readonly EventLoop[] _loops;
    private readonly IAcceptor _acceptor;
    private readonly Lock _stopGate = new();
    private readonly long _startTimestamp = Stopwatch.GetTimestamp();
    private int _connectionCount;
    private bool _isCrawlerEnabled = true;
    private int _crawlCount;
    private int _crawlWorkCount;
    private long _crawlStarts;
    private long _rejectedConnections;
    private long _acceptPauses;
    private long _acceptPauseMicroseconds;
    private LoopCounters _countersAtReset = new();
    private long _rejectedAtReset;
    private readonly ITimer? _idleTimer;
    private int _listenPauseCount;
    private long _listenPauseStart;
    private long _acceptPausesAtReset;
    private long _acceptPauseMicrosecondsAtReset;
    private long _crawlStartsAtReset;
    private Task? _stopping;

    private Server(ServerOptions options, Store store, ILogger logger)
    {
        CollectionPauses.Start();
        int connectionCountMax = DescriptorLimit.Bound(options.ConnectionCountMax);

        if (connectionCountMax < options.ConnectionCountMax)
        {
            logger.LogWarning(
                "Serving at most {Possible} connections instead of {Wanted}: the limit on open files (ulimit -n) allows no more",
                connectionCountMax,
                options.ConnectionCountMax);
        }

        Options = options with { ConnectionCountMax = connectionCountMax };
        Store = store;
        Recency = new RecencyTable(store.Options.MemoryBudgetBytes, (uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        Transport = options.Transport switch
        {
            Transport.Auto => OperatingSystem.IsLinux() ? Transport.Epoll : Transport.Sockets,
            var chosen => chosen,
        };

        SocketLoop[] socketLoops = [];

        if (Transport == Transport.Sockets || options.ListenPoints.Any(IsTls))
        {
            SocketLoop.ConfigureRuntime(options.ThreadCount);
            socketLoops = new SocketLoop[options.ThreadCount];
        }

        Listener[] listeners = Listener.Open(options);
        Listeners = listeners;

        for (int index = 0; index < socketLoops.Length; index++)
        {
            socketLoops[index] = new SocketLoop(this, store, logger);
        }

        if (options.Tls is not null)
        {
            Handshakes = new TlsHandshakes(this, options.Tls, socketLoops, logger);
        }

        EndPoints = [.. listeners.Select(listener => listener.Socket.LocalEndPoint).OfType<IPEndPoint>()];

        if (Transport == Transport.Epoll)
        {
            var epollLoops = new EpollLoop[options.ThreadCount];

            for (int index = 0; index < epollLoops.Length; index++)
            {
                epollLoops[index] = new EpollLoop(this, store, logger, index);
                epollLoops[index].Start();
            }

            // Connections over TLS are the portable loops' in any case.
            _loops = [.. epollLoops, .. socketLoops];
            _acceptor = new EpollAcceptor(this, epollLoops, listeners, logger);
        }
        else
        {
            _loops = [.. socketLoops];
            _acceptor = new SocketAcceptor(this, socketLoops, listeners, logger);
        }

        Addresses = [.. listeners.Select(listener => listener.Point.Path ?? listener.Socket.LocalEndPoint!.ToString()!)];

        if (options.IdleTimeoutSeconds > 0)
        {
            // A loop without events sees no time pass.
            _idleTimer = options.Clock.CreateTimer(_ => NudgeAll(), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
        }
    }

    /// <summary>The TCP addresses on which the server listens, with the port the system chose when the options left it open.</summary>
    public IReadOnlyList<IPEndPoint> EndPoints { get; }

    /// <summary>Everything on which the server listens, as text: addresses with their ports, and paths of unix domain sockets.</summary>
    public IReadOnlyList<string> Addresses { get; }

    /// <summary>What carries the connections: never <see cref="Transport.Auto"/>.</summary>
    public Transport Transport { get; }

    /// <summary>Connections that are open now.</summary>
    public int ConnectionCount => Volatile.Read(ref _connectionCount);

    /// <summary>What the server was started with, the number of connections lowered to what the system allows.</summary>
    public ServerOptions Options { get; }

    /// <summary>What it listens on.</summary>
    internal IReadOnlyList<Listener> Listeners { get; }

    /// <summary>The connections of all loops by their descriptors. A loop puts one in when it takes it over, and out before its descriptor is closed.</summary>
    internal ConcurrentDictionary<long, Connection> Connections { get; } = new();

    /// <summary>The store that the server serves.</summary>
    internal Store Store { get; }

    /// <summary>When items were read last.</summary>
    internal RecencyTable Recency { get; }

    /// <summary>What a client is told that is one too many, as memcached does.</summary>
    internal static ReadOnlySpan<byte> TooManyConnections => "ERROR Too many open connections\r\n"u8;

    /// <summary>Binds the addresses and starts to serve.</summary>
    /// <exception cref="ListenException">An address cannot be listened on; the message is one line.</exception>
    public static Server Start(ServerOptions options, Store store, ILogger logger)
    {
        var server = new Server(options, store, logger);
        server._acceptor.Start();
        return server;
    }

    /// <summary>
    /// Stops to accept, finishes the commands that were received (pending commits and replies included) and closes the connections,
    /// after three seconds also those that do not take their replies. The store stays open. May be called more than once.
    /// </summary>
    public Task StopAsync()
    {
        lock (_stopGate)
        {
            return _stopping ??= Task.Run(Stop);
        }
    }

    /// <summary>Stops, see <see cref="StopAsync"/>.</summary>
    public async ValueTask DisposeAsync() => await StopAsync().ConfigureAwait(false);

    /// <summary>
    /// Reads the files again that the operator may change while the server runs: passwords, certificates and keys. One that cannot be used changes nothing; the log
    /// tells either. Any thread; may wait for the disk.
    /// </summary>
    public void Reload()
    {
        Options.Passwords?.Reload();
        Options.Tls?.Reload();
    }

    /// <summary>Everything that plain `stats` reports, in its order.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Statistics() => ServerStatistics.General(this);

    /// <summary>The handshakes under way; null: no listener speaks TLS.</summary>
    internal TlsHandshakes? Handshakes { get; }

    /// <summary>Whether TLS is spoken there.</summary>
    internal bool IsTls(ListenPoint point) => Options.Tls is not null && point.Path is null && point.Tls != ListenTls.Off;

    /// <summary>Takes one of the places for connections, if there is one.</summary>
    internal bool TryAdmit()
    {
        if (Interlocked.Increment(ref _connectionCount) <= Options.ConnectionCountMax)
        {
            return true;
        }

        Interlocked.Decrement(ref _connectionCount);
        return false;
    }

    /// <summary>Counts a connection that was one too many.</summary>
    internal void CountRejection() => Interlocked.Increment(ref _rejectedConnections);

    /// <summary>Whether a connection more would have a place.</summary>
    internal bool HasRoom => ConnectionCount < Options.ConnectionCountMax;

    /// <summary>
    /// A listener stops to accept until a place is free. <see cref="IAcceptor.OnRoom"/> is called for every place that becomes free from here on; one that
    /// became free before is seen by whoever looks again now.
    /// </summary>
    internal void BeginListenPause()
    {
        if (Interlocked.Increment(ref _listenPauseCount) == 1)
        {
            Interlocked.Exchange(ref _listenPauseStart, Stopwatch.GetTimestamp());
            Interlocked.Increment(ref _acceptPauses);
        }
    }

    /// <summary>A listener accepts again.</summary>
    internal void EndListenPause()
    {
        TimeSpan pause = Stopwatch.GetElapsedTime(Interlocked.Read(ref _listenPauseStart));

        if (Interlocked.Decrement(ref _listenPauseCount) == 0)
        {
            Interlocked.Add(ref _acceptPauseMicroseconds, (long)pause.TotalMicroseconds);
        }
    }

    /// <summary>Whether lists of keys may be begun: `lru_crawler enable` and `disable`.</summary>
    internal bool IsCrawlerEnabled
    {
        get => Volatile.Read(ref _isCrawlerEnabled);
        set => Volatile.Write(ref _isCrawlerEnabled, value);
    }

    /// <summary>Lists of keys that are under way.</summary>
    internal int CrawlCount => Volatile.Read(ref _crawlCount);

    /// <summary>Lists of `lru_crawler` that were begun since the last reset.</summary>
    internal long CrawlStarts => SinceReset(ref _crawlStarts, ref _crawlStartsAtReset);

    /// <summary>Takes one of the places for lists of keys, if there is one.</summary>
    internal bool TryBeginCrawl()
    {
        if (Interlocked.Increment(ref _crawlCount) <= CrawlerRequestModule.runningCountMax)
        {
            return true;
        }

        Interlocked.Decrement(ref _crawlCount);
        return false;
    }

    /// <summary>Counts a list of `lru_crawler`.</summary>
    internal void CountCrawl() => Interlocked.Increment(ref _crawlStarts);

    /// <summary>Gives the place of a list back.</summary>
    internal void EndCrawl() => Interlocked.Decrement(ref _crawlCount);

    /// <summary>A thread of the pool begins to work for a list, or reads certificates again. It is waited for before the loops are gone.</summary>
    internal void EnterCrawlWork() => Interlocked.Increment(ref _crawlWorkCount);

    /// <summary>The thread is done.</summary>
    internal void LeaveCrawlWork() => Interlocked.Decrement(ref _crawlWorkCount);

    /// <summary>Gives the place of a connection back.</summary>
    internal void Release()
    {
        Interlocked.Decrement(ref _connectionCount);

        if (Volatile.Read(ref _listenPauseCount) > 0)
        {
            _acceptor.OnRoom();
        }
    }

    /// <summary>Counts a pause of the acceptor for want of descriptors.</summary>
    internal void CountAcceptPause(TimeSpan pause)
    {
        Interlocked.Increment(ref _acceptPauses);
        Interlocked.Add(ref _acceptPauseMicroseconds, (long)pause.TotalMicroseconds);
    }

    /// <summary>Connections that were one too many, since the last reset.</summary>
    internal long RejectedConnections => SinceReset(ref _rejectedConnections, ref _rejectedAtReset);

    /// <summary>How often accepting had to pause for want of places or descriptors, since the last reset.</summary>
    internal long AcceptPauses => SinceReset(ref _acceptPauses, ref _acceptPausesAtReset);

    /// <summary>How long accepting has paused for want of places or descriptors since the last reset, without a pause that has not ended.</summary>
    internal long AcceptPauseMicroseconds => SinceReset(ref _acceptPauseMicroseconds, ref _acceptPauseMicrosecondsAtReset);

    /// <summary>Turns of all loops so far.</summary>
    internal long TurnCount => _loops.Sum(loop => loop.TurnCount);

    /// <summary>Whether new connections are taken.</summary>
    internal bool IsAccepting => Volatile.Read(ref _stopping) is null && Volatile.Read(ref _listenPauseCount) == 0;

    /// <summary>Since when the server has been running.</summary>
    internal TimeSpan Uptime => Stopwatch.GetElapsedTime(_startTimestamp);

    /// <summary>`stats reset`: counting starts again. The loops keep adding; only the starting point moves.</summary>
    internal void ResetStatistics()
    {
        Volatile.Write(ref _rejectedAtReset, Interlocked.Read(ref _rejectedConnections));
        Volatile.Write(ref _acceptPausesAtReset, Interlocked.Read(ref _acceptPauses));
        Volatile.Write(ref _acceptPauseMicrosecondsAtReset, Interlocked.Read(ref _acceptPauseMicroseconds));
        Volatile.Write(ref _crawlStartsAtReset, Interlocked.Read(ref _crawlStarts));
        Volatile.Write(ref _countersAtReset, SumCounters());
        CollectionPauses.Reset();
    }

    /// <summary>What the loops have counted since the last reset.</summary>
    internal LoopCounters CountersSinceReset()
    {
        LoopCounters counters = SumCounters();
        counters.Subtract(Volatile.Read(ref _countersAtReset));
        return counters;
    }

    private static long SinceReset(ref long count, ref long countAtReset) => Interlocked.Read(ref count) - Interlocked.Read(ref countAtReset);

    private LoopCounters SumCounters()
    {
        var sum = new LoopCounters();

        foreach (EventLoop loop in _loops)
        {
            sum.Add(loop.Counters);
        }

        return sum;
    }

    private void NudgeAll()
    {
        foreach (EventLoop loop in _loops)
        {
            loop.Nudge();
        }
    }

    private async Task Stop()
    {
        _acceptor.Stop();

        if (Handshakes is not null)
        {
            await Handshakes.Stop().ConfigureAwait(false);
        }

        _idleTimer?.Dispose();

        foreach (EventLoop loop in _loops)
        {
            loop.Stop(StopPatience);
        }

        Task stopped = Task.WhenAll(_loops.Select(loop => loop.Stopped));

        // Turns see the deadline; an idle loop has none of its own.
        while (await Task.WhenAny(stopped, Task.Delay(50)).ConfigureAwait(false) != stopped)
        {
            NudgeAll();
        }

        if (Handshakes is not null)
        {
            // The last replies of connections that were closed.
            await Handshakes.AwaitWork().ConfigureAwait(false);
        }

        // Lists whose connections were closed just now: they stop at their next step.
        while (Volatile.Read(ref _crawlWorkCount) > 0)
        {
            await Task.Delay(1).ConfigureAwait(false);
        }

        foreach (EventLoop loop in _loops)
        {
            loop.Dispose();
        }
    }
}
