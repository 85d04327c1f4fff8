/// A real memcached on a free port of the loopback interface, to compare answers with. Where none is installed the tests that need it are
/// skipped, and counted as ignored; with LSMFS_REQUIRE_PEERS=1 they fail instead.
module LsmFs.Engine.Tests.Peer

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Sockets
open System.Text
open System.Threading
open Expecto
open LsmFs.Engine.Tests.Interpreter

let private program: string option =
    (string (Environment.GetEnvironmentVariable "PATH")).Split Path.PathSeparator
    |> Array.map (fun folder -> Path.Combine(folder, "memcached"))
    |> Array.tryFind File.Exists

let private isRequired = Environment.GetEnvironmentVariable "LSMFS_REQUIRE_PEERS" = "1"

let private portsTaken = HashSet<int>()

/// A port nobody listens on, and no other peer of this run was given.
let private freePort () : int =
    lock portsTaken (fun () ->
        let mutable port = 0

        while port = 0 || not (portsTaken.Add port) do
            use probe = new TcpListener(IPAddress.Loopback, 0)
            probe.Start()
            port <- (probe.LocalEndpoint :?> IPEndPoint).Port
            probe.Stop()

        port)

/// One connection to a peer.
type PeerConnection(port: int) =
    let client = new TcpClient()
    do client.Connect(IPAddress.Loopback, port)
    let stream = client.GetStream()
    do stream.ReadTimeout <- 30_000
    do client.NoDelay <- true
    let buffer: byte[] = Array.zeroCreate 65536

    /// Sends bytes, and reads until `isEnough` says so or the peer closes. Returns the answer and whether it closed.
    member _.Ask(request: byte[], isEnough: string -> bool) : string * bool =
        let answer = StringBuilder()
        let mutable isClosed = false
        // A peer that closes early may refuse the rest.
        let sender =
            Threading.Tasks.Task.Run(fun () ->
                try
                    stream.Write(request, 0, request.Length)
                with :? IOException ->
                    ())

        while not isClosed && not (isEnough (answer.ToString())) do
            let count =
                try
                    stream.Read(buffer, 0, buffer.Length)
                with :? IOException as error ->
                    match error.InnerException with
                    | :? SocketException as cause when cause.SocketErrorCode = SocketError.ConnectionReset -> 0
                    | _ -> failtestf "no end of the answer, so far %A" (answer.ToString())

            answer.Append(ofLatin (ReadOnlySpan<byte>(buffer, 0, count))) |> ignore
            isClosed <- count = 0

        sender.Wait()
        answer.ToString(), isClosed

    /// Sends pieces of a request one by one while it reads what comes back, until `isEnough` says so or the peer closes; after the last request
    /// of a connection the sending side is closed, which ends the peer's side too once it has answered. Returns the answer and whether it closed.
    member _.Exchange(pieces: byte[] list, isLast: bool, isEnough: ReadOnlyMemory<byte> -> bool) : byte[] * bool =
        let socket = client.Client
        socket.Blocking <- false
        use answer = new MemoryStream()
        let mutable remaining = pieces
        let mutable sent = 0
        let mutable isClosed = false
        let mutable isFinished = false
        let waitMicroseconds = 10_000_000
        let watch = Stopwatch.StartNew()

        let receive () =
            let mutable error = SocketError.Success
            let count = socket.Receive(buffer, 0, buffer.Length, SocketFlags.None, &error)

            if error = SocketError.Success then
                answer.Write(buffer, 0, count)
                isClosed <- count = 0
            elif error = SocketError.ConnectionReset || error = SocketError.ConnectionAborted then
                isClosed <- true
            elif error <> SocketError.WouldBlock then
                raise (SocketException(int error))

        while not isFinished do
            match remaining with
            | piece :: rest ->
                let mutable error = SocketError.Success
                let count = socket.Send(piece, sent, piece.Length - sent, SocketFlags.None, &error)

                if error = SocketError.WouldBlock then
                    // The peer waits for its answers to be read.
                    receive ()
                elif error <> SocketError.Success then
                    // A peer that closes early refuses the rest.
                    remaining <- []
                else
                    sent <- sent + count

                    if sent = piece.Length then
                        remaining <- rest
                        sent <- 0

                if remaining.IsEmpty && isLast && error = SocketError.Success then
                    try
                        socket.Shutdown SocketShutdown.Send
                    with :? SocketException ->
                        ()
            | [] ->
                isFinished <-
                    isClosed
                    || (not isLast && isEnough (ReadOnlyMemory<byte>(answer.GetBuffer(), 0, int answer.Length)))

                if not isFinished then
                    let isReady = socket.Poll(waitMicroseconds, SelectMode.SelectRead)

                    if not isReady && watch.ElapsedMilliseconds >= 10_000L then
                        let told = ofLatin (ReadOnlySpan<byte>(answer.GetBuffer(), 0, int answer.Length))
                        failtestf "no end of the answer, so far %A" (told.Substring(max 0 (told.Length - 300)))

                    receive ()

        answer.ToArray(), isClosed

    interface IDisposable with
        member _.Dispose() = client.Dispose()

