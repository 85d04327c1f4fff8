/// Clients that mean harm, or behave as if they did: others are served meanwhile, memory stays bounded, and nothing of them is left when they go.
module LsmFs.Server.Tests.HostileClientTests

// Each attack alternates with quiet phases in the same run, and two ordinary clients verify what they read in both. What they wait is printed. Ordinary
// runs hold the median against a bound that only a server that stops serving exceeds, since the machine may be doing other things too; the soak
// (LSMFS_SOAK_MINUTES) asserts that the 99th percentile stays within three times the quiet one.

open System
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Sockets
open System.Threading
open System.Threading.Tasks
open Expecto

let private connectionLimit = 300

// Above an idle server that has served: the memtables and cache of -m 16, the receive and send buffers of two loops, a value of 1 MiB on its way for each of 40 peers that do
// not read, and garbage of a collection that has not run yet.
let private growthBytesMax = 192L <<< 20

/// In the quick run a median wait may be this long, and in the soak a 99th percentile whatever the quiet one is: less is noise of the scheduler.
let private medianMax = TimeSpan.FromMilliseconds 100.

let private percentileFloor = TimeSpan.FromMilliseconds 2.

let private isSoak = not (isNull (Environment.GetEnvironmentVariable "LSMFS_SOAK_MINUTES"))

let private phaseTime = TimeSpan.FromMilliseconds(if isSoak then 2000. else 250.)
let private phaseCount = if isSoak then 5 else 2

/// An attack: goes on until it is cancelled, and closes what it has opened.
type private Attack = int -> CancellationToken -> unit

let private connect (port: int) : Socket =
    let socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp, NoDelay = true)

    socket.Connect(IPAddress.Loopback, port)
    socket

/// Sends what the peer takes at once; false when it has closed.
let private trySend (socket: Socket) (bytes: byte[]) : bool =
    socket.Blocking <- false
    let mutable error = SocketError.Success
    socket.Send(bytes, 0, bytes.Length, SocketFlags.None, &error) |> ignore
    error = SocketError.Success || error = SocketError.WouldBlock

let private withConnections (count: int) (port: int) (body: Socket[] -> unit) : unit =
    let sockets = Array.init count (fun _ -> connect port)

    try
        body sockets
    finally
        sockets |> Array.iter _.Dispose()

/// A new connection whenever the server has closed the old one.
let private reconnecting (port: int) (stop: CancellationToken) (body: Socket -> unit) : unit =
    while not stop.IsCancellationRequested do
        try
            use socket = connect port
            body socket
        with :? SocketException ->
            Thread.Sleep 1

let private waitFor (stop: CancellationToken) (time: TimeSpan) = stop.WaitHandle.WaitOne time |> ignore

/// Each connection sends a byte of its request a second.
let private slowloris (port: int) (stop: CancellationToken) : unit =
    withConnections 200 port (fun sockets ->
        let request = TextClient.Bytes "set slow 0 0 1000\r\nnever the whole of it"
        let mutable turn = 0

        while not stop.IsCancellationRequested do
            let socket = sockets[turn % sockets.Length]
            trySend socket [| request[turn / sockets.Length % request.Length] |] |> ignore
            turn <- turn + 1
            waitFor stop (TimeSpan.FromMilliseconds 5.))

/// Connections that never say anything, and some that have shut their side after half a request.
let private halfOpen (port: int) (stop: CancellationToken) : unit =
    withConnections 200 port (fun sockets ->
        for index, socket in Array.indexed sockets do
            if index % 2 = 0 then
                trySend socket "get hal"B |> ignore
                socket.Shutdown SocketShutdown.Send

        waitFor stop Timeout.InfiniteTimeSpan)

