/// Passwords and TLS of the program: its refusals at the start, and files that are read again on SIGHUP.
module LsmFs.Server.Tests.AccessTests

open System
open System.IO
open System.Net
open System.Net.Security
open System.Net.Sockets
open System.Security.Cryptography
open System.Security.Cryptography.X509Certificates
open System.Threading
open Expecto

/// A certificate that signs itself, and its key, in these files.
let private writeCertificate (name: string) (certificatePath: string) (keyPath: string) : unit =
    use key = ECDsa.Create ECCurve.NamedCurves.nistP256
    let request = CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256)
    let now = DateTimeOffset.UtcNow
    use certificate = request.CreateSelfSigned(now.AddDays -1., now.AddDays 1.)
    File.WriteAllText(certificatePath, certificate.ExportCertificatePem())
    File.WriteAllText(keyPath, key.ExportPkcs8PrivateKeyPem())

let private attempt (server: ServerProcess) (credential: string) : string =
    use client = new TextClient(server.Port)
    client.Store("set any 0 0", credential)

let private passwords () =
    use folder = new TemporaryFolder()
    let path = folder.At "passwords"
    File.WriteAllText(path, "foo:bar\n")
    use server = ServerProcess.Start(folder.At "data", "-Y", path)
    Expect.equal (attempt server "foo baz") "CLIENT_ERROR authentication failure" "a wrong password"
    Expect.equal (attempt server "foo bar") "STORED" "the right one"
    File.WriteAllText(path, "foo:new\n")
    server.Send Signal.HangUp
    server.AwaitError("Passwords were read again")
    Expect.equal (attempt server "foo bar") "CLIENT_ERROR authentication failure" "the old password"
    Expect.equal (attempt server "foo new") "STORED" "the new one"
    File.WriteAllText(path, "junk\n")
    server.Send Signal.HangUp
    server.AwaitError("The passwords stay as they were")
    Expect.equal (attempt server "foo new") "STORED" "as it was"
    server.StopCleanly()

/// The name that the server shows.
let private subject (server: ServerProcess) : string =
    use client = new TcpClient()
    client.Connect(IPAddress.Loopback, server.Port)
    use stream = new SslStream(client.GetStream())

    stream.AuthenticateAsClient(
        SslClientAuthenticationOptions(
            TargetHost = "localhost",
            RemoteCertificateValidationCallback = (fun _ _ _ _ -> true)
        )
    )

    stream.Write "version\r\n"B
    let answer: byte[] = Array.zeroCreate 7
    stream.ReadExactly(Span<byte> answer)
    Expect.equal answer "VERSION"B "served"

    match stream.RemoteCertificate with
    | null -> failtest "a server without a certificate"
    | certificate -> certificate.Subject

let private certificates () =
    use folder = new TemporaryFolder()
    let chain, key = folder.At "chain.pem", folder.At "key.pem"
    writeCertificate "first" chain key

    use server = ServerProcess.Start(folder.At "data", "-Z", "-o", $"ssl_chain_cert={chain},ssl_key={key}")

    Expect.equal (subject server) "CN=first" "at first"
    writeCertificate "second" chain key
    server.Send Signal.HangUp
    server.AwaitError("Certificates were read again")
    Expect.equal (subject server) "CN=second" "the new one"
    File.WriteAllText(chain, "junk")
    server.Send Signal.HangUp
    server.AwaitError("The certificates stay as they were")
    Expect.equal (subject server) "CN=second" "as it was"
    server.StopCleanly()

/// The program ends with one line that has these words.
let private refuses (flags: string list) (words: string) =
    use folder = new TemporaryFolder()
    let run = Executable.run Executable.lsmfs ([ "-p"; "0"; "--data"; folder.At "data" ] @ flags)
    let failures = run.Errors |> List.filter (fun line -> not (line.Contains " info: "))
    Expect.equal failures.Length 1 $"one line: {run.Errors}"
    Expect.stringContains failures.Head words "the line"
    Expect.equal run.ExitCode 1 "the exit code"
    Expect.isFalse (Directory.Exists(folder.At "data")) "nothing was begun"

let private refusals () =
    use folder = new TemporaryFolder()
    let chain, key, other = folder.At "chain.pem", folder.At "key.pem", folder.At "other.pem"
    writeCertificate "other" chain other
    writeCertificate "server" chain key
    let junk = folder.At "junk"
    File.WriteAllText(junk, "junk\n")
    let missing = folder.At "missing"
    refuses [ "-Y"; missing ] "cannot read the file of passwords"
    refuses [ "-Y"; junk ] "line 1 is not user:password"
    refuses [ "-Z"; "-o"; $"ssl_chain_cert={missing},ssl_key={key}" ] "error loading the certificate chain"
    refuses [ "-Z"; "-o"; $"ssl_chain_cert={chain},ssl_key={missing}" ] "error loading the key"
    refuses [ "-Z"; "-o"; $"ssl_chain_cert={chain},ssl_key={other}" ] "it is not the key of the certificate"

    refuses
        [ "-Z"; "-o"; $"ssl_chain_cert={chain},ssl_key={key},ssl_ca_cert={junk}" ]
        "error loading the CA certificate"

[<Tests>]
let tests =
    testList "Access" [
        testCase "passwords are read again on SIGHUP" passwords
        testCase "certificates are read again on SIGHUP" certificates
        testCase "files that cannot be used are refused in a line" refusals
    ]
