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

    /// <summary>Connections served at the same time.</summary>
    public required int ConnectionCountMax { get; init; }

    /// <summary>Whether one connection too many is told so and closed; otherwise nobody is let in until a place is free.</summary>
    public bool RefusesAtLimit { get; init; } = true;

    /// <summary>Seconds after which a connection is closed that has finished no command and moved no value; 0 never.</summary>
    public int IdleTimeoutSeconds { get; init; }

    /// <summary>Commands or keys of one connection, and half kilobytes of its replies, before others get their turn. At least 1.</summary>
    public int RequestCountMaxPerTurn { get; init; } = 2048;

    /// <summary>Bytes of the longest value a client may store.</summary>
    public required int ValueLengthMax { get; init; }

    /// <summary>What <c>version</c> replies; ends in n.n.n, which clients check.</summary>
    public required string Version { get; init; }

    /// <summary>Connections the system may hold in the listener's queue.</summary>
    public int BacklogCount { get; init; } = 1024;

    /// <summary>What the operator forbade to all clients.</summary>
    public Restrictions Restrictions { get; init; }

    /// <summary>Who may authenticate; null: nobody has to.</summary>
    public PasswordFile? Passwords { get; init; }

    /// <summary>What <c>shutdown</c> does: it asks for a stop and does not wait for it. Without it the command is refused.</summary>
    public Action? ShutdownRequested { get; init; }

    /// <summary>What TLS is spoken with; null: no listener speaks it.</summary>
    public TlsContext? Tls { get; init; }

    /// <summary>Where idle connections see the time.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>What `verbosity` changes.</summary>
    public LogVerbosity Verbosity { get; init; } = new(0);

    /// <summary>What carries the connections.</summary>
    public Transport Transport { get; init; } = Transport.Auto;
}
