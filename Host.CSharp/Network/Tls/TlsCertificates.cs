using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using LsmFs.Cli;

namespace LsmFs.Host;

/// <summary>The files of TLS, read and checked: the server's certificate with its key, those up to its root, and the authorities whose clients are let in.</summary>
internal sealed class TlsCertificates
{
    private TlsCertificates(X509Certificate2 server, X509Certificate2Collection chain, X509Certificate2Collection authorities)
    {
        Server = server;
        Chain = chain;
        Authorities = authorities;
    }

    /// <summary>The server's certificate, with its key.</summary>
    public X509Certificate2 Server { get; }

    /// <summary>Those behind it in its file.</summary>
    public X509Certificate2Collection Chain { get; }

    /// <summary>Empty: no client's certificate is good.</summary>
    public X509Certificate2Collection Authorities { get; }

    /// <summary>Reads the files.</summary>
    /// <exception cref="UnusableFileException">One cannot be used, or they do not fit; the message is one line.</exception>
    public static TlsCertificates Load(TlsOptions options)
    {
        X509Certificate2Collection chain = ReadCertificates(options.ChainFile, "certificate chain");
        X509Certificate2 server = WithKey(chain[0], options);
        chain.RemoveAt(0);

        X509Certificate2Collection authorities = options.AuthoritiesFile.IsSome
            ? ReadCertificates(options.AuthoritiesFile.Value, "CA certificate")
            : [];

        return new TlsCertificates(server, chain, authorities);
    }

    private static X509Certificate2Collection ReadCertificates(string path, string what)
    {
        var certificates = new X509Certificate2Collection();

        try
        {
            certificates.ImportFromPem(ReadText(path, what));
        }
        catch (CryptographicException exception)
        {
            throw Unusable(what, path, "a certificate in it cannot be read", exception);
        }

        return certificates.Count > 0 ? certificates : throw Unusable(what, path, "there is no certificate in PEM format in it");
    }

    private static X509Certificate2 WithKey(X509Certificate2 certificate, TlsOptions options)
    {
        string path = options.KeyFile.IsSome ? options.KeyFile.Value : options.ChainFile;

        using AsymmetricAlgorithm key = options.KeyFormat == TlsKeyFormat.Der ? ReadDerKey(path) : ReadPemKey(path);

        try
        {
            X509Certificate2 keyed = key switch
            {
                RSA rsa => certificate.CopyWithPrivateKey(rsa),
                ECDsa ecdsa => certificate.CopyWithPrivateKey(ecdsa),
                _ => throw new InvalidOperationException("a key of an unknown kind"),
            };

            if (!OperatingSystem.IsWindows())
            {
                return keyed;
            }

            // Windows speaks TLS only with keys that it has stored.
            using (keyed)
            {
                return X509CertificateLoader.LoadPkcs12(keyed.Export(X509ContentType.Pkcs12), null);
            }
        }
        catch (Exception exception) when (exception is ArgumentException or CryptographicException)
        {
            throw Unusable("key", path, $"it is not the key of the certificate in {options.ChainFile}", exception);
        }
    }

    private static AsymmetricAlgorithm ReadPemKey(string path)
    {
        string text = ReadText(path, "key");

        if (text.Contains("ENCRYPTED", StringComparison.Ordinal))
        {
            throw Unusable("key", path, "it is encrypted, and nobody is asked for a passphrase; openssl pkey -in ... -out ... decrypts it");
        }

        return TryImport(rsa => rsa.ImportFromPem(text), ecdsa => ecdsa.ImportFromPem(text))
            ?? throw Unusable("key", path, "there is no private RSA or EC key in PEM format in it");
    }

    private static AsymmetricAlgorithm ReadDerKey(string path)
    {
        byte[] bytes = Read(path, "key", File.ReadAllBytes);

        return TryImport(rsa => rsa.ImportPkcs8PrivateKey(bytes, out _), ecdsa => ecdsa.ImportPkcs8PrivateKey(bytes, out _))
            ?? TryImport(rsa => rsa.ImportRSAPrivateKey(bytes, out _), ecdsa => ecdsa.ImportECPrivateKey(bytes, out _))
            ?? throw Unusable("key", path, "there is no private RSA or EC key in DER format in it");
    }

    /// <summary>The key as the first kind that it can be.</summary>
    private static AsymmetricAlgorithm? TryImport(Action<RSA> importRsa, Action<ECDsa> importEcdsa)
    {
        return Try(RSA.Create(), importRsa) ?? (AsymmetricAlgorithm?)Try(ECDsa.Create(), importEcdsa);

        static T? Try<T>(T key, Action<T> import) where T : AsymmetricAlgorithm
        {
            try
            {
                import(key);
                return key;
            }
            catch (Exception exception) when (exception is ArgumentException or CryptographicException)
            {
                key.Dispose();
                return null;
            }
        }
    }

    private static string ReadText(string path, string what) => Read(path, what, File.ReadAllText);

    private static T Read<T>(string path, string what, Func<string, T> read)
    {
        try
        {
            return read(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Unusable(what, path, exception.Message, exception);
        }
    }

    private static UnusableFileException Unusable(string what, string path, string reason, Exception? cause = null) =>
        new($"error loading the {what} {path}: {reason.ReplaceLineEndings(" ")}", cause!);
}
