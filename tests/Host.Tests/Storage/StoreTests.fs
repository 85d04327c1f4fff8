module LsmFs.Host.Tests.StoreTests

open System
open System.Collections.Generic
open System.IO
open System.Text
open System.Threading
open Expecto
open Expecto.Flip
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders

let private key (number: int) = Encoding.ASCII.GetBytes $"key {number:D4}"

/// What happens to a store on disk.
type private Step =
    | Write of (int * byte[] option) list
    | Flush
    | Reopen

let private stepGen: Gen<Step> =
    let value =
        Gen.choose (0, 300)
        |> Gen.bind (fun length -> Gen.arrayOfLength length (Gen.choose (0, 255) |> Gen.map byte))

    let write = Gen.zip (Gen.choose (0, 60)) (Gen.frequency [ 1, Gen.constant None; 4, Gen.map Some value ])

    Gen.frequency [
        12, Gen.listOf write |> Gen.resize 30 |> Gen.map Write
        2, Gen.constant Flush
        2, Gen.constant Reopen
    ]

let private apply (store: Store) (writes: (int * byte[] option) list) =
    let batch = WriteBatch()

    for number, value in writes do
        match value with
        | Some bytes -> batch.Put(key number, bytes) |> ignore
        | None -> batch.Delete(key number) |> ignore

    store.Write batch

let private readsLike (expected: Map<int, byte[]>) (store: Store) =
    for number in 0..61 do
        store.Get(key number) |> Option.ofObj |> Expect.equal $"key {number}" (Map.tryFind number expected)

/// Adds one to a counter by reading it and writing it again, as `incr` does.
[<Sealed>]
type private Increment(key: byte[]) =
    inherit Submission()
    let isDone = new ManualResetEventSlim false
    let mutable refusal: string | null = null
    member _.Wait() = isDone.Wait()
    member _.Refusal = refusal

    override _.Execute context =
        let mutable entry = Unchecked.defaultof<Entry>

        let current =
            if context.Find(key, &entry) = LookupOutcome.Found then
                Int32.Parse(Encoding.ASCII.GetString entry.Value)
            else
                0

        // Padded, so that a memtable is full after a few of them.
        let value = Encoding.ASCII.GetBytes((current + 1).ToString().PadLeft 200)
        context.Put(key, value, ReadOnlySpan<byte>.Empty, 0u, 0u, 0UL) |> ignore

    override _.Completed outcome =
        refusal <- outcome.Refusal
        isDone.Set()

/// Removes a key, and makes no object.
[<Sealed>]
type private Removal(key: byte[]) =
    inherit Submission()
    override _.Execute context = context.Delete key
    override _.Completed _ = ()

let private counterOf (store: Store) (key: byte[]) =
    match store.Get key with
    | null -> 0
    | digits -> Int32.Parse(Encoding.ASCII.GetString digits)

let private names (folder: string) = Directory.GetFiles folder |> Array.map (Path.GetFileName >> string) |> List.ofArray

