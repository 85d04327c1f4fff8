/// What no client should send: the server answers or closes, serves everybody else meanwhile and afterwards, and does not grow.
module LsmFs.Server.Tests.BadInputTests

open System
open System.IO
open System.Net.Sockets
open System.Text
open System.Threading
open Expecto

// Above the memory of an idle server, whatever a client sends: buffers, garbage of a collection that has not run yet.
let private growthBytesMax = 96L <<< 20

let private isServed (server: ServerProcess) : unit =
    use client = new TextClient(server.Port)
    Expect.equal (client.Store("set served 5 0", "as usual")) "STORED" "a second client writes"
    Expect.equal (client.TryGetText "served") (Some "as usual") "a second client reads"

/// A server of its own for each test; somebody else is served while the misbehaving client is connected, and after it has left.
let private misbehaving (name: string) (body: TextClient -> unit) : Test =
    testCase name
    <| fun () ->
        use folder = new TemporaryFolder()
        use server = ServerProcess.Start(folder.Path, "-m", "8", "-t", "2", "--durability", "os")
        isServed server
        let residentBytes = server.ResidentBytes

        do
            use client = new TextClient(server.Port)
            body client
            isServed server

        isServed server
        Expect.isLessThan (server.ResidentBytes - residentBytes) growthBytesMax "growth in bytes"

        Expect.isFalse
            (server.Errors |> List.exists (fun line -> line.Contains " error: "))
            $"no internal error: {server.Errors}"

        server.StopCleanly()

/// Sends until the server closes, if it does.
let private sendWhatItTakes (client: TextClient) (bytes: byte[]) : bool =
    try
        client.Send bytes
        true
    with :? IOException ->
        false

let private isInStep (client: TextClient) (what: string) =
    Expect.stringStarts (client.Ask "version") "VERSION " $"{what}: the connection goes on"

let private randomBytes (seed: int) (client: TextClient) =
    let random = Random seed
    let bytes: byte[] = Array.zeroCreate 300_000
    random.NextBytes bytes
    // Some of them look like commands for a while.
    let words = [| "get "; "set k 0 0 5\r\n"; "\r\n"; "incr k 1\r\n"; "cas k 0 0 2 9\r\n"; " noreply"; "gat 1 k" |]

    for _ in 1..2000 do
        let word = TextClient.Bytes words[random.Next words.Length]
        Buffer.BlockCopy(word, 0, bytes, random.Next(bytes.Length - word.Length), word.Length)

    sendWhatItTakes client bytes |> ignore

let private longLine (client: TextClient) =
    sendWhatItTakes client (Array.create (1 <<< 20) (byte 'a')) |> ignore
    client.ReadToEnd() |> ignore

let private longRetrievalLine (client: TextClient) =
    // A retrieval may be long, but not for ever.
    let isOpen = sendWhatItTakes client (Array.append "get "B (Array.create (20 <<< 20) (byte 'a')))
    Expect.isTrue (not isOpen || client.ReadToEnd().Length < 1000) "the server closes"

let private wrongLengths (client: TextClient) =
    for length in [ "-1"; "-2147483648"; "2147483648"; "4294967296"; "99999999999999999999"; "0x10"; "1.5"; "" ] do
        client.Send $"set k 0 0 {length}\r\n"
        let line = client.ReadLine()
        Expect.isTrue (line.StartsWith "CLIENT_ERROR" || line.StartsWith "ERROR") $"length '{length}': {line}"
        isInStep client $"length '{length}'"

let private wrongTerminator (client: TextClient) =
    Expect.equal (client.Store("set k 0 0", "value")) "STORED" "before"
    client.Send "set k 0 0 3\r\nabcdef\r\n"
    Expect.equal (client.ReadLine()) "CLIENT_ERROR bad data chunk" "the answer"
    client.Send "\r\nmn-is-the-end\r\nversion\r\n"
    let mutable line = client.ReadLine()

    while line.StartsWith "ERROR" || line.StartsWith "CLIENT_ERROR" do
        line <- client.ReadLine()

    Expect.stringStarts line "VERSION " "the connection goes on"
    Expect.notEqual (client.TryGetText "k") (Some "abc") "the value without its end is not stored"