/// As many connections as there may be, and many more knocking.
let private connectionFlood (port: int) (stop: CancellationToken) : unit =
    let sockets = Collections.Generic.Queue<Socket>()

    try
        while not stop.IsCancellationRequested do
            try
                sockets.Enqueue(connect port)
            with :? SocketException ->
                ()

            if sockets.Count > 2 * connectionLimit then
                sockets.Dequeue().Dispose()
                Thread.Sleep 1
    finally
        sockets |> Seq.iter _.Dispose()

/// Requests whose answers nobody reads, a mebibyte each.
let private unreadPipelines (port: int) (stop: CancellationToken) : unit =
    withConnections 20 port (fun sockets ->
        let requests = TextClient.Bytes(String.replicate 500 "get big\r\n")

        while not stop.IsCancellationRequested do
            for socket in sockets do
                trySend socket requests |> ignore

            waitFor stop (TimeSpan.FromMilliseconds 1.))

let private garbage (port: int) (stop: CancellationToken) : unit =
    let random = Random 5
    let bytes: byte[] = Array.zeroCreate 4096

    reconnecting port stop (fun socket ->
        let mutable isOpen = true

        while isOpen && not stop.IsCancellationRequested do
            random.NextBytes bytes
            isOpen <- trySend socket bytes
            Thread.Sleep 1)

/// Lengths that nobody should believe, in all three protocols, with the beginning of a value behind them.
let private hugeLengths (port: int) (stop: CancellationToken) : unit =
    let heads = [|
        "set huge 0 0 2147483000\r\n"B
        "set large 0 0 1048000\r\n"B
        "ms huge 2147483000\r\n"B
        // A binary set with a body of 4 GiB less one byte.
        Array.concat [
            [| 0x80uy; 1uy; 0uy; 4uy; 8uy; 0uy; 0uy; 0uy; 255uy; 255uy; 255uy; 255uy |]
            Array.zeroCreate 12
        ]
    |]

    withConnections 100 port (fun sockets ->
        for index, socket in Array.indexed sockets do
            trySend socket heads[index % heads.Length] |> ignore

        let piece: byte[] = Array.create 1000 (byte 'x')

        while not stop.IsCancellationRequested do
            for socket in sockets do
                trySend socket piece |> ignore

            waitFor stop (TimeSpan.FromMilliseconds 10.))

/// Requests, and a reset in the middle of the answers.
let private abruptResets (port: int) (stop: CancellationToken) : unit =
    let requests =
        TextClient.Bytes(String.replicate 20 "get big\r\nset reset 0 0 5\r\nvalue\r\nincr reset 1\r\n")

    reconnecting port stop (fun socket ->
        trySend socket requests |> ignore
        socket.LingerState <- LingerOption(true, 0)
        Thread.Sleep 1)

let private attacks: (string * Attack) list = [
    "slowloris", slowloris
    "half-open connections", halfOpen
    "a flood at the connection limit", connectionFlood
    "pipelines whose answers nobody reads", unreadPipelines
    "garbage", garbage
    "huge lengths", hugeLengths
    "abrupt resets", abruptResets
]

