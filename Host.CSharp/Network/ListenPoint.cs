using System.Net;
using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Where a server listens, and what holds for the connections that come in there.</summary>
public sealed record ListenPoint
{
    /// <summary>An address and port, where port 0 lets the system choose one; not there for a path.</summary>
    public IPEndPoint? EndPoint { get; init; }

    /// <summary>The path of a unix domain socket, in place of an address.</summary>
    public string? Path { get; init; }

    /// <summary>Who may connect to a unix domain socket.</summary>
    public UnixFileMode UnixMode { get; init; } = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>What its clients may speak.</summary>
    public BindingProtocol Protocol { get; init; } = BindingProtocol.Negotiating;

    /// <summary>What the address says of TLS.</summary>
    public ListenTls Tls { get; init; } = ListenTls.Default;

    /// <summary>The name of the address, or empty.</summary>
    public string Tag { get; init; } = "";
}
