module LsmFs.Host.Tests.KeyDumpTests

open System
open System.Text.RegularExpressions
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Text
open System.Threading
open Expecto
open LsmFs.Host
open LsmFs.Host.Tests.Served

let private keyOf (number: int) = $"key-{number:D7}"

/// Writes keys past the network.
let private fill (served: Served) (numbers: int seq) =
    for numbers in numbers |> Seq.chunkBySize 5000 do
        let batch = WriteBatch()

        for number in numbers do
            batch.Put(ascii (keyOf number), "value"B) |> ignore

        served.Store.Write batch

/// Enough that no socket takes it all without its peer reading.
let private manyCount = 200_000

let private awaitNoHolds (served: Served) =
    let isFree () = served.Store.Statistics.Holds.Count = 0
    Expect.isTrue (SpinWait.SpinUntil(isFree, 30_000)) "the snapshots are given back"

/// Reads to the line that ends a list, at most `count` bytes at a time.
let private readList (client: Client) (finish: string) (count: int) (pause: unit -> unit) : string =
    let all = StringBuilder()
    let bytes: byte[] = Array.zeroCreate count

    let isWhole () = all.Length >= finish.Length && all.ToString(all.Length - finish.Length, finish.Length) = finish

    while not (isWhole ()) do
        let received = client.Socket.Receive bytes

        if received = 0 then
            failtest "the server closed within a list"

        all.Append(text bytes[.. received - 1]) |> ignore
        pause ()

    all.ToString()

let private keysOf (list: string) : string[] =
    list.Split('\n', StringSplitOptions.RemoveEmptyEntries)
    |> Array.filter (fun line -> line.StartsWith "key=" || line.StartsWith "mg ")
    |> Array.map (fun line ->
        line.TrimEnd('\r').Split(' ').[if line.StartsWith "mg " then 1 else 0].Replace("key=", ""))