let private controlBytes (client: TextClient) =
    for control in [ 0; 1; 7; 9; 11; 27; 31; 127; 128; 255 ] do
        client.Send $"set k{char control}x 0 0 1\r\nv\r\n"
        let line = client.ReadLine()

        if line = "STORED" then
            client.Send $"get k{char control}x\r\n"
            let items = client.ReadItems()
            Expect.equal (items |> List.map _.Key) [ $"k{char control}x" ] $"key with byte {control}"
        else
            Expect.isTrue (line.StartsWith "CLIENT_ERROR" || line = "ERROR") $"key with byte {control}: {line}"

    isInStep client "control bytes"

let private manyKeys (client: TextClient) =
    Expect.equal (client.Store("set key-5000 0 0", "here")) "STORED" "one of them"
    let keys = [ 1..10_000 ] |> List.map (fun index -> $"key-{index}")
    client.Send("get " + String.Join(' ', keys) + "\r\n")
    Expect.equal (client.ReadItems() |> List.map _.Key) [ "key-5000" ] "the one that is there"

    // The same value 10,000 times, to a client that takes its time: the server must not hold them all.
    let value = String('v', 50_000)
    Expect.equal (client.Store("set big 0 0", value)) "STORED" "a large value"
    client.Send("get " + String.Join(' ', List.replicate 10_000 "big") + "\r\n")
    Thread.Sleep 500
    let mutable read = 0

    while read < 10_000 do
        Expect.equal (client.ReadLine()) "VALUE big 0 50000" "a value"
        client.ReadBytes 50_002 |> ignore
        read <- read + 1

    Expect.equal (client.ReadLine()) "END" "the end"

let private hugeValue (client: TextClient) =
    client.Send "set huge 0 0 2147483000\r\n"
    Expect.equal (client.ReadLine()) "SERVER_ERROR object too large for cache" "the answer, before the value"
    let piece: byte[] = Array.zeroCreate (1 <<< 20)

    for _ in 1..200 do
        client.Send piece

let private manyLargeValuesUnread (client: TextClient) =
    // Answers that nobody reads: the server stops reading, not counting.
    let value = String('v', 500_000)
    Expect.equal (client.Store("set big 0 0", value)) "STORED" "a large value"

    let sending =
        Tasks.Task.Run(fun () ->
            let requests = TextClient.Bytes(String.replicate 1000 "get big\r\n")

            for _ in 1..20 do
                sendWhatItTakes client requests |> ignore)

    sending.Wait 1000 |> ignore

let private halfValuesOfManyClients (port: int) =
    let clients = [
        for index in 1..100 do
            let client = new TextClient(port)
            client.Send $"set half-{index} 0 0 1000000\r\n"
            client
    ]

    let piece: byte[] = Array.zeroCreate 1000

    for client in clients do
        client.Send piece

    clients

[<Tests>]
let tests =
    testSequenced
    <| testList "Bad input" [
        for seed in 1..3 do
            misbehaving $"random bytes, seed {seed}" (randomBytes seed)

        misbehaving "half a command, then silence" (fun client ->
            client.Send "set half 0 0 1000\r\nonly this mu"
            Thread.Sleep 300)

        misbehaving "half a line, then silence" (fun client ->
            client.Send "get hal"
            Thread.Sleep 300)

        misbehaving "a line of 1 MiB without an end" longLine
        misbehaving "a retrieval of 20 MiB without an end" longRetrievalLine
        misbehaving "lengths that are none" wrongLengths
        misbehaving "a value with a wrong end" wrongTerminator
        misbehaving "keys with control bytes" controlBytes
        misbehaving "10,000 keys in a retrieval" manyKeys
        misbehaving "a value of 2 GiB, announced and partly sent" hugeValue
        misbehaving "answers that nobody reads" manyLargeValuesUnread

        testCase "a hundred clients with half a value each" (fun () ->
            use folder = new TemporaryFolder()
            use server = ServerProcess.Start(folder.Path, "-m", "8", "-t", "2", "--durability", "os")
            isServed server
            let residentBytes = server.ResidentBytes
            let clients = halfValuesOfManyClients server.Port
            isServed server

            Expect.isLessThan
                (server.ResidentBytes - residentBytes)
                growthBytesMax
                "what is announced is not allocated"

            clients |> List.iter (fun client -> (client :> IDisposable).Dispose())
            isServed server
            server.StopCleanly())
    ]
