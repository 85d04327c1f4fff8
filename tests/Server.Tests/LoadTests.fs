/// More data than memory, and what a store does while it moves data from memory to tables.
module LsmFs.Server.Tests.LoadTests

open System
open System.Diagnostics
open System.IO
open System.Text
open System.Threading
open Expecto

let private keyCount = 300_000
let private valueLength = 100
let private keysPerRetrieval = 100

// Spread over the key space, so that every table overlaps every other one before compaction.
let private keyOf (index: int) : string = $"key:{uint32 index * 2654435761u:x8}:{index}"

let private valueOf (index: int) : byte[] =
    let bytes: byte[] = Array.zeroCreate valueLength
    Random(index).NextBytes bytes
    bytes

/// Stores the first keys, as many as `count`.
let private fill (port: int) (count: int) : unit =
    use client = new TextClient(port)

    for indexes in Seq.chunkBySize 1000 (seq { 0 .. count - 1 }) do
        use bytes = new MemoryStream()

        for index in indexes do
            bytes.Write(ReadOnlySpan(TextClient.Bytes $"set {keyOf index} {index} 0 {valueLength} noreply\r\n"))
            bytes.Write(ReadOnlySpan(valueOf index))
            bytes.Write(ReadOnlySpan "\r\n"B)

        client.Send(bytes.ToArray())

    Expect.stringStarts (client.Ask "version") "VERSION " "the writes before it are done"

let private readAll (port: int) : unit =
    use client = new TextClient(port)

    for indexes in Seq.chunkBySize keysPerRetrieval (seq { 0 .. keyCount - 1 }) do
        let keys = indexes |> Array.map keyOf
        client.Send("get " + String.Join(' ', keys) + "\r\n")
        let items = client.ReadItems()

        if items.Length <> keys.Length then
            failtest $"{keys.Length - items.Length} of {keys.Length} keys are missing"

        for index, item in Seq.zip indexes items do
            if item.Key <> keyOf index || item.Flags <> uint32 index || item.Value <> valueOf index then
                failtest $"key {keyOf index} is wrong"

let private areInSeveralLevels (folder: string) : bool =
    (DataFiles.tableCounts folder |> List.filter ((<) 0) |> List.length) > 1

/// Everything may have moved to one level when compaction keeps up. Overwrites, more than a memtable of them each time, put tables above it again.
let private spreadOverLevels (server: ServerProcess) (folder: string) : unit =
    let mutable round = 0

    while round < 8 && not (areInSeveralLevels folder) do
        fill server.Port 20_000
        SpinWait.SpinUntil((fun () -> areInSeveralLevels folder), TimeSpan.FromSeconds 1.0) |> ignore
        round <- round + 1

let private largerThanMemory () : unit =
    use folder = new TemporaryFolder()
    let watch = Stopwatch.StartNew()

    do
        use server = ServerProcess.Start(folder.Path, "-m", "8", "--durability", "os")
        fill server.Port keyCount
        server.StopCleanly()

    let filled = watch.Elapsed
    use server = ServerProcess.Start(folder.Path, "-m", "8")
    let opened = watch.Elapsed
    readAll server.Port
    let read = watch.Elapsed
    spreadOverLevels server folder.Path
    let levels = DataFiles.tableCounts folder.Path
    readAll server.Port

    printfn
        $"larger than memory: {keyCount} keys written in {filled.TotalSeconds:F1} s, opened in {(opened - filled).TotalMilliseconds:F0} ms, \
read in {(read - opened).TotalSeconds:F1} s, {server.ResidentBytes >>> 20} MiB resident, tables by level %A{levels}"

    Expect.isGreaterThan (levels |> List.filter ((<) 0) |> List.length) 1 $"tables are in several levels: {levels}"
    server.StopCleanly()

/// Every freeze of a memtable comes between two commands that need what is in it.
let private commandsAcrossFreezes () : unit =
    use folder = new TemporaryFolder()
    use server = ServerProcess.Start(folder.Path, "-m", "8", "--durability", "os")
    use client = new TextClient(server.Port)
    let filler: byte[] = Array.zeroCreate 100_000
    client.Store("set counter 0 0", "0") |> ignore
    client.Store("set joined 0 0", "+") |> ignore

    for round in 1..200 do
        Expect.equal (client.Store($"set filler-{round} 0 0", filler)) "STORED" "the filler"
        Expect.equal (client.Ask "incr counter 1") (string round) "the counter"
        Expect.equal (client.Store("append joined 0 0", "+")) "STORED" "append"
        Expect.equal (client.Store($"add filler-{round} 0 0", "x")) "NOT_STORED" "add to what is there"

        match client.TryGet "joined" with
        | None -> failtest "the joined value is gone"
        | Some item ->
            let value = Encoding.Latin1.GetString item.Value
            Expect.equal value.Length (round + 1) "the joined value"

            Expect.equal
                (client.Ask $"cas joined 0 0 {value.Length} {item.Cas}\r\n{value}")
                "STORED"
                "cas of what is there"

[<Tests>]
let tests =
    testSequenced
    <| testList "Load" [
        testCase "more data than memory is there after a restart, in tables of several levels" largerThanMemory
        testCase "commands see what was in memory a moment ago while it moves to tables" commandsAcrossFreezes
    ]
