using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>How connections are carried.</summary>
public enum Transport
{
    /// <summary>Epoll where the system has it, sockets elsewhere.</summary>
    Auto,

    /// <summary>Own event loops on Linux epoll.</summary>
    Epoll,

    /// <summary>The portable sockets of the base library.</summary>
    Sockets,
}

/// <summary>What the memcached server needs to know. Checked by whoever reads the command line.</summary>
public sealed record ServerOptions
{
    /// <summary>Where to listen, each with a listener of its own, see <see cref="Server.EndPoints"/>.</summary>
    public required IReadOnlyList<ListenPoint> ListenPoints { get; init; }

    /// <summary>Event loops, each a thread of its own under epoll. At least 1.</summary>
    public required int ThreadCount { get; init; }

    /// <summary>Connections served at the same time; one more is told so and closed.</summary>
    public required int ConnectionCountMax { get; init; }

    /// <summary>Bytes of the longest value a client may store.</summary>
    public required int ValueLengthMax { get; init; }

    /// <summary>What <c>version</c> replies; ends in n.n.n, which clients check.</summary>
    public required string Version { get; init; }

    /// <summary>Connections the system may hold in the listener's queue.</summary>
    public int BacklogCount { get; init; } = 1024;

    /// <summary>What the operator forbade to all clients.</summary>
    public Restrictions Restrictions { get; init; }

    /// <summary>What carries the connections.</summary>
    public Transport Transport { get; init; } = Transport.Auto;
}