let private conversation (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    // Read once; the times are those of today's clock, all of ten digits.
    let expected =
        "STORED\r\nSTORED\r\nSTORED\r\nDELETED\r\nSTORED\r\nVALUE b 7 5\r\nvalue\r\nEND\r\n"
        + "OK\r\nkey=a exp=-1 la=1234567890 cas=2 fetch=no cls=1 size=17 flags=0 \n"
        + "key=b exp=-1 la=1234567890 cas=1 fetch=yes cls=1 size=26 flags=7 \nEND\r\n"
        + "VERSION 1.2.3\r\nOK\r\nmg a\r\nmg b\r\nEN\r\nVALUE a 0 0\r\n\r\nEND\r\n"

    client.Send(
        "set b 7 0 5\r\nvalue\r\nset a 0 0 0\r\n\r\nset gone 0 0 1\r\nx\r\ndelete gone\r\nset old 0 -1 1\r\nx\r\nget b\r\n"
        + "lru_crawler metadump all\r\nversion\r\nlru_crawler mgdump hash\r\nget a\r\n"
    )

    let answer = text (client.Receive expected.Length)
    let now = DateTimeOffset.UtcNow.ToUnixTimeSeconds()

    for found in Regex.Matches(answer, @"la=(\d+)") do
        let seconds = int64 found.Groups[1].Value
        Expect.isTrue (seconds <= now && seconds > now - 600L) "the last access was now"

    Expect.equal (Regex.Replace(answer, @"la=\d+", "la=1234567890")) expected "the lists"

    client.Expect("lru_crawler metadump 2\r\nlru_crawler mgdump 2\r\n", "OK\r\nEND\r\nOK\r\nEN\r\n")

    client.Expect(
        "stats cachedump 1 0\r\nversion\r\nstats cachedump 1 1\r\nstats cachedump 2 0\r\n",
        "ITEM a [0 b; 0 s]\r\nITEM b [5 b; 0 s]\r\nEND\r\nVERSION 1.2.3\r\nITEM a [0 b; 0 s]\r\nEND\r\nEND\r\n"
    )

    use other = new Client(served.Port)
    other.Expect("lru_crawler disable\r\n", "OK\r\n")
    client.Expect("lru_crawler metadump all\r\n", "CLIENT_ERROR lru crawler disabled\r\n")
    client.Expect("lru_crawler enable\r\nlru_crawler mgdump 1\r\n", "OK\r\nOK\r\nmg a\r\nmg b\r\nEN\r\n")
    client.Expect("flush_all\r\nlru_crawler metadump all\r\n", "OK\r\nOK\r\nEND\r\n")
    awaitNoHolds served

let private slowReader (setting: Setting) =
    use served = new Served(setting)
    fill served (seq { 0..2 .. 2 * manyCount - 1 })
    served.Store.Flush()
    // Some in memory, over what is in tables.
    fill served (seq { 0..20..2000 })
    use client = new Client(served.Port)
    client.Socket.ReceiveBufferSize <- 32 * 1024
    let before = residentBytes ()
    client.Send "lru_crawler metadump all\r\nversion\r\n"
    let first = text (client.Receive 1000)

    // The moment is over: whatever is written from here on is none of the list's business.
    use writer = new Client(served.Port)
    let waits = List<int64>()

    for round in 1..40 do
        fill served (seq { 1 + round * 100 .. 99 + round * 100 })
        let watch = Stopwatch.StartNew()
        writer.Expect($"delete {keyOf (2 * round)}\r\n", "DELETED\r\n")
        waits.Add watch.ElapsedMilliseconds

        if round % 20 = 0 then
            served.Store.Flush()

    let growth = Environment.WorkingSet - before
    Expect.isLessThan growth (96L * 1024L * 1024L) "memory taken for a list that is not read, and for the writes"
    let median = (List.ofSeq waits |> List.sort)[waits.Count / 2]
    Expect.isLessThan median 250L "milliseconds that another client waits"
    Expect.equal served.Store.Statistics.Holds.Count 1 "one snapshot is held"

    let mutable pieces = 0

    let list =
        first
        + readList client "END\r\nVERSION 1.2.3\r\n" 65536 (fun () ->
            pieces <- pieces + 1

            if pieces % 50 = 0 then
                Thread.Sleep 1)

    let keys = keysOf list
    Expect.equal keys.Length manyCount "as many keys as there were"
    let expected = Array.init manyCount (fun number -> keyOf (2 * number))
    Expect.isTrue (keys = expected) "exactly the keys of the moment, in order"
    awaitNoHolds served

let private cachedump (setting: Setting) =
    use served = new Served(setting)
    fill served (seq { 0 .. manyCount - 1 })
    use client = new Client(served.Port)
    client.Send "stats cachedump 1 0\r\nversion\r\n"
    let list = readList client "END\r\nVERSION 1.2.3\r\n" 65536 ignore

    let lines =
        list.Split("\r\n", StringSplitOptions.RemoveEmptyEntries) |> Array.filter _.StartsWith("ITEM ")

    let length = list.Length - "VERSION 1.2.3\r\n".Length
    Expect.isTrue (length <= 2 * 1024 * 1024 && length > 2 * 1024 * 1024 - 100) "two MiB, the end included"

    Expect.equal
        lines
        (Array.init lines.Length (fun number -> $"ITEM {keyOf number} [5 b; 0 s]"))
        "the first of the keys"

    awaitNoHolds served

let private restricted (setting: Setting) =
    use served = new Served(setting, { NoFlush = true; NoDump = true })
    use client = new Client(served.Port)

    for request, reply in
        [
            "set a 0 0 1\r\nx", "STORED"
            "flush_all", "CLIENT_ERROR flush_all not allowed"
            "flush_all 10", "CLIENT_ERROR flush_all not allowed"
            "flush_all x", "CLIENT_ERROR flush_all not allowed"
            "flush_all noreply\r\nflush_all x noreply\r\nget a", "VALUE a 0 1\r\nx\r\nEND"
            "stats cachedump 1 0", "CLIENT_ERROR stats cachedump not allowed"
            "stats detail on", "CLIENT_ERROR stats detail not allowed"
            "lru_crawler metadump all", "ERROR metadump not allowed"
            "lru_crawler mgdump all", "ERROR key dump not allowed"
            "lru_crawler crawl all", "OK"
        ] do
        client.Expect($"{request}\r\n", $"{reply}\r\n")

    let statistics = served.Server.Statistics() |> Seq.map (|KeyValue|) |> Map.ofSeq
    Expect.equal statistics["cmd_flush"] "5" "what is refused counts"

let private busy (setting: Setting) =
    use served = new Served(setting)
    fill served (seq { 0 .. manyCount - 1 })
    let clients = [| for _ in 1..4 -> new Client(served.Port) |]

    // A metadump: the shorter lines of an mgdump could all be in the sockets' buffers.
    for client in clients do
        client.Send "lru_crawler metadump all\r\n"
        client.Receive 100 |> ignore

    use other = new Client(served.Port)
    other.Expect("lru_crawler mgdump all\r\n", "BUSY currently processing crawler request\r\n")
    other.Expect("lru_crawler metadump hash\r\n", "BUSY currently processing crawler request\r\n")
    other.Expect("stats cachedump 1 0\r\n", "BUSY currently processing crawler request\r\n")
    // What makes no list has no need of a place.
    other.Expect("lru_crawler mgdump 2\r\nlru_crawler crawl 1\r\n", "OK\r\nEN\r\nOK\r\n")
    readList clients[0] "END\r\n" 65536 ignore |> ignore
    other.Send "lru_crawler mgdump all\r\n"
    let keys = keysOf (readList other "EN\r\n" 65536 ignore)
    Expect.equal keys.Length manyCount "the place of a finished list is free"

    for client in clients do
        (client :> IDisposable).Dispose()

    awaitNoHolds served
    use last = new Client(served.Port)
    last.Send "lru_crawler mgdump all\r\n"
    Expect.equal (keysOf (readList last "EN\r\n" 65536 ignore)).Length manyCount "so are those of closed connections"

let private damage (setting: Setting) =
    use served = new Served(setting)
    fill served (seq { 0 .. manyCount - 1 })
    served.Store.Flush()

    for table in Directory.GetFiles(served.Folder, "*.sst") do
        use file = File.Open(table, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)
        file.Seek(file.Length / 2L, SeekOrigin.Begin) |> ignore
        file.Write(Array.create 100 255uy, 0, 100)

    use client = new Client(served.Port)
    client.Send "lru_crawler metadump all\r\nversion\r\n"
    let finish = "SERVER_ERROR the stored keys cannot be read, see the server's log\r\nVERSION 1.2.3\r\n"
    let keys = keysOf (readList client finish 65536 ignore)

    Expect.isTrue
        (keys.Length < manyCount && Array.forall2 (=) keys (Array.init keys.Length keyOf))
        "keys before the damage"

    awaitNoHolds served

let private stop (setting: Setting) =
    use served = new Served(setting)
    fill served (seq { 0 .. manyCount - 1 })
    use client = new Client(served.Port)
    client.Send "lru_crawler metadump all\r\n"
    client.Receive 100 |> ignore
    let watch = Stopwatch.StartNew()
    served.Server.StopAsync().Wait()
    Expect.isLessThan watch.ElapsedMilliseconds 20_000L "milliseconds that a stop takes"
    Expect.equal served.Store.Statistics.Holds.Count 0 "no snapshot is held when the server has stopped"

[<Tests>]
let tests =
    testSequenced
    <| testList "KeyDump" [
        everywhere "keys are listed in order, and what follows is answered behind them" conversation
        onTransports "a list read slowly has exactly the keys of its moment, and costs others nothing" slowReader
        onTransports "a cachedump ends at its limit" cachedump
        everywhere "what the operator forbids is refused" restricted
        onTransports "four lists at a time, and a place is free as soon as its list ends" busy
        onTransports "a list that meets damage does not end as a whole one does" damage
        onTransports "a stop ends a list that is not read" stop
    ]
