/// A server on a disk whose reads the test holds back.
module LsmFs.Host.Tests.DiskReadTests

open System
open System.Collections.Concurrent
open System.IO
open System.Net
open System.Net.Sockets
open System.Threading
open System.Threading.Tasks
open Expecto
open Expecto.Flip
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests
open LsmFs.Host.Tests.Served
open LsmFs.Simulation

/// A store with the keys k0000 to k0999 in a table, none of it in the cache, and nothing in the page cache.
type ColdServer(setting: Setting, cacheSizeBytes: int64) =
    let disk = SimulatedDisk()
    let gate = new ManualResetEventSlim true
    let reads = ConcurrentQueue<DiskOperation>()
    let mutable failure: exn option = None

    let store =
        Store.Open(
            StoreOptions(
                DataFolder = "/simulated",
                Durability = setting.Durability,
                FileSystem = disk.FileSystem,
                EngineOptions = {
                    Options.ofBudget (64L <<< 20) with
                        BlockSizeBytes = 512
                        // A partition for each data block, so that other keys need other blocks, and each key two.
                        PartitionSizeBytes = 1
                        CacheSizeBytes = cacheSizeBytes
                }
            ),
            NullLogger.Instance
        )

    do
        let batch = WriteBatch()

        for number in 0..999 do
            batch.Put(ReadOnlySpan<byte>(ascii $"k%04d{number}"), ReadOnlySpan<byte>(ascii $"%06d{number}"))
            |> ignore

        store.Write batch
        store.Flush()
        disk.IsCold <- true
        let table = disk.Image.Names |> Seq.find (fun name -> name.EndsWith ".sst")

        disk.FailWith(fun operation ->
            if operation.Kind = "read" && operation.File = table then
                reads.Enqueue operation
                gate.Wait()
                failure
            else
                None)

    let server = start { setting with ThreadCount = 1; ConnectionCountMax = 100 } unrestricted store

    member _.Store = store
    member _.Server = server
    member _.Disk = disk
    member _.Connect() = new Client(server.EndPoints[0].Port)

    /// From here on reads of the table wait.
    member _.Hold() = gate.Reset()
    member _.LetGo() = gate.Set()

    /// Reads of the table that have begun.
    member _.ReadCount = reads.Count

    member _.FailWith error = failure <- error

    /// Returns when this many reads of the table have begun.
    member server.AwaitReads(count: int) =
        Expect.isTrue
            $"%d{count} reads should have begun, %d{server.ReadCount} have"
            (SpinWait.SpinUntil((fun () -> server.ReadCount >= count), 30_000))

    interface IDisposable with
        member _.Dispose() =
            gate.Set()
            server.StopAsync().Wait()
            store.Dispose()

let cold (setting: Setting) = new ColdServer(setting, 16L <<< 20)

let private value (number: int) = $"VALUE k%04d{number} 0 6\r\n%06d{number}\r\n"

let private othersGoOn (setting: Setting) =
    use server = cold setting
    use waiting = server.Connect()
    use other = server.Connect()
    server.Hold()
    waiting.Send "get k0001\r\n"
    server.AwaitReads 1
    // The one loop there is answers others: from memory, with writes, and about keys that no block has.
    other.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")
    other.Expect("get a\r\nversion\r\n", "VALUE a 0 1\r\nx\r\nEND\r\nVERSION 1.2.3\r\n")
    other.Expect("incr none 1\r\n", "NOT_FOUND\r\n")
    Expect.equal "bytes for the one who waits" 0 waiting.Socket.Available
    server.LetGo()
    Expect.equal "his answer" (value 1 + "END\r\n") (text (waiting.Receive(value(1).Length + 5)))