/// Whose program a peer is.
type PeerKind =
    | Memcached
    /// LsmFs itself, as it is installed: the same conversations, through its sockets and its store.
    | LsmFs

/// A running peer; `more` goes behind its arguments.
type Peer(kind: PeerKind, path: string, more: string) =
    let port = freePort ()
    let dataFolder = lazy (Directory.CreateTempSubdirectory "lsmfs-peer-")

    let arguments =
        match kind with
        // Without the thread that reorders items: while it holds one, incr and decr do not leave blanks behind a shorter number. Nor is it to be watched:
        // it would never answer again.
        // One thread: an answer is off its hands before it reads what comes next, whichever connection that comes from.
        | Memcached -> "-l 127.0.0.1 -U 0 -u root -m 64 -W -t 1 -o no_modern"
        | LsmFs -> $"-l 127.0.0.1 --durability os --data {dataFolder.Value.FullName}"

    let start = ProcessStartInfo(path, $"-p {port} {arguments} {more}")
    do start.RedirectStandardOutput <- true
    do start.RedirectStandardError <- true

    let running =
        match Process.Start start with
        | null -> failtestf "%s does not start" path
        | running -> running

    // Read and dropped, so that the program never waits for a reader.
    do running.BeginOutputReadLine()
    do running.BeginErrorReadLine()

    let rec connect (attempts: int) : PeerConnection =
        try
            new PeerConnection(port)
        with :? SocketException when attempts > 0 ->
            Thread.Sleep 20
            connect (attempts - 1)

    /// A new connection.
    member _.Connect() : PeerConnection = connect 200

    member _.Kind = kind

    /// Memory of the running program, in bytes.
    member _.ResidentBytes: int64 =
        running.Refresh()
        running.WorkingSet64

    /// Whether it is a memcached older than the parser this project follows.
    member peer.IsOld: bool =
        if kind = LsmFs then
            false
        else
            use connection = peer.Connect()
            let answer, _ = connection.Ask(latin "version\r\n", (fun answer -> answer.EndsWith "\n"))
            System.Version(answer.Trim().Replace("VERSION ", "")) < System.Version(1, 6, 40)

    interface IDisposable with
        member _.Dispose() =
            running.Kill()
            running.WaitForExit()
            running.Dispose()

            if dataFolder.IsValueCreated then
                dataFolder.Value.Delete true

/// A test that needs a peer with more arguments, which are asked for when it runs.
let peerTestWith (name: string) (more: unit -> string) (body: Peer -> unit) : Test =
    match program with
    | Some path ->
        testCase name
        <| fun () ->
            use peer = new Peer(Memcached, path, more ())
            body peer
    | None when isRequired ->
        testCase name <| fun () -> failtest "memcached is not installed and LSMFS_REQUIRE_PEERS is 1"
    | None -> ptestCase name <| fun () -> failtest "memcached is not installed"

/// A test that needs a peer.
let peerTest (name: string) (body: Peer -> unit) : Test = peerTestWith name (fun () -> "") body

/// A test of LsmFs itself, when LSMFS_PROGRAM says where its program is; no test otherwise.
let programTest (name: string) (body: Peer -> unit) : Test list =
    match Environment.GetEnvironmentVariable "LSMFS_PROGRAM" with
    | null
    | "" -> []
    | path -> [
        testCase name
        <| fun () ->
            use peer = new Peer(LsmFs, path, "")
            body peer
      ]

/// A test of LsmFs itself beside a memcached, when LSMFS_PROGRAM says where the program is; no test otherwise.
let pairTest (name: string) (body: Peer -> Peer -> unit) : Test list =
    match Environment.GetEnvironmentVariable "LSMFS_PROGRAM" with
    | null
    | "" -> []
    | path -> [
        peerTest name (fun peer ->
            use program = new Peer(LsmFs, path, "")
            body peer program)
      ]