[<Tests>]
let tests =
    testList "Store" [
        for durability in [ Durability.Sync; Durability.Os; Durability.Memory ] do
            testPropertyWithConfig
                { FsCheckConfig.defaultConfig with maxTest = 25; endSize = 30 }
                $"reads like a map through flushes, compactions and reopenings, durability {durability}"
                (Prop.forAll (Arb.fromGen (Gen.listOf stepGen)) (fun steps ->
                    withFolder (fun folder ->
                        let mutable store = openWith durability TimeProvider.System folder
                        let mutable expected = Map.empty

                        try
                            for step in steps do
                                match step with
                                | Write writes ->
                                    apply store writes

                                    expected <-
                                        writes
                                        |> List.fold
                                            (fun map (number, value) -> Map.change number (fun _ -> value) map)
                                            expected
                                | Flush -> store.Flush()
                                | Reopen ->
                                    store.Dispose()
                                    store <- openWith durability TimeProvider.System folder

                                readsLike expected store
                        finally
                            store.Dispose()

                        true)))

        testCase "all that a commit allocates is one object of 56 bytes" (fun () ->
            withFolder (fun folder ->
                // Without a log whoever submits commits.
                use store = openSized (Options.ofBudget (64L <<< 20)) 1 Durability.Memory TimeProvider.System folder

                let removal = Removal "key"B
                let commitCount = 1000

                let round () =
                    let before = GC.GetAllocatedBytesForCurrentThread()

                    for _ in 1..commitCount do
                        store.Submit removal

                    GC.GetAllocatedBytesForCurrentThread() - before

                // A round may also have the runtime compile something, or the memtable take a chunk; the least has only what commits make.
                List.min [ for _ in 1..20 -> round () ] |> Expect.equal "bytes" (56L * int64 commitCount)))

        testCase "a write sees what was just frozen" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder

                for _ in 1..2000 do
                    let increment = Increment "counter"B
                    store.Submit increment
                    increment.Wait()
                    increment.Refusal |> Expect.isNull "accepted"

                counterOf store "counter"B |> Expect.equal "every increment counted" 2000

                store.Statistics.FlushCount
                |> fun count -> Expect.isGreaterThan "memtables were flushed meanwhile" (count, 10L)))

        testCase "increments of many threads all count, readers never see one go back" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder
                let keys = [| for number in 0..3 -> key number |]
                let stop = new CancellationTokenSource()
                let faults = List<string>()

                let reader () =
                    use reader = store.CreateReader()
                    let last = Array.zeroCreate<int> keys.Length

                    while not stop.IsCancellationRequested do
                        for index in 0 .. keys.Length - 1 do
                            let mutable entry = Unchecked.defaultof<Entry>
                            reader.Enter()

                            if reader.Find(keys[index], 1u, &entry) = LookupOutcome.Found then
                                let count = Int32.Parse(Encoding.ASCII.GetString entry.Value)

                                if count < last[index] then
                                    lock faults (fun () ->
                                        faults.Add $"key {index} went from {last[index]} to {count}")

                                last[index] <- count
                            elif last[index] > 0 then
                                lock faults (fun () -> faults.Add $"key {index} was lost")

                            reader.Exit()

                let writer () =
                    for round in 1..500 do
                        let increment = Increment keys[round % keys.Length]
                        store.Submit increment
                        increment.Wait()

                let start (body: unit -> unit) =
                    let thread = Thread(body)
                    thread.Start()
                    thread

                let readers = List.init 2 (fun _ -> start reader)
                let writers = List.init 4 (fun _ -> start writer)
                writers |> List.iter _.Join()
                stop.Cancel()
                readers |> List.iter _.Join()
                faults |> Expect.isEmpty "what readers saw"
                keys |> Array.sumBy (counterOf store) |> Expect.equal "the sum" 2000))

        testCase "a constant load of overwrites keeps the store bounded" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder

                for round in 1..400 do
                    apply store [ for number in 0..19 -> number, Some(Array.create 100 (byte round)) ]

                store.Flush()
                let liveBytes = 20L * 130L
                let isSettled () = Seq.sum store.Statistics.TableBytes < liveBytes * 8L

                SpinWait.SpinUntil(isSettled, TimeSpan.FromSeconds 60.0)
                |> Expect.isTrue "the tables shrink to what is live"

                store.Statistics.CompactionCount |> fun count -> Expect.isGreaterThan "by compaction" (count, 0L)
                Expect.isLessThan "and the files with them" ((names folder).Length, 60)))

        testCase "a client that does nothing but flush_all does not make the log grow for ever" (fun () ->
            withFolder (fun folder ->
                (use store = openStore folder
                 apply store [ 1, Some "one"B ]

                 for _ in 1..12_000 do
                     let flush = DiskScript.Writes [ DiskScript.FlushAll ]
                     store.Submit flush
                     flush.Wait() |> Expect.isNone "accepted"

                 // A log may be deleted between its listing and the look at its length: then none of it is left.
                 let lengthOf (log: string) =
                     try
                         FileInfo(log).Length
                     with :? FileNotFoundException ->
                         0L

                 let logBytes () = Directory.GetFiles(folder, "*.wal") |> Array.sumBy lengthOf

                 // The one that is written has taken space ahead.
                 SpinWait.SpinUntil((fun () -> logBytes () < 40_000L + 70_000L), TimeSpan.FromSeconds 30.0)
                 |> Expect.isTrue "the logs stay short"

                 apply store [ 2, Some "two"B ])

                use store = openStore folder
                store.Get(key 1) |> Expect.isNull "flushed"
                store.Get(key 2) |> Expect.equal "written after it" "two"B))

        testCase
            "the longest keys, and values larger than a memtable and a table, go through every level and a restart"
            (fun () ->
                withFolder (fun folder ->
                    let longKey (number: int) =
                        Array.append (Array.create 65531 (byte 'k')) (BitConverter.GetBytes number)

                    let value (number: int) = Array.create (20_000 + number) (byte number)

                    let check (store: Store) =
                        for number in 0..19 do
                            store.Get(longKey number) |> Expect.equal $"key {number}" (value number)

                    (use store = openStore folder

                     for _ in 1..2 do
                         for number in 0..19 do
                             store.Write(WriteBatch().Put(longKey number, value number))

                     store.Flush()
                     check store)

                    use store = openStore folder
                    check store

                    SpinWait.SpinUntil((fun () -> (nextPlan store).IsNone), 60_000) |> Expect.isTrue "compacted"

                    check store))

        testCase "items are counted once each, in memory at once, and in tables soon" (fun () ->
            withFolder (fun folder ->
                let soon (store: Store) (expected: int64) (what: string) =
                    SpinWait.SpinUntil((fun () -> store.CountItems() = expected), 60_000) |> Expect.isTrue what

                let large = Options.ofBudget (64L <<< 20)

                (use store = openSized large 3 Durability.Os TimeProvider.System folder
                 store.CountItems() |> Expect.equal "nothing" 0L

                 for round in 1..10_000 do
                     apply store [ for number in 1..5 -> number, Some(BitConverter.GetBytes round) ]

                 store.CountItems() |> Expect.equal "five keys, overwritten" 5L
                 apply store [ 1, None; 9, None ]
                 store.CountItems() |> Expect.equal "one of them deleted, and one that was not there" 4L)

                (use store = openSized large 3 Durability.Os TimeProvider.System folder
                 store.CountItems() |> Expect.equal "after a restart" 4L
                 store.Flush()
                 soon store 4L "in a table"
                 apply store [ 1, Some "1"B; 2, Some "2"B; 3, None ]
                 soon store 4L "over a table")

                use store = openSized large 3 Durability.Os TimeProvider.System folder
                let flush = DiskScript.Writes [ DiskScript.FlushAll ]
                store.Submit flush
                flush.Wait() |> Expect.isNone "accepted"
                soon store 0L "all flushed"
                apply store [ 7, Some "7"B ]
                soon store 1L "one written after"))

        testCase "one store, one process: a second open is refused in one line" (fun () ->
            withFolder (fun folder ->
                use _store = openStore folder

                let message =
                    try
                        (openStore folder).Dispose()
                        "opened"
                    with :? StoreException as refused ->
                        refused.Message

                message
                |> Expect.equal
                    "the message"
                    $"the data folder {folder} is in use by another process; stop it or choose another folder with --data"))

        testCase "without a log a clean stop keeps everything, and there is no log" (fun () ->
            withFolder (fun folder ->
                (use store = openWith Durability.Memory TimeProvider.System folder
                 apply store [ 1, Some "one"B ])

                names folder |> List.filter (fun name -> name.EndsWith ".wal") |> Expect.isEmpty "logs"
                use store = openStore folder
                store.Get(key 1) |> Expect.equal "the value" "one"B))

        testCase "a crash's leftovers are removed, other files are left alone" (fun () ->
            withFolder (fun folder ->
                (use store = openStore folder
                 apply store [ 1, Some "one"B ])

                for name in [ "000099.sst"; "MANIFEST-000098"; "CURRENT.tmp"; "notes.txt" ] do
                    File.WriteAllText(Path.Combine(folder, name), "left")

                use store = openStore folder
                store.Get(key 1) |> Expect.equal "the value" "one"B
                let left = names folder
                Expect.isFalse "the table" (List.contains "000099.sst" left)
                Expect.isFalse "the manifest" (List.contains "MANIFEST-000098" left)
                Expect.isFalse "the temporary file" (List.contains "CURRENT.tmp" left)
                Expect.isTrue "somebody's notes" (List.contains "notes.txt" left)))
    ]