let private pipeline (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()

    client.Send(
        "set a 0 0 1\r\nx\r\nget a\r\nget k0500\r\nset b 0 0 1 noreply\r\ny\r\nget b k0900 b\r\nincr k0001 1\r\nget k0001\r\nnonsense\r\n"
    )

    server.AwaitReads 1
    let before = "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    Expect.equal "what comes before the miss" before (text (client.Receive before.Length))
    Expect.equal "what comes behind it" 0 client.Socket.Available
    server.LetGo()
    let b = "VALUE b 0 1\r\ny\r\n"

    let after =
        value 500
        + "END\r\n"
        + b
        + value 900
        + b
        + "END\r\n2\r\nVALUE k0001 0 6\r\n2     \r\nEND\r\nERROR\r\n"

    Expect.equal "the rest, in order" after (text (client.Receive after.Length))

let private metaPipeline (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()

    client.Send(
        "ms a 1\r\nx\r\nmg a v\r\nmg k0500 v k O1\r\nms b 1 q\r\ny\r\nmg b v\r\nmg k0900 T100 t\r\nma k0001 v\r\n"
        + "md k0300 I\r\nmg k0300 s\r\nmg k0700 N30 s\r\nmg none q\r\nmn\r\n"
    )

    server.AwaitReads 1
    let before = "HD\r\nVA 1\r\nx\r\n"
    Expect.equal "what comes before the miss" before (text (client.Receive before.Length))
    Expect.equal "what comes behind it" 0 client.Socket.Available
    server.LetGo()

    let after =
        "VA 6 kk0500 O1\r\n000500\r\nVA 1\r\ny\r\nHD t100\r\nVA 1\r\n2\r\nHD\r\nHD s6 X W\r\nHD s6\r\nMN\r\n"

    Expect.equal "the rest, in order" after (text (client.Receive after.Length))

let private manyKeys (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()
    // Keys far apart: each in a block of its own.
    let numbers = [ 0..100..900 ]
    let keys = numbers |> List.map (fun number -> $"k%04d{number}") |> String.concat " "
    client.Send $"get %s{keys}\r\n"
    // All of them are read at once: none of these reads ends before the last has begun.
    server.AwaitReads numbers.Length
    server.LetGo()
    let expected = (numbers |> List.map value |> String.concat "") + "END\r\n"
    Expect.equal "all values in order" expected (text (client.Receive expected.Length))
    let reads = server.ReadCount
    client.Expect($"gat 0 %s{keys}\r\n", expected)
    Expect.equal "reads for what is in the cache" reads server.ReadCount

let private manyMetaGets (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()
    let numbers = [ 0..100..900 ]

    let lines = [ for number in numbers -> $"mg k%04d{number} v O%d{number}\r\n" ]

    client.Send(String.concat "" lines + "mn\r\n")
    // None of these reads ends before the last has begun.
    server.AwaitReads numbers.Length
    server.LetGo()

    let expected =
        String.concat "" [ for number in numbers -> $"VA 6 O%d{number}\r\n%06d{number}\r\n" ] + "MN\r\n"

    Expect.equal "all values in order" expected (text (client.Receive expected.Length))

let private joined (setting: Setting) =
    use server = cold setting
    let clients = [| for _ in 1..10 -> server.Connect() |]
    server.Hold()

    for client in clients do
        client.Send "get k0300\r\n"

    server.AwaitReads 1
    // By the time this is answered the loop has most likely come to the others, too.
    use other = server.Connect()
    other.Expect("version\r\n", "VERSION 1.2.3\r\n")
    server.LetGo()

    for client in clients do
        let expected = value 300 + "END\r\n"
        Expect.equal "the value" expected (text (client.Receive expected.Length))
        client.Socket.Dispose()

    Expect.isLessThan "blocks read for ten connections" (server.Store.Statistics.AwaitedReadCount, 10L)

let private writesWait (setting: Setting) =
    use server = cold setting
    use waiting = server.Connect()
    use other = server.Connect()
    let mutable number = 0

    for request, reply in
        [
            "incr {0} 1\r\n", "{1}"
            "append {0} 0 0 1\r\nx\r\n", "STORED\r\n"
            "prepend {0} 0 0 1\r\nx\r\n", "STORED\r\n"
            "cas {0} 0 0 1 1\r\nx\r\n", "EXISTS\r\n"
            "add {0} 0 0 1\r\nx\r\n", "NOT_STORED\r\n"
            "replace {0} 0 0 1\r\nx\r\n", "STORED\r\n"
            "ms {0} 1 MA\r\nx\r\n", "HD\r\n"
            "md {0}\r\n", "HD\r\n"
            "ma {0}\r\n", "HD\r\n"
            "mg {0} s\r\n", "HD s6\r\n"
            "mg {0} s T60\r\n", "HD s6\r\n"
            "touch {0} 0\r\n", "TOUCHED\r\n"
            "gat 0 {0}\r\n", "VALUE {0} 0 6\r\n{2}\r\nEND\r\n"
            "delete {0}\r\n", "DELETED\r\n"
        ] do
        number <- number + 70
        let key = $"k%04d{number}"
        let fill (template: string) = String.Format(template, key, $"%d{number + 1}\r\n", $"%06d{number}")
        let before = server.ReadCount
        server.Hold()
        waiting.Send(fill request)
        server.AwaitReads(before + 1)
        other.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")
        Expect.equal $"bytes while %s{request} waits" 0 waiting.Socket.Available
        server.LetGo()
        let reply = fill reply
        Expect.equal (fill request) reply (text (waiting.Receive reply.Length))

    Expect.equal "blocks that commits had to read" 0L server.Store.Statistics.CommitReadCount

let private closedWhileWaiting (setting: Setting) =
    use server = cold setting
    server.Hold()

    for number in 1..5 do
        let client = server.Connect()
        client.Send $"get k%04d{number * 100} k%04d{number * 100 + 50}\r\n"
        server.AwaitReads number
        // Not in order: the server notices although it does not read.
        client.Socket.LingerState <- LingerOption(true, 0)
        client.Socket.Dispose()

    use other = server.Connect()
    other.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")
    server.LetGo()
    other.Expect("get k0100\r\n", value 100 + "END\r\n")

    Expect.isTrue "the closed ones are gone" (SpinWait.SpinUntil((fun () -> server.Server.ConnectionCount = 1), 30_000))

let private halfClosedWhileWaiting (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()
    client.Send "get k0100\r\nversion\r\n"
    client.Socket.Shutdown SocketShutdown.Send
    server.AwaitReads 1
    server.LetGo()
    Expect.equal "everything is answered" (value 100 + "END\r\nVERSION 1.2.3\r\n") (text (client.ReceiveToEnd()))

let private idleWhileWaiting (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    let mebibyte = 1024 * 1024
    let big = String('v', mebibyte)
    client.Expect($"set big 0 0 %d{mebibyte}\r\n%s{big}\r\n", "STORED\r\n")
    server.Hold()
    // More than the socket's buffers take: the loop waits for room, sends, and only then comes to the miss.
    client.Send(String.replicate 20 "get big\r\n" + "get k0100\r\n")
    let replyLength = $"VALUE big 0 %d{mebibyte}\r\n".Length + mebibyte + 2 + 5
    Expect.equal "the large replies" (20 * replyLength) (client.Receive(20 * replyLength).Length)
    server.AwaitReads 1
    Thread.Sleep 100
    let before = server.Server.TurnCount
    Thread.Sleep 500
    // A loop that is told of room again and again makes thousands.
    Expect.isLessThan "turns while there is nothing to do" (server.Server.TurnCount - before, 20L)
    server.LetGo()
    Expect.equal "the value" (value 100 + "END\r\n") (text (client.Receive(value(100).Length + 5)))

let private stoppedWhileWaiting (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()
    client.Send "get k0100\r\nincr k0500 1\r\n"
    server.AwaitReads 1
    let stopped = server.Server.StopAsync()
    server.LetGo()
    Expect.equal "what had arrived is answered" (value 100 + "END\r\n501\r\n") (text (client.ReceiveToEnd()))
    Expect.isTrue "the server stops" (stopped.Wait 10_000)

let private stoppedWithoutDisk (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()
    client.Send "get k0100\r\n"
    server.AwaitReads 1
    // The disk does not come back: the connection is closed at the deadline.
    Expect.isTrue "the server stops" (server.Server.StopAsync().Wait 20_000)
    server.LetGo()

let private unreadable (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.FailWith(Some(IOException "the disk failed" :> exn))
    let error = $"SERVER_ERROR {Connection.Unreadable}\r\n"
    client.Expect("get k0100 k0200\r\n", error)
    client.Expect("incr k0100 1\r\n", error)
    client.Expect("mg k0100 v q\r\nmg k0100 T0\r\nma k0100 q\r\n", error + error + error)
    client.Expect("version\r\n", "VERSION 1.2.3\r\n")
    server.FailWith None
    client.Expect("get k0100\r\n", value 100 + "END\r\n")

let private withoutCache (setting: Setting) =
    // Too small for any block: everything is handed over, and commits read for themselves.
    use server = new ColdServer(setting, 0L)
    use client = server.Connect()
    let keys = [ 0..7..999 ]

    let request = keys |> List.map (fun number -> $"k%04d{number}") |> String.concat " "

    let expected = (keys |> List.map value |> String.concat "") + "END\r\n"
    client.Expect($"get %s{request}\r\n", expected)
    client.Expect("incr k0008 1\r\nget k0008\r\n", "9\r\nVALUE k0008 0 6\r\n9     \r\nEND\r\n")
    Expect.isGreaterThan "blocks that commits had to read" (server.Store.Statistics.CommitReadCount, 0L)

let private compactedMeanwhile (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    use other = server.Connect()
    server.Hold()
    client.Send "get k0100\r\n"
    server.AwaitReads 1
    // A newer value, in a newer table, while the read of the old one is under way.
    other.Expect("set k0100 0 0 3\r\nnew\r\n", "STORED\r\n")
    server.Store.Flush()
    server.LetGo()
    let expected = "VALUE k0100 0 3\r\nnew\r\nEND\r\n"
    Expect.equal "the lookup starts again in the newest snapshot" expected (text (client.Receive expected.Length))

let private randomly (setting: Setting) =
    // A cache of a few blocks, so that they come and go while many wait.
    use server = new ColdServer(setting, 20_000L)
    let random = Random 1

    let work (seed: int) () =
        use client = server.Connect()
        let random = Random seed

        for _ in 1..60 do
            let numbers = [ for _ in 0 .. random.Next 5 -> random.Next 1000 ]
            let keys = numbers |> List.map (fun number -> $"k%04d{number}") |> String.concat " "
            let verb = if random.Next 3 = 0 then "gat 0" else "get"
            let own = $"own%d{seed}"

            client.Expect(
                $"%s{verb} %s{keys}\r\nset %s{own} 0 0 1\r\n1\r\nincr %s{own} 1\r\n",
                (numbers |> List.map value |> String.concat "") + "END\r\nSTORED\r\n2\r\n"
            )

    let work = [| for seed in 1..8 -> Task.Factory.StartNew(work seed, TaskCreationOptions.LongRunning) |]

    while not (Task.WaitAll(work, 1)) do
        server.Disk.IsCold <- random.Next 2 = 0

let private readsNowWhatIsThere () =
    Folders.withFolder (fun folder ->
        let path = Path.Combine(folder, "file")
        let bytes: byte[] = Array.init 100_000 byte
        File.WriteAllBytes(path, bytes)
        use file = FileSystem.OfOperatingSystem.OpenRead path

        for offset, length in [ 0, 100_000; 5000, 4096; 99_999, 1 ] do
            let read: byte[] = Array.zeroCreate length

            // Not every file system can tell; what it gives must be right.
            if file.TryReadNow(Span<byte> read, int64 offset) then
                Expect.sequenceEqual "the bytes" (Array.sub bytes offset length) read

        file.TryReadNow(Span<byte>(Array.zeroCreate 2), 99_999L) |> Expect.isFalse "a read past the end")

[<Tests>]
let tests =
    testSequenced
    <| testList "DiskReads" [
        testCase "a read that does not wait gives the file's bytes" readsNowWhatIsThere
        everywhere "other connections are answered while one waits for the disk" othersGoOn
        everywhere "replies of a pipeline keep their order around a miss" pipeline
        everywhere "and so do those of meta commands" metaPipeline
        everywhere "the blocks of a command with many keys are read at once" manyKeys
        everywhere "the blocks of mg lines that follow each other are read at the same time" manyMetaGets
        everywhere "connections that want the same block share its read" joined
        everywhere "writes that need the current value wait like reads" writesWait
        everywhere "a connection may be closed while it waits" closedWhileWaiting
        everywhere "who sends no more is answered all the same" halfClosedWhileWaiting
        onTransports "a connection that waits costs nothing" idleWhileWaiting
        everywhere "a stop waits for reads under way" stoppedWhileWaiting
        onTransports "a stop does not wait for a disk that hangs" stoppedWithoutDisk
        everywhere "a block that cannot be read is an error for its keys, and read again later" unreadable
        everywhere "without any cache every block is handed to its lookup" withoutCache
        everywhere "a read that took long does not bring an old value back" compactedMeanwhile
        everywhere "many connections, few blocks in the cache, and a disk that is now cold, now warm" randomly
    ]
