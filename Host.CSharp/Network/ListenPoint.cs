using System.Net;
using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Where a server listens, and what holds for the connections that come in there.</summary>
public sealed record ListenPoint
{
    /// <summary>An address and port; port 0 lets the system choose one.</summary>
    public required EndPoint EndPoint { get; init; }

    /// <summary>What its clients may speak.</summary>
    public BindingProtocol Protocol { get; init; } = BindingProtocol.Negotiating;

    /// <summary>What the address says of TLS.</summary>
    public ListenTls Tls { get; init; } = ListenTls.Default;

    /// <summary>The name of the address, or empty.</summary>
    public string Tag { get; init; } = "";
}
