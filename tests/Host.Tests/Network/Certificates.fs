/// Certificates made for a test, and clients that speak TLS.
module LsmFs.Host.Tests.Certificates

open System
open System.IO
open System.Net
open System.Net.Security
open System.Net.Sockets
open System.Security.Authentication
open System.Security.Cryptography
open System.Security.Cryptography.X509Certificates
open Expecto
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Cli
open LsmFs.Host
open LsmFs.Host.Tests.Served

/// An authority, made out to itself.
let authority (name: string) : X509Certificate2 =
    use key = ECDsa.Create ECCurve.NamedCurves.nistP256
    let request = CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256)
    request.CertificateExtensions.Add(X509BasicConstraintsExtension(true, false, 0, true))
    request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays -10.0, DateTimeOffset.UtcNow.AddDays 10.0)

/// A certificate by an authority with this key, good for these days from now.
let private issue
    (issuer: X509Certificate2)
    (name: string)
    (fromDays: float)
    (toDays: float)
    (request: CertificateRequest)
    =
    request.CertificateExtensions.Add(X509BasicConstraintsExtension(false, false, 0, true))
    let names = SubjectAlternativeNameBuilder()
    names.AddDnsName name
    request.CertificateExtensions.Add(names.Build())
    let now = DateTimeOffset.UtcNow

    let key =
        match issuer.GetECDsaPrivateKey() with
        | null -> invalidOp "an authority without a key"
        | key -> key

    let signs = X509SignatureGenerator.CreateForECDsa key

    request.Create(
        issuer.SubjectName,
        signs,
        now.AddDays fromDays,
        now.AddDays toDays,
        RandomNumberGenerator.GetBytes 8
    )

/// A certificate with an EC key.
let issued (issuer: X509Certificate2) (name: string) (fromDays: float) (toDays: float) : X509Certificate2 =
    use key = ECDsa.Create ECCurve.NamedCurves.nistP256

    use certificate =
        issue issuer name fromDays toDays (CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256))

    certificate.CopyWithPrivateKey key

/// A certificate with an RSA key.
let issuedRsa (issuer: X509Certificate2) (name: string) : X509Certificate2 =
    use key = RSA.Create 2048

    use certificate =
        issue
            issuer
            name
            -1.0
            1.0
            (CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1))

    certificate.CopyWithPrivateKey key

let private privateKey (certificate: X509Certificate2) : AsymmetricAlgorithm =
    match certificate.GetECDsaPrivateKey() with
    | null ->
        match certificate.GetRSAPrivateKey() with
        | null -> invalidOp "a certificate without a key"
        | key -> key
    | key -> key

let keyPem (certificate: X509Certificate2) : string = (privateKey certificate).ExportPkcs8PrivateKeyPem()
let keyDer (certificate: X509Certificate2) : byte[] = (privateKey certificate).ExportPkcs8PrivateKey()

/// The files of a server whose certificate an authority has signed, in a folder that disposing removes.
type Files() =
    let folder = Directory.CreateTempSubdirectory "lsmfs-tls-"
    let trusted = authority "trusted"
    let server = issued trusted "localhost" -1.0 1.0
    let at (name: string) = Path.Combine(folder.FullName, name)

    do
        File.WriteAllText(at "chain.pem", server.ExportCertificatePem() + "\n")
        File.WriteAllText(at "key.pem", keyPem server)
        File.WriteAllText(at "ca.pem", trusted.ExportCertificatePem() + "\n")

    member _.At(name: string) : string = at name
    member _.Authority = trusted
    member _.Server = server

    /// TLS with these files, clients' certificates not asked for.
    member _.Options: TlsOptions = {
        ChainFile = at "chain.pem"
        KeyFile = ValueSome(at "key.pem")
        KeyFormat = TlsKeyFormat.Pem
        VerifyMode = TlsVerifyMode.None
        AuthoritiesFile = ValueSome(at "ca.pem")
        CipherText = ValueNone
        CipherSuites = []
        WriteBufferBytes = 16384
        HasSessionCache = false
        MinVersion = 2
    }

    interface IDisposable with
        member _.Dispose() = folder.Delete true

