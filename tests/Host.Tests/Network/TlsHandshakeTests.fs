/// Who is let in over TLS, handshakes that come slowly, wrongly or not at all, and certificates that change.
module LsmFs.Host.Tests.TlsHandshakeTests

open System
open System.IO
open System.Net.Sockets
open System.Security.Authentication
open System.Security.Cryptography.X509Certificates
open Expecto
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Cli
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Certificates
open LsmFs.Host.Tests.Served

/// Whether a client with this certificate is served. In TLS 1.3 it learns of a refusal after its own part of the handshake only.
let private isServed (port: int) (certificate: X509Certificate2 option) (protocols: SslProtocols) : bool =
    try
        use client = new TlsClient(port, { usual with Certificate = certificate; Protocols = protocols })
        client.Send "version\r\n"
        client.Receive(15).Length = 15
    with
    | :? IOException
    | :? AuthenticationException -> false

let private certificates (files: Files) = [
    "none", None
    "good", Some(issued files.Authority "client" -1.0 1.0)
    "expired", Some(issued files.Authority "client" -2.0 -1.0)
    "not yet valid", Some(issued files.Authority "client" 1.0 2.0)
    "by another authority", Some(issued (authority "another") "client" -1.0 1.0)
    "by another authority of the same name", Some(issued (authority "trusted") "client" -1.0 1.0)
    "by itself", Some(authority "client")
]

let private lets (accepted: string list) (port: int) (files: Files) =
    for name, certificate in certificates files do
        for protocols in [ SslProtocols.Tls12; SslProtocols.Tls13 ] do
            Expect.equal (isServed port certificate protocols) (List.contains name accepted) $"{name}, {protocols}"

let private everybody (files: Files) = certificates files |> List.map fst

let private verifies (mode: TlsVerifyMode) (accepted: Files -> string list) =
    withTls (fun tls -> { tls with VerifyMode = mode }) (fun files served ->
        lets (accepted files) served.Port files
        served.AwaitConnectionCount 0)

let private byListeners (files: Files) (served: Served) =
    let ports = served.Server.EndPoints |> Seq.map _.Port |> Array.ofSeq
    lets (everybody files) ports[1] files
    lets [ "good" ] ports[2] files

let private olderVersion (_: Files) (served: Served) =
    Expect.isFalse (isServed served.Port None SslProtocols.Tls12) "TLS 1.2"
    Expect.isTrue (isServed served.Port None SslProtocols.Tls13) "TLS 1.3"

let private chosenCiphers (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, { usual with Protocols = SslProtocols.Tls12 })

    Expect.equal
        client.Stream.NegotiatedCipherSuite
        Net.Security.TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        "the only one of TLS 1.2"

    Expect.isTrue (isServed served.Port None SslProtocols.Tls13) "TLS 1.3 has its own"

