/// Programs that others wrote: memcached itself, and clients of it. Where one is not installed its test is skipped, and counted as
/// ignored; with LSMFS_REQUIRE_PEERS=1 it fails instead.
namespace LsmFs.Server.Tests

open System
open System.Collections.Concurrent
open System.IO
open System.Net
open System.Net.Sockets
open System.Security.Cryptography
open System.Security.Cryptography.X509Certificates
open System.Threading
open Expecto

[<RequireQualifiedAccess>]
module Peer =

    let private isRequired = Environment.GetEnvironmentVariable "LSMFS_REQUIRE_PEERS" = "1"

    /// A test that needs something which may be missing: `what`.
    let test (name: string) (what: string) (peer: 'peer option) (body: 'peer -> unit) : Test =
        match peer with
        | Some peer -> testCase name <| fun () -> body peer
        | None when isRequired -> testCase name <| fun () -> failtest $"{what} is missing and LSMFS_REQUIRE_PEERS is 1"
        | None -> ptestCase $"{name} ({what} is missing)" ignore

    /// All of these programs of the PATH, or nothing.
    let tryFindAll (names: string list) : Map<string, string> option =
        let found =
            names |> List.choose (fun name -> Executable.tryFind name |> Option.map (fun path -> name, path))

        if found.Length = names.Length then
            Some(Map found)
        else
            None

/// Ports that are free to listen on and stay so while a server is restarted: outside the range that connections take theirs from.
module Ports =

    let private taken = ConcurrentDictionary<int, unit>()

    let private isFree (port: int) =
        try
            use listener = new TcpListener(IPAddress.Loopback, port)
            listener.Start()
            true
        with :? SocketException ->
            false

    /// A port that no one was given before.
    let rec take () : int =
        let port = Random.Shared.Next(10_000, 32_768)

        if taken.TryAdd(port, ()) && isFree port then
            port
        else
            take ()

/// How clients reach a server: on a port of the loopback interface, or a socket in the file system.
type Way =
    | Tcp
    | UnixSocket
    /// A port of the loopback interface that speaks TLS only.
    | Tls

/// A certificate for the loopback address that signs itself, made once for all tests of a run.
module private TestCertificate =

    let private made =
        lazy
            (use key = ECDsa.Create ECCurve.NamedCurves.nistP256
             let request = CertificateRequest("CN=lsmfs test", key, HashAlgorithmName.SHA256)
             let names = SubjectAlternativeNameBuilder()
             names.AddIpAddress IPAddress.Loopback
             request.CertificateExtensions.Add(names.Build())
             let now = DateTimeOffset.UtcNow
             use certificate = request.CreateSelfSigned(now.AddDays -1., now.AddDays 1.)
             certificate.ExportCertificatePem(), key.ExportPkcs8PrivateKeyPem())

    /// Writes the certificate and its key to these files.
    let write (certificatePath: string) (keyPath: string) : unit =
        let certificate, key = made.Value
        File.WriteAllText(certificatePath, certificate)
        File.WriteAllText(keyPath, key)

/// A server that can be restarted where it is, in the middle of a client's session. `launch` starts it, returns when it accepts
/// connections, and gives what stops it.
[<Sealed>]
type RestartableServer private (way: Way, keeps: bool, launch: RestartableServer -> unit -> unit) =
    let folder = new TemporaryFolder()
    let port = Ports.take ()
    let socket = folder.At "socket"
    let certificate, key = folder.At "certificate.pem", folder.At "key.pem"

    do
        if way = Tls then
            TestCertificate.write certificate key

    let mutable stop: unit -> unit = ignore

    member private _.DataFolder = folder.At "data"
    member _.Port = port

    /// What a client is told.
    member _.Address =
        match way with
        | Tcp
        | Tls -> $"127.0.0.1:{port}"
        | UnixSocket -> socket

    /// What else a client is told: the certificate to trust.
    member _.ClientArguments = if way = Tls then [ certificate ] else []

    /// What the server is told.
    member private _.Flags =
        match way with
        | Tcp -> [ "-p"; string port; "-l"; "127.0.0.1" ]
        | Tls ->
            [ "-p"; string port; "-l"; "127.0.0.1" ]
            @ [ "-Z"; "-o"; $"ssl_chain_cert={certificate},ssl_key={key}" ]
        | UnixSocket -> [ "-s"; socket ]

    /// Connects once, or throws.
    member private _.Probe() : unit =
        use tcp = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)
        use unix = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)

        match way with
        | Tcp
        | Tls -> tcp.Connect(IPAddress.Loopback, port)
        | UnixSocket -> unix.Connect(UnixDomainSocketEndPoint socket)

    /// Whether it still has after a restart what it had before.
    member _.Keeps = keeps

    /// Stops the server, if it runs, and starts it where it was.
    member server.Restart() : unit =
        stop ()
        stop <- ignore
        stop <- launch server

    interface IDisposable with
        member _.Dispose() =
            stop ()
            (folder :> IDisposable).Dispose()

    static member private Started(server: RestartableServer) : RestartableServer =
        try
            server.Restart()
            server
        with _ ->
            (server :> IDisposable).Dispose()
            reraise ()

    /// The built `lsmfs` with a data folder of its own.
    static member LsmFs(way: Way) : RestartableServer =
        let launch (server: RestartableServer) =
            let running = ServerProcess.Start(server.DataFolder, Array.ofList server.Flags)

            fun () ->
                use _ = running
                running.StopCleanly()

        RestartableServer.Started(new RestartableServer(way, true, launch))

    /// A real memcached, which is this program.
    static member Memcached(path: string, way: Way, [<ParamArray>] flags: string[]) : RestartableServer =
        let launch (server: RestartableServer) =
            let flags = server.Flags @ [ "-U"; "0"; "-u"; "root" ] @ List.ofArray flags
            let running = Executable.start path flags (Path.GetTempPath())

            // Read and dropped, so that it never waits for a reader.
            running.BeginOutputReadLine()
            running.BeginErrorReadLine()

            let stop () =
                running.Kill()
                running.WaitForExit()
                running.Dispose()

            let rec connect (attempts: int) =
                try
                    server.Probe()
                with
                | :? SocketException when attempts > 0 && not running.HasExited ->
                    Thread.Sleep 20
                    connect (attempts - 1)
                | _ ->
                    stop ()
                    reraise ()

            connect 1000
            stop

        RestartableServer.Started(new RestartableServer(way, false, launch))

[<AutoOpen>]
module BothServers =

    /// A test against LsmFs and one against memcached.
    let onBoth (name: string) (what: string) (tool: 'tool option) (body: 'tool -> RestartableServer -> unit) : Test =
        testList name [
            Peer.test "lsmfs" what tool (fun tool ->
                use server = RestartableServer.LsmFs Tcp
                body tool server)

            Peer.test
                "memcached"
                $"{what} or memcached"
                (Option.map2 (fun tool memcached -> tool, memcached) tool (Executable.tryFind "memcached"))
                (fun (tool, memcached) ->
                    use server = RestartableServer.Memcached(memcached, Tcp)
                    body tool server)
        ]