/// An ordinary client: what it writes it must read, and how long it waited for each answer, in ticks.
let private useNormally (client: TextClient) (number: int) (time: TimeSpan) : int64[] =
    let waits = ResizeArray<int64>()
    let watch = Stopwatch.StartNew()
    let mutable round = 0

    let timed (ask: unit -> 'answer) : 'answer =
        let before = watch.ElapsedTicks
        let answer = ask ()
        waits.Add(watch.ElapsedTicks - before)
        answer

    while watch.Elapsed < time do
        round <- round + 1
        let value = $"value {number} {round}"
        Expect.equal (timed (fun () -> client.Store($"set normal-{number} 0 0", value))) "STORED" "an ordinary write"

        for _ in 1..4 do
            Expect.equal (timed (fun () -> client.TryGetText $"normal-{number}")) (Some value) "an ordinary read"

    waits.ToArray()

let private measure (clients: TextClient[]) : int64[] =
    let work =
        clients
        |> Array.mapi (fun number client ->
            Task.Factory.StartNew((fun () -> useNormally client number phaseTime), TaskCreationOptions.LongRunning))

    Task.WhenAll(work).GetAwaiter().GetResult() |> Array.concat |> Array.sort

let private percentile (part: float) (sorted: int64[]) : TimeSpan =
    TimeSpan.FromSeconds(float sorted[int (part * float (sorted.Length - 1))] / float Stopwatch.Frequency)

let private medianOf (part: float) (phases: int64[] list) : TimeSpan =
    let ofPhases = phases |> List.map (percentile part) |> List.sort
    ofPhases[ofPhases.Length / 2]

let private statistic (client: TextClient) (name: string) : int =
    client.Send "stats\r\n"
    let mutable found = 0
    let mutable line = client.ReadLine()

    while line <> "END" do
        match line.Split ' ' with
        | [| "STAT"; stat; value |] when stat = name -> found <- int value
        | _ -> ()

        line <- client.ReadLine()

    found

let private withstands (name: string) (attack: Attack) : Test =
    testCase name
    <| fun () ->
        use folder = new TemporaryFolder()

        use server =
            ServerProcess.Start(folder.Path, "-m", "16", "-t", "2", "-c", string connectionLimit, "--durability", "os")

        let clients = Array.init 2 (fun _ -> new TextClient(server.Port))

        try
            Expect.equal (clients[0].Store("set big 0 0", Array.zeroCreate 1_000_000)) "STORED" "a large value"
            measure clients |> ignore
            let connections = statistic clients[0] "curr_connections"
            let before = server.ResidentBytes
            let mutable peak = before

            let phases = [
                for _ in 1..phaseCount do
                    let quiet = measure clients
                    use stop = new CancellationTokenSource()

                    let attacker =
                        Task.Factory.StartNew(
                            (fun () -> attack server.Port stop.Token),
                            TaskCreationOptions.LongRunning
                        )

                    Thread.Sleep 100
                    let attacked = measure clients
                    peak <- max peak server.ResidentBytes
                    stop.Cancel()
                    attacker.Wait()
                    struct (quiet, attacked)
            ]

            let quiet = phases |> List.map (fun struct (quiet, _) -> quiet)
            let attacked = phases |> List.map (fun struct (_, attacked) -> attacked)
            let microseconds part phases = (medianOf part phases).TotalMicroseconds |> round |> int
            let ratio = medianOf 0.99 attacked / medianOf 0.99 quiet

            printfn
                "hostile clients, %s: median %d us (quiet %d), p99 %d us (quiet %d, %.1f times), resident %d to %d MiB"
                name
                (microseconds 0.5 attacked)
                (microseconds 0.5 quiet)
                (microseconds 0.99 attacked)
                (microseconds 0.99 quiet)
                ratio
                (before >>> 20)
                (peak >>> 20)

            Expect.isLessThan (medianOf 0.5 attacked) medianMax "the median wait of others"

            if isSoak then
                Expect.isLessThan
                    (medianOf 0.99 attacked)
                    (max percentileFloor (3. * medianOf 0.99 quiet))
                    "the 99th percentile of others' waits"

            Expect.isLessThan (peak - before) growthBytesMax "growth in bytes"

            let areGone () = statistic clients[0] "curr_connections" = connections
            Expect.isTrue (SpinWait.SpinUntil(areGone, 30_000)) "no connection of theirs is left"

            use late = new TextClient(server.Port)
            Expect.stringStarts (late.Ask "version") "VERSION " "there is room for others again"

            Expect.isFalse
                (server.Errors |> List.exists (fun line -> line.Contains " error: "))
                $"no internal error: {server.Errors}"
        finally
            clients |> Array.iter (fun client -> (client :> IDisposable).Dispose())

        server.StopCleanly()

[<Tests>]
let tests =
    testSequenced
    <| testList "Hostile clients" [
        for name, attack in attacks do
            withstands name attack
    ]
