using System.Diagnostics;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using LsmFs.Cli;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>What handshakes are made with: certificates, which may be read again while the server runs, and the rules of each listener.</summary>
public sealed class TlsContext
{
    // TLS 1.3 has ciphers of its own, which memcached's ssl_ciphers does not speak of.
    private static readonly TlsCipherSuite[] SuitesOfTls13 =
        [TlsCipherSuite.TLS_AES_256_GCM_SHA384, TlsCipherSuite.TLS_CHACHA20_POLY1305_SHA256, TlsCipherSuite.TLS_AES_128_GCM_SHA256];

    private readonly ILogger _logger;
    private Loaded _loaded;

    /// <summary>Reads the files.</summary>
    /// <exception cref="UnusableFileException">One cannot be used, or they do not fit; the message is one line.</exception>
    public TlsContext(TlsOptions options, ILogger logger)
    {
        Options = options;
        _logger = logger;

        if (options.CipherText.IsSome && OperatingSystem.IsWindows())
        {
            throw new UnusableFileException("-o ssl_ciphers cannot be kept to on this system: leave it away, the system decides on ciphers");
        }

        _loaded = Load();
    }

    /// <summary>What the operator asked for.</summary>
    public TlsOptions Options { get; }

    /// <summary>How long a handshake may take.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Since when the certificates are in use.</summary>
    internal TimeSpan Age => Stopwatch.GetElapsedTime(Volatile.Read(ref _loaded).Timestamp);

    /// <summary>
    /// Reads the files again, for connections that come later. Files that cannot be used change nothing. Any thread; may wait for the disk.
    /// </summary>
    /// <exception cref="UnusableFileException">The certificates stay as they were; the message is one line.</exception>
    internal void Refresh()
    {
        Volatile.Write(ref _loaded, Load());
        _logger.LogInformation("Certificates were read again from {Path}", Options.ChainFile);
    }

    /// <summary><see cref="Refresh"/>, and a line of the log when nothing comes of it.</summary>
    internal void Reload()
    {
        try
        {
            Refresh();
        }
        catch (UnusableFileException exception)
        {
            _logger.LogWarning("The certificates stay as they were: {Reason}", exception.Message);
        }
    }

    /// <summary>The rules for connections that come in there.</summary>
    internal SslServerAuthenticationOptions For(ListenPoint point)
    {
        Loaded loaded = Volatile.Read(ref _loaded);

        return point.Tls switch
        {
            ListenTls.Basic => loaded.Basic,
            ListenTls.Mutual => loaded.Mutual,
            _ => loaded.Default,
        };
    }

    private Loaded Load()
    {
        TlsCertificates certificates = TlsCertificates.Load(Options);

        if (certificates.Server.NotAfter < DateTime.Now)
        {
            _logger.LogWarning("The certificate in {Path} has expired: clients that check it will refuse it", Options.ChainFile);
        }

        try
        {
            // Offline: nothing is fetched over the network, for whatever URL in a certificate.
            var context = SslStreamCertificateContext.Create(certificates.Server, certificates.Chain, offline: true, TrustOf(certificates));

            return new Loaded(
                Stopwatch.GetTimestamp(),
                Rules(certificates, context, Options.VerifyMode),
                Rules(certificates, context, TlsVerifyMode.None),
                Rules(certificates, context, TlsVerifyMode.Require));
        }
        catch (CryptographicException exception)
        {
            throw new UnusableFileException(
                $"error loading the certificate chain {Options.ChainFile}: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }

    /// <summary>Tells clients by whom their certificate should be signed.</summary>
    private static SslCertificateTrust? TrustOf(TlsCertificates certificates) =>
        certificates.Authorities.Count == 0 || !OperatingSystem.IsLinux()
            ? null
            : SslCertificateTrust.CreateForX509Collection(certificates.Authorities, sendTrustInHandshake: true);

    private SslServerAuthenticationOptions Rules(
        TlsCertificates certificates, SslStreamCertificateContext context, TlsVerifyMode mode)
    {
        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(certificates.Authorities);

        var rules = new SslServerAuthenticationOptions
        {
            ServerCertificateContext = context,
            EnabledSslProtocols = Options.MinVersion == 3 ? SslProtocols.Tls13 : SslProtocols.Tls12 | SslProtocols.Tls13,
            ClientCertificateRequired = mode != TlsVerifyMode.None,
            CertificateChainPolicy = policy,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            RemoteCertificateValidationCallback = (_, certificate, _, errors) => IsAccepted(mode, certificate, errors),
            AllowRenegotiation = false,
            // A resumed session would skip the look at the client's certificate.
            AllowTlsResume = Options.HasSessionCache && mode == TlsVerifyMode.None,
        };

        if (Options.CipherText.IsSome && !OperatingSystem.IsWindows())
        {
            rules.CipherSuitesPolicy = new CipherSuitesPolicy([.. Options.CipherSuites, .. SuitesOfTls13]);
        }

        return rules;
    }

    private static bool IsAccepted(TlsVerifyMode mode, X509Certificate? certificate, SslPolicyErrors errors) => mode switch
    {
        TlsVerifyMode.None => true,
        TlsVerifyMode.Request when certificate is null => true,
        _ => certificate is not null && errors == SslPolicyErrors.None,
    };

    private sealed record Loaded(
        long Timestamp,
        SslServerAuthenticationOptions Default,
        SslServerAuthenticationOptions Basic,
        SslServerAuthenticationOptions Mutual);
}