/// A stream that sends each byte by itself.
type private Trickle(inner: Stream) =
    inherit Stream()
    override _.CanRead = true
    override _.CanWrite = true
    override _.CanSeek = false
    override _.Length = raise (NotSupportedException())

    override _.Position
        with get () = raise (NotSupportedException())
        and set _ = raise (NotSupportedException())

    override _.Flush() = inner.Flush()
    override _.Seek(_, _) = raise (NotSupportedException())
    override _.SetLength _ = raise (NotSupportedException())
    override _.Read(buffer: byte[], offset: int, count: int) = inner.Read(buffer, offset, count)

    override _.Write(buffer: byte[], offset: int, count: int) =
        for index in offset .. offset + count - 1 do
            inner.Write(buffer, index, 1)

/// What a client does otherwise than most.
type Habits = {
    /// What it shows when it is asked.
    Certificate: X509Certificate2 option
    Protocols: SslProtocols
    /// Sends each byte by itself.
    IsSlow: bool
}

let usual = { Certificate = None; Protocols = SslProtocols.None; IsSlow = false }

/// A client over TLS that trusts every server. Reading gives up after ten seconds without a byte.
type TlsClient(port: int, habits: Habits) =
    let client = new TcpClient()

    do
        client.NoDelay <- true
        client.ReceiveTimeout <- 30_000
        client.SendTimeout <- 30_000
        client.Connect(IPEndPoint(IPAddress.Loopback, port))

    let inner: Stream =
        if habits.IsSlow then
            new Trickle(client.GetStream())
        else
            client.GetStream()

    let stream = new SslStream(inner)

    do
        let certificates = X509CertificateCollection()
        habits.Certificate |> Option.iter (certificates.Add >> ignore)

        stream.AuthenticateAsClient(
            SslClientAuthenticationOptions(
                TargetHost = "localhost",
                ClientCertificates = certificates,
                EnabledSslProtocols = habits.Protocols,
                RemoteCertificateValidationCallback = (fun _ _ _ _ -> true)
            )
        )

    member _.Stream = stream
    member _.Socket = client.Client
    member _.Send(bytes: byte[]) = stream.Write(bytes, 0, bytes.Length)
    member this.Send(request: string) = this.Send(ascii request)

    /// Exactly this many bytes, or fewer when the server closes before.
    member _.Receive(count: int) : byte[] =
        let bytes: byte[] = Array.zeroCreate count
        Array.sub bytes 0 (stream.ReadAtLeast(Span<byte> bytes, count, false))

    /// Everything until the server ends the stream, as TLS ends one.
    member _.ReceiveToEnd() : byte[] =
        use all = new MemoryStream()
        stream.CopyTo all
        all.ToArray()

    /// Sends a request and expects exactly this reply.
    member this.Expect(request: string, reply: string) =
        this.Send request
        Expect.equal (text (this.Receive reply.Length)) reply $"reply to %s{request}"

    interface IDisposable with
        member _.Dispose() =
            stream.Dispose()
            client.Dispose()

/// The body on a server with TLS; `configure` changes what the listeners are asked for.
let withTls (configure: TlsOptions -> TlsOptions) (body: Files -> Served -> unit) (setting: Setting) =
    use files = new Files()

    let context = TlsContext(configure files.Options, NullLogger.Instance)
    use served = new Served({ setting with Tls = Some context })
    body files served

/// A plain listener, one that asks nobody, and one that requires certificates.
let allListeners: ListenPoint list =
    let point tls = ListenPoint(EndPoint = IPEndPoint(IPAddress.Loopback, 0), Tls = tls)
    [ point ListenTls.Off; point ListenTls.Basic; point ListenTls.Mutual ]