/// Half a handshake, and then nothing: others are served, and its place is given back after a while.
let private hanging (setting: Setting) =
    use files = new Files()

    let context =
        TlsContext(files.Options, NullLogger.Instance, HandshakeTimeout = TimeSpan.FromSeconds 2.0)

    use served = new Served({ setting with Tls = Some context })
    let hanging = [ for _ in 1..50 -> new Client(served.Port) ]

    for index, client in List.indexed hanging do
        // Nothing, a part of a record's head, and a part of a record.
        client.Send(Array.sub [| 0x16uy; 3uy; 1uy; 2uy; 0uy; 1uy |] 0 (index % 7 |> min 6))

    use client = new TlsClient(served.Port, usual)
    client.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")

    for client in hanging do
        Expect.isEmpty (client.ReceiveToEnd()) "closed without a word"
        (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 1
    client.Expect("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")

    Expect.contains
        (served.Server.Statistics() |> Seq.map (fun pair -> pair.Key, pair.Value))
        ("ssl_handshake_errors", "50")
        "counted"

let private slow (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, { usual with IsSlow = true })
    client.Expect("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n")

let private garbage (_: Files) (served: Served) =
    use good = new TlsClient(served.Port, usual)

    for bytes in
        [
            ascii "get a\r\nget b\r\n"
            Array.create 5000 0xFFuy
            Array.zeroCreate 100
            ascii "GET / HTTP/1.1\r\n\r\n"
        ] do
        use client = new Client(served.Port)
        client.Send bytes

        let answer =
            try
                client.ReceiveToEnd()
            with :? SocketException -> [||]

        // At most an alert.
        Expect.isLessThan answer.Length 20 "no answer that a stranger could use"

    served.AwaitConnectionCount 1
    good.Expect("get a\r\n", "END\r\n")

    Expect.contains
        (served.Server.Statistics() |> Seq.map (fun pair -> pair.Key, pair.Value))
        ("ssl_proto_errors", "4")
        "counted"

/// Peers that go away in the middle of a handshake.
let private gone (_: Files) (served: Served) =
    for linger in [ false; true ] do
        for length in [ 0; 1; 5; 6 ] do
            use client = new Client(served.Port)
            client.Send(Array.sub [| 0x16uy; 3uy; 1uy; 2uy; 0uy; 1uy |] 0 length)

            if linger then
                client.Socket.LingerState <- LingerOption(true, 0)

    served.AwaitConnectionCount 0

/// A handshake that is under way does not keep a stop.
let private stopsInBetween (_: Files) (served: Served) =
    use client = new Client(served.Port)
    client.Send [| 0x16uy; 3uy |]
    served.AwaitConnectionCount 1
    Expect.isTrue (served.Server.StopAsync().Wait 8_000) "stopped before the handshake's own limit"
    Expect.equal served.Server.ConnectionCount 0 "its place is given back"

let private subject (port: int) : string =
    use client = new TlsClient(port, usual)

    match client.Stream.RemoteCertificate with
    | null -> failtest "a server without a certificate"
    | certificate -> certificate.Subject

let private refreshed (files: Files) (served: Served) =
    use client = new TlsClient(served.Port, usual)
    Expect.equal (subject served.Port) "CN=localhost" "at first"
    let second = issuedRsa files.Authority "second"
    File.WriteAllText(files.At "chain.pem", second.ExportCertificatePem())
    let refusal = "Error loading the key "
    client.Send "refresh_certs\r\nget a\r\n"
    Expect.equal (text (client.Receive refusal.Length)) refusal "a key that does not fit"
    let mutable rest = ""

    while not (rest.EndsWith "END\r\n") do
        rest <- rest + text (client.Receive 1)

    Expect.equal (subject served.Port) "CN=localhost" "as it was"
    File.WriteAllText(files.At "key.pem", keyPem second)
    client.Expect("refresh_certs\r\nget a\r\n", "OK\r\nEND\r\n")
    Expect.equal (subject served.Port) "CN=second" "the new one"
    let third = issued files.Authority "third" -1.0 1.0
    File.WriteAllText(files.At "chain.pem", third.ExportCertificatePem())
    File.WriteAllText(files.At "key.pem", keyPem third)
    served.Server.Reload()
    Expect.equal (subject served.Port) "CN=third" "as on a signal"
    File.Delete(files.At "chain.pem")
    served.Server.Reload()
    Expect.equal (subject served.Port) "CN=third" "as it was"
    File.WriteAllText(files.At "chain.pem", third.ExportCertificatePem())
    client.Expect("refresh_certs noreply\r\nget a\r\n", "END\r\n")

let private withoutTls (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    client.Expect(
        "refresh_certs\r\nrefresh_certs noreply\r\nget a\r\n",
        "Error TLS not enabled\r\nError TLS not enabled\r\nEND\r\n"
    )

let private refuses (change: Files -> TlsOptions -> TlsOptions) (expected: string) =
    use files = new Files()

    try
        TlsContext(change files files.Options, NullLogger.Instance) |> ignore
        failtest $"should be refused: {expected}"
    with :? UnusableFileException as refusal ->
        Expect.stringContains refusal.Message expected "the reason"
        Expect.isFalse (refusal.Message.Contains '\n') "one line"

let private write (files: Files) (name: string) (content: string) =
    File.WriteAllText(files.At name, content)
    files.At name

let private unusable () =
    refuses (fun files tls -> { tls with ChainFile = files.At "none" }) "error loading the certificate chain"

    refuses
        (fun files tls -> { tls with ChainFile = write files "x" "junk" })
        "there is no certificate in PEM format in it"

    refuses
        (fun files tls ->
            let pem = files.Server.ExportCertificatePem()
            { tls with ChainFile = write files "x" (pem.Remove(100, 40)) })
        "error loading the certificate chain"

    refuses (fun files tls -> { tls with KeyFile = ValueSome(files.At "none") }) "error loading the key"

    refuses
        (fun files tls -> { tls with KeyFile = ValueSome(write files "x" "junk") })
        "there is no private RSA or EC key"

    refuses (fun _ tls -> { tls with KeyFile = ValueNone }) "there is no private RSA or EC key"
    refuses (fun _ tls -> { tls with KeyFormat = TlsKeyFormat.Der }) "in DER format"

    for other in [ (fun authority -> issued authority "x" -1.0 1.0); (fun authority -> issuedRsa authority "x") ] do
        refuses
            (fun files tls -> {
                tls with
                    KeyFile = ValueSome(write files "x" (keyPem (other files.Authority)))
            })
            "it is not the key of the certificate"

    refuses
        (fun files tls -> { tls with AuthoritiesFile = ValueSome(write files "x" "") })
        "error loading the CA certificate"

/// Keys in every format that is taken.
let private keyFormats (setting: Setting) =
    for certificate in [ (fun authority -> issued authority "x" -1.0 1.0); (fun authority -> issuedRsa authority "x") ] do
        for format in [ "apart"; "together"; "der" ] do
            setting
            |> fun setting ->
                use files = new Files()
                let certificate = certificate files.Authority
                let chain = certificate.ExportCertificatePem() + "\n" + files.Authority.ExportCertificatePem() + "\n"

                let options =
                    match format with
                    | "apart" -> {
                        files.Options with
                            ChainFile = write files "chain.pem" chain
                            KeyFile = ValueSome(write files "key.pem" (keyPem certificate))
                      }
                    | "together" -> {
                        files.Options with
                            ChainFile = write files "chain.pem" (chain + keyPem certificate)
                            KeyFile = ValueNone
                      }
                    | _ ->
                        File.WriteAllBytes(files.At "key.der", keyDer certificate)

                        {
                            files.Options with
                                ChainFile = write files "chain.pem" chain
                                KeyFile = ValueSome(files.At "key.der")
                                KeyFormat = TlsKeyFormat.Der
                        }

                use served = new Served({ setting with Tls = Some(TlsContext(options, NullLogger.Instance)) })

                Expect.equal (subject served.Port) "CN=x" format

[<Tests>]
let tests =
    testList "Tls handshakes" [
        onTransports "clients that are not asked" (verifies TlsVerifyMode.None everybody)
        onTransports "clients that are asked" (verifies TlsVerifyMode.Request (fun _ -> [ "none"; "good" ]))
        onTransports "clients that must show a certificate" (verifies TlsVerifyMode.Require (fun _ -> [ "good" ]))

        onTransports
            "without an authority nobody's certificate is good"
            (withTls
                (fun tls -> { tls with VerifyMode = TlsVerifyMode.Require; AuthoritiesFile = ValueNone })
                (fun files served -> lets [] served.Port files))

        onTransports "by what the listener asks for" (fun setting ->
            { setting with ListenPoints = allListeners } |> withTls id byListeners)

        onTransports "an older version" (withTls (fun tls -> { tls with MinVersion = 3 }) olderVersion)

        onTransports
            "chosen ciphers"
            (withTls
                (fun tls -> {
                    tls with
                        CipherText = ValueSome "ECDHE-ECDSA-AES128-GCM-SHA256"
                        CipherSuites = [ Net.Security.TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 ]
                })
                chosenCiphers)

        onTransports "handshakes left hanging" hanging
        onTransports "a handshake byte by byte" (withTls id slow)
        onTransports "garbage in place of a handshake" (withTls id garbage)
        onTransports "peers that go away" (withTls id gone)
        onTransports "a stop during a handshake" (withTls id stopsInBetween)
        onTransports "certificates that change" (withTls id refreshed)
        onTransports "refresh_certs without TLS" withoutTls
        onTransports "formats of keys" keyFormats
        testCase "files that cannot be used" unusable
    ]
