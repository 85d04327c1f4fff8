/// Programs that others wrote: memcached itself, and clients of it. Where one is not installed its test is skipped, and counted as
/// ignored; with LSMFS_REQUIRE_PEERS=1 it fails instead.
namespace LsmFs.Server.Tests

open System
open System.Collections.Concurrent
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Sockets
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

/// A server on a port of the loopback interface that can be restarted there, in the middle of a client's session.
[<AbstractClass>]
type RestartableServer() =
    let port = Ports.take ()

    member _.Port = port
    member _.Address = $"127.0.0.1:{port}"

    /// Whether it still has after a restart what it had before.
    abstract Keeps: bool
    /// Stops the server and starts it again where it was. Returns when it accepts connections.
    abstract Restart: unit -> unit
    abstract Dispose: unit -> unit

    interface IDisposable with
        member server.Dispose() = server.Dispose()

/// The built `lsmfs` with a data folder of its own.
[<Sealed>]
type RestartableLsmFs([<ParamArray>] flags: string[]) =
    inherit RestartableServer()
    let folder = new TemporaryFolder()

    let start (port: int) = ServerProcess.Start(folder.Path, Array.append [| "-p"; string port |] flags)

    let mutable running = start base.Port

    override _.Keeps = true

    override server.Restart() =
        running.StopCleanly()
        (running :> IDisposable).Dispose()
        running <- start server.Port

    override _.Dispose() =
        (running :> IDisposable).Dispose()
        (folder :> IDisposable).Dispose()

/// A real memcached.
[<Sealed>]
type RestartableMemcached(path: string) =
    inherit RestartableServer()

    let start (port: int) : Process =
        let child =
            Executable.start path [ "-p"; string port; "-l"; "127.0.0.1"; "-U"; "0"; "-u"; "root" ] (Path.GetTempPath())

        // Read and dropped, so that it never waits for a reader.
        child.BeginOutputReadLine()
        child.BeginErrorReadLine()

        let rec connect (attempts: int) =
            try
                use probe = new TcpClient()
                probe.Connect(IPAddress.Loopback, port)
            with :? SocketException when attempts > 0 && not child.HasExited ->
                Thread.Sleep 20
                connect (attempts - 1)

        connect 1000
        child

    let stop (child: Process) =
        child.Kill()
        child.WaitForExit()
        child.Dispose()

    let mutable running = start base.Port

    override _.Keeps = false

    override server.Restart() =
        stop running
        running <- start server.Port

    override _.Dispose() = stop running
