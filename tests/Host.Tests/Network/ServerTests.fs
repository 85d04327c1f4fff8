module LsmFs.Host.Tests.ServerTests

open System
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Sockets
open System.Threading
open Expecto
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Served

let private statisticsOf (request: string) (client: Client) =
    client.Send $"{request}\r\nquit\r\n"

    text(client.ReceiveToEnd()).Split("\r\n", StringSplitOptions.RemoveEmptyEntries)
    |> Array.filter _.StartsWith("STAT ")
    |> Array.map (fun line ->
        let parts = line.Split(' ', 3)
        parts[1], parts[2])
    |> Map.ofArray

let private statistics (client: Client) = statisticsOf "stats" client

let private engineStatistics (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    client.Expect("set a 0 0 5\r\nvalue\r\nset b 0 0 5\r\nvalue\r\n", "STORED\r\nSTORED\r\n")
    let before = statisticsOf "stats lsm" client

    for name, value in
        [
            "sequence", "2"
            "tables", "0"
            "committed_bytes", string (2 * (16 + 1 + 5))
            "write_amplification", "0.00"
            "write_pressure", "none"
            "write_refusal", "none"
            "snapshots_held", "0"
        ] do
        Expect.equal (Map.tryFind name before) (Some value) name

    Expect.equal (int64 before["log_bytes"] > 44L) (setting.Durability = Durability.Sync) "a log, if there is one"
    served.Store.Flush()
    use snapshot = served.Store.CreateSnapshot()
    use again = new Client(served.Port)
    again.Expect("delete b\r\n", "DELETED\r\n")
    served.Store.Flush()
    use last = new Client(served.Port)
    let after = statisticsOf "stats lsm" last

    for name, value in
        [
            "sequence", "3"
            "table_entries", "3"
            "table_tombstones", "1"
            "flushes", "2"
            "snapshots_held", "1"
        ] do
        Expect.equal (Map.tryFind name after) (Some value) name

    for KeyValue(name, value) in after do
        Expect.isFalse (value.Contains ' ') $"a space in the value of {name}"

    for name in
        [
            "gc_0_collections"
            "gc_1_collections"
            "gc_2_collections"
            "gc_pauses_us"
            "gc_longest_pause_us"
        ] do
        Expect.isGreaterThanOrEqual (int64 after[name]) 0L name

    Expect.isGreaterThan (int64 after["gc_allocated_bytes"]) 0L "allocated"

    for figure in [ "tables"; "bytes"; "entries"; "tombstones" ] do
        let total = if figure = "tables" then "tables" else $"table_%s{figure}"

        let levels =
            after
            |> Map.filter (fun name _ -> name.StartsWith "level_" && name.EndsWith figure)
            |> Map.values
            |> Seq.sumBy int64

        Expect.equal levels (int64 after[total]) $"the levels add up to {total}"

    Expect.isGreaterThan (float after["write_amplification"]) 0.0 "write amplification"
    use plain = new Client(served.Port)
    Expect.equal (statistics plain |> Map.tryFind "curr_items") (Some "1") "items"

let private counts (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    let requests =
        "set a 0 0 1\r\n1\r\nget a b\r\nincr a 1\r\nincr b 1\r\ndelete b\r\ntouch a 0\r\ngat 0 a b\r\ncas a 0 0 1 999999\r\nx\r\nset old 0 -1 1\r\nx\r\nget old\r\n"

    client.Expect(
        requests,
        "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n2\r\nNOT_FOUND\r\nNOT_FOUND\r\nTOUCHED\r\nVALUE a 0 1\r\n2\r\nEND\r\nEXISTS\r\nSTORED\r\nEND\r\n"
    )

    let found = statistics client

    for name, value in
        [
            "cmd_get", "3"
            "get_hits", "1"
            "get_misses", "2"
            "get_expired", "1"
            "cmd_set", "3"
            "incr_hits", "1"
            "incr_misses", "1"
            "delete_misses", "1"
            "cmd_touch", "3"
            "touch_hits", "2"
            "touch_misses", "1"
            "cas_badval", "1"
            // The number is written over the old one.
            "total_items", "2"
            // The other one was expired from the start.
            "curr_items", "1"
            "curr_connections", "1"
            "total_connections", "1"
            "threads", "2"
            "version", "1.2.3"
            "bytes_read", string (requests.Length + "stats\r\nquit\r\n".Length)
        ] do
        Expect.equal (Map.tryFind name found) (Some value) name

    use again = new Client(served.Port)
    again.Expect("stats reset\r\n", "RESET\r\n")
    let found = statistics again
    Expect.equal found["cmd_get"] "0" "gets after a reset"
    Expect.equal found["total_connections"] "0" "connections after a reset"

let private otherStatistics (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    client.Expect(
        "stats items\r\nstats slabs\r\nstats sizes\r\n",
        "END\r\nSTAT active_slabs 0\r\nSTAT total_malloced 0\r\nEND\r\nSTAT sizes_status disabled\r\nEND\r\n"
    )

    client.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")
    use items = new Client(served.Port)
    Expect.equal (Map.tryFind "items:1:number" (statisticsOf "stats items" items)) (Some "1") "items are of class 1"
    client.Expect("stats nonsense\r\n", "ERROR\r\n")
    client.Send "stats settings\r\nquit\r\n"
    let settings = text (client.ReceiveToEnd())

    for line in
        [
            "STAT maxconns 4000\r\n"
            "STAT item_size_max 1048576\r\n"
            $"STAT tcpport %d{served.Port}\r\n"
            "END\r\n"
        ] do
        Expect.stringContains settings line "settings"

let private addressInUse (setting: Setting) =
    use served = new Served(setting)

    let folder = Directory.CreateTempSubdirectory("lsmfs-host-tests-").FullName

    use store =
        Store.Open(StoreOptions(DataFolder = folder, Durability = Durability.Memory), NullLogger.Instance)

    try
        Server.Start(
            ServerOptions(
                ListenPoints = [| ListenPoint(EndPoint = served.Server.EndPoints[0]) |],
                ThreadCount = 1,
                ConnectionCountMax = 1,
                ValueLengthMax = 1,
                Version = "1.2.3",
                Transport = setting.Transport
            ),
            store,
            NullLogger.Instance
        )
        |> ignore

        failtest "two servers listen on one address"
    with :? ListenException as failure ->
        Expect.equal
            failure.Message
            $"cannot listen on 127.0.0.1:%d{served.Port}: address already in use; choose another port with -p"
            "what the operator is told"

let private stopAnswers (setting: Setting) =
    use served = new Served(setting)
    use idle = new Client(served.Port)
    use busy = new Client(served.Port)
    idle.Expect("version\r\n", "VERSION 1.2.3\r\n")
    busy.Send(String.replicate 500 "set k 0 0 1\r\nx\r\n" + "get k\r\n")
    // One reply shows that the server has received the pipeline, which is less than it receives at once.
    Expect.equal (text (busy.Receive 8)) "STORED\r\n" "the first reply"
    let watch = Stopwatch.StartNew()
    served.Server.StopAsync().Wait()
    Expect.isLessThan watch.ElapsedMilliseconds 2500L "milliseconds to stop when everybody reads"

    Expect.equal
        (text (busy.ReceiveToEnd()))
        (String.replicate 499 "STORED\r\n" + "VALUE k 0 1\r\nx\r\nEND\r\n")
        "what was received before the stop is answered"

    Expect.equal (idle.ReceiveToEnd()) [||] "an idle connection is closed"

    Expect.throwsT<SocketException>
        (fun () -> (new Client(served.Port) :> IDisposable).Dispose())
        "nobody listens any more"

let private stopIsBounded (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    let mebibyte = 1024 * 1024
    client.Expect($"set big 0 0 %d{mebibyte}\r\n%s{String('v', mebibyte)}\r\n", "STORED\r\n")
    client.Send(String.replicate 100 "get big\r\n")
    Thread.Sleep 100
    let watch = Stopwatch.StartNew()
    served.Server.StopAsync().Wait()
    Expect.isLessThan watch.ElapsedMilliseconds 8000L "milliseconds to stop when a client does not read"
    Expect.equal served.Server.ConnectionCount 0 "connections after the stop"

let private allocations (setting: Setting) =
    use served = new Served({ setting with ThreadCount = 1 })
    use client = new Client(served.Port)
    let value = String('v', 100)
    let count = 32
    let sets = ascii (String.replicate count $"set key 0 0 100\r\n%s{value}\r\n")
    let deletes = ascii (String.replicate count "delete none\r\n")
    let gets = ascii (String.replicate count "get key\r\n")
    let setReplies: byte[] = Array.zeroCreate (count * 8)
    let deleteReplies: byte[] = Array.zeroCreate (count * 11)
    let metaGets = ascii (String.replicate count "mg a2V5 b c f h k l s t v Oabc\r\n")
    let metaMisses = ascii (String.replicate count "mg none v k\r\n")
    let getReplies: byte[] = Array.zeroCreate (count * ("VALUE key 0 100\r\n".Length + 100 + 7))

    let exchange (request: byte[]) (reply: byte[]) (rounds: int) =
        for _ in 1..rounds do
            client.Socket.Send request |> ignore
            let mutable filled = 0

            while filled < reply.Length do
                filled <- filled + client.Socket.Receive(reply, filled, reply.Length - filled, SocketFlags.None)

    let bytesPerCommand request reply =
        exchange request reply 500
        let before = GC.GetTotalAllocatedBytes true
        exchange request reply 1000
        float (GC.GetTotalAllocatedBytes true - before) / float (1000 * count)

    // The memtable takes the entry, which has 119 bytes, and a commit some dozen bytes for the whole pipeline.
    Expect.isLessThan (bytesPerCommand sets setReplies) 160.0 "bytes allocated for a set"
    Expect.isLessThan (bytesPerCommand deletes deleteReplies) 8.0 "bytes allocated for a write that changes nothing"
    // What is left is the noise of the runtime.
    Expect.isLessThan (bytesPerCommand gets getReplies) 2.0 "bytes allocated for a get"
    client.Expect("mn\r\n", "MN\r\n")
    client.Send "mg a2V5 b c f h k l s t v Oabc\r\nmn\r\n"
    let mutable metaReply = ""

    while not (metaReply.EndsWith "MN\r\n") do
        metaReply <- metaReply + text (client.Receive 1)

    let metaReplies: byte[] = Array.zeroCreate (count * (metaReply.Length - 4))
    Expect.isLessThan (bytesPerCommand metaGets metaReplies) 2.0 "bytes allocated for a meta get"
    let missReplies: byte[] = Array.zeroCreate (count * "EN knone\r\n".Length)
    Expect.isLessThan (bytesPerCommand metaMisses missReplies) 2.0 "bytes allocated for a meta get that misses"

/// Holds up the commits behind it.
[<Sealed>]
type private Stall() =
    inherit Submission()
    member val IsReached = new ManualResetEventSlim(false)
    member val MayGoOn = new ManualResetEventSlim(false)
    override _.NeedsPuts = false

    override stall.Execute _ =
        stall.IsReached.Set()
        stall.MayGoOn.Wait()

    override _.Completed _ = ()

let private submissionsAreKept (setting: Setting) =
    use served = new Served({ setting with ThreadCount = 1 })
    let clients = [| for _ in 1..64 -> new Client(served.Port) |]

    let round () =
        let stall = Stall()
        let committer = Thread((fun () -> served.Store.Submit stall), IsBackground = true)
        committer.Start()
        stall.IsReached.Wait()
        let before = GC.GetTotalAllocatedBytes true

        for client in clients do
            client.Send "set key 0 0 1\r\nv\r\n"
            // So that the loop makes a submission of it alone, mostly.
            Thread.Sleep 1

        stall.MayGoOn.Set()

        let replies = clients |> Array.map (fun client -> client.Receive 8)
        committer.Join()
        let allocated = GC.GetTotalAllocatedBytes true - before
        replies |> Array.iter (fun reply -> Expect.equal (text reply) "STORED\r\n" "reply")
        allocated

    // A new submission has 9,000 bytes.
    Expect.isLessThan
        (List.min [ for _ in 1..8 -> round () ])
        150_000L
        "bytes allocated by 64 sets that wait for a commit, as 64 others did before"

    clients |> Array.iter (fun client -> (client :> IDisposable).Dispose())

[<Tests>]
let tests =
    testSequenced
    <| testList "Server" [
        everywhere "commands are counted" counts
        onTransports "other statistics end as tools expect" otherStatistics
        everywhere "the engine's figures are told" engineStatistics
        onTransports "an address in use is told in one line" addressInUse
        everywhere "a stop answers what was received" stopAnswers
        onTransports "a stop does not wait for a client that does not read" stopIsBounded
        onTransports "commands in memory allocate nothing to speak of" allocations
        onTransports "the submissions that a slow commit piles up are used again" submissionsAreKept
    ]
