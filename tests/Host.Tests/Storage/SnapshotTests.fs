module LsmFs.Host.Tests.SnapshotTests

open System
open System.Collections.Generic
open System.IO
open System.Linq
open System.Text
open System.Threading
open Expecto
open Expecto.Flip
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders

let private keyCount = 60

let private key (number: int) = Encoding.ASCII.GetBytes $"key {number:D4}"

let private bytesOf (text: string) = Encoding.ASCII.GetBytes text

/// What happens to a store whose snapshots are held.
type private Step =
    | Write of (int * byte[] option) list
    | Flush
    | FlushAll
    /// Compactions are waited for, so that every table of an older snapshot is likely to be replaced.
    | Settle
    | Hold
    /// The hold with this number ends, counted around the holds there are.
    | Release of int

let private stepGen: Gen<Step> =
    let value =
        Gen.choose (0, 300)
        |> Gen.bind (fun length -> Gen.arrayOfLength length (Gen.choose (0, 255) |> Gen.map byte))

    let write =
        Gen.zip (Gen.choose (0, keyCount - 1)) (Gen.frequency [ 1, Gen.constant None; 4, Gen.map Some value ])

    Gen.frequency [
        12, Gen.listOf write |> Gen.resize 30 |> Gen.map Write
        3, Gen.constant Flush
        1, Gen.constant FlushAll
        1, Gen.constant Settle
        3, Gen.constant Hold
        2, Gen.choose (0, 100) |> Gen.map Release
    ]

let private apply (store: Store) (writes: (int * byte[] option) list) =
    let batch = WriteBatch()

    for number, value in writes do
        match value with
        | Some bytes -> batch.Put(key number, bytes) |> ignore
        | None -> batch.Delete(key number) |> ignore

    store.Write batch

let private flushAll (store: Store) =
    let flush = DiskScript.Writes [ DiskScript.FlushAll ]
    store.Submit flush
    flush.Wait() |> Expect.isNone "accepted"

let private isSettled (store: Store) () = store.Current.Frozen.Length = 0 && (nextPlan store).IsNone

let private settle (store: Store) =
    SpinWait.SpinUntil(isSettled store, TimeSpan.FromSeconds 60.0)
    |> Expect.isTrue "flushed and compacted"

/// Key and value of each item that a walk of the range shows.
let private walk (range: SnapshotRange) : (string * byte[]) list =
    let items = ResizeArray()

    for entry in range do
        items.Add(Encoding.ASCII.GetString entry.Key, entry.Value.ToArray())

    List.ofSeq items

let private itemsOf (expected: Map<int, byte[]>) =
    expected
    |> Map.toList
    |> List.map (fun (number, value) -> Encoding.ASCII.GetString(key number), value)

let private readsLike (expected: Map<int, byte[]>) (snapshot: StoreSnapshot) =
    walk (snapshot.Scan()) |> Expect.equal "a scan" (itemsOf expected)
    let from, until = 17, 43

    walk (snapshot.Scan(key from, key until))
    |> Expect.equal
        "a scan of a range"
        (expected |> Map.filter (fun number _ -> number >= from && number < until) |> itemsOf)

    walk (snapshot.ScanPrefix "key 002"B)
    |> Expect.equal "a scan of a prefix" (expected |> Map.filter (fun number _ -> number / 10 = 2) |> itemsOf)

    for number in 0..7..keyCount do
        snapshot.Get(key number)
        |> Option.ofObj
        |> Expect.equal $"key {number}" (Map.tryFind number expected)

let private tableFiles (folder: string) =
    Directory.GetFiles(folder, "*.sst")
    |> Array.map (Path.GetFileName >> string)
    |> Array.sort
    |> List.ofArray

let private tablesOf (store: Store) =
    Version.tables store.Current.Version
    |> Seq.map (fun (_, table) -> FileName.ofFile (StoreFile.Table table.Number))
    |> Seq.sort
    |> List.ofSeq

/// Nothing waits to be released, and no file is there that the store does not need.
let private isClean (store: Store) (folder: string) () =
    store.Epochs.RetiredCount = 0
    && store.Statistics.Holds.Count = 0
    && store.Statistics.Holds.RetiredCount = 0
    && tableFiles folder = tablesOf store

let private expectClean (store: Store) (folder: string) =
    settle store

    SpinWait.SpinUntil(isClean store folder, TimeSpan.FromSeconds 60.0)
    |> Expect.isTrue $"everything is given back: %A{store.Statistics.Holds}, %A{tableFiles folder}, %A{tablesOf store}"

let private throwsClosed (name: string) (action: unit -> unit) = Expect.throwsT<ObjectDisposedException> name action

[<Tests>]
let tests =
    testList "Snapshots" [
        testPropertyWithConfig
            { FsCheckConfig.defaultConfig with maxTest = 40; endSize = 40 }
            "each hold reads exactly its moment, and leaves nothing behind"
            (Prop.forAll (Arb.fromGen (Gen.listOf stepGen)) (fun steps ->
                withFolder (fun folder ->
                    use store = openStore folder
                    let holds = List<StoreSnapshot * Map<int, byte[]>>()
                    let mutable expected = Map.empty

                    let release index =
                        let snapshot, moment = holds[index]
                        readsLike moment snapshot
                        snapshot.Dispose()
                        holds.RemoveAt index

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
                        | FlushAll ->
                            flushAll store
                            expected <- Map.empty
                        | Settle -> settle store
                        | Hold -> holds.Add(store.CreateSnapshot(), expected)
                        | Release number when holds.Count > 0 -> release (number % holds.Count)
                        | Release _ -> ()

                        for snapshot, moment in holds do
                            readsLike moment snapshot

                    while holds.Count > 0 do
                        release 0

                    expectClean store folder
                    true)))

        testCase "holds of many threads see whole batches while tables come and go" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder
                let stop = new CancellationTokenSource()
                let faults = List<string>()
                apply store [ for number in 0..9 -> number, Some(BitConverter.GetBytes 0) ]

                let valuesIn (snapshot: StoreSnapshot) =
                    snapshot.Scan() |> Seq.map (fun item -> BitConverter.ToInt32(item.Value, 0)) |> List.ofSeq

                let holder () =
                    try
                        while not stop.IsCancellationRequested do
                            use snapshot = store.CreateSnapshot()
                            let first = valuesIn snapshot
                            Thread.Yield() |> ignore
                            let second = valuesIn snapshot

                            if first.Length <> 10 || List.distinct first |> List.length <> 1 || first <> second then
                                lock faults (fun () -> faults.Add $"%A{first}, then %A{second}")
                    with fault ->
                        lock faults (fun () -> faults.Add(string fault))

                let holders = [
                    for _ in 1..3 do
                        let thread = Thread(holder)
                        thread.Start()
                        thread
                ]

                for round in 1..600 do
                    apply store [
                        for number in 0..9 ->
                            number, Some(Array.append (BitConverter.GetBytes round) (Array.zeroCreate 100))
                    ]

                stop.Cancel()
                holders |> List.iter _.Join()
                faults |> Expect.isEmpty "what holders saw"

                store.Statistics.CompactionCount
                |> fun count -> Expect.isGreaterThan "compactions went on" (count, 3L)

                expectClean store folder))

        testCase "a hold keeps what it shows and nothing else" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder

                let overwrite round =
                    apply store [ for number in 0..19 -> number, Some(Array.create 100 (byte round)) ]

                for round in 1..40 do
                    overwrite round

                settle store
                let held = store.CreateSnapshot()
                let heldTables = tablesOf store |> set

                for round in 41..400 do
                    overwrite round

                settle store
                let kept () = set (tableFiles folder) - set (tablesOf store)
                let isReclaimed () = Set.isSubset (kept ()) heldTables

                SpinWait.SpinUntil(isReclaimed, TimeSpan.FromSeconds 60.0)
                |> Expect.isTrue $"the rest is reclaimed: %A{kept ()} are there, %A{heldTables} are held"

                Expect.isFalse "some of its tables were replaced" (kept ()).IsEmpty
                let holds = store.Statistics.Holds
                Expect.equal "one hold" 1 holds.Count

                Expect.isLessThanOrEqual
                    "memtables of its moment"
                    (holds.MemtableBytes, 3L * 3L * tinyOptions.MemtableSizeBytes)

                walk (held.Scan())
                |> List.map (snd >> Array.head)
                |> List.distinct
                |> Expect.equal "its moment" [ 40uy ]

                held.Dispose()
                expectClean store folder))

        testCase "an open cursor keeps its snapshot, which takes no new ones after its end" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder
                apply store [ for number in 0..19 -> number, Some(Array.create 100 1uy) ]
                let snapshot = store.CreateSnapshot()
                let cursor = snapshot.Scan().GetEnumerator()
                cursor.MoveNext() |> Expect.isTrue "the first"
                snapshot.Dispose()
                snapshot.Dispose()
                throwsClosed "a read" (fun () -> snapshot.Get(key 1) |> ignore)
                throwsClosed "a scan" (fun () -> walk (snapshot.Scan()) |> ignore)

                for round in 2..100 do
                    apply store [ for number in 0..19 -> number, Some(Array.create 100 (byte round)) ]

                store.Statistics.Holds.Count |> Expect.equal "held by the cursor" 1

                for number in 1..19 do
                    cursor.MoveNext() |> Expect.isTrue "the next"
                    let entry = cursor.Current
                    entry.Key.ToArray() |> Expect.equal "in order" (key number)
                    entry.Value[0] |> Expect.equal "as it was" 1uy

                cursor.MoveNext() |> Expect.isFalse "the end"
                cursor.Dispose()
                cursor.Dispose()
                throwsClosed "a cursor after its end" (fun () -> cursor.MoveNext() |> ignore)
                expectClean store folder))

        testCase "a closed store ends its snapshots and leaves no file of theirs" (fun () ->
            withFolder (fun folder ->
                let store = openStore folder
                apply store [ for number in 0..19 -> number, Some(Array.create 100 1uy) ]
                store.Flush()
                let snapshot = store.CreateSnapshot()
                use cursor = snapshot.Scan().GetEnumerator()
                cursor.MoveNext() |> Expect.isTrue "the first"

                for round in 2..100 do
                    apply store [ for number in 0..19 -> number, Some(Array.create 100 (byte round)) ]

                settle store
                let tables = tablesOf store
                store.Dispose()
                throwsClosed "a read" (fun () -> snapshot.Get(key 1) |> ignore)
                throwsClosed "a scan" (fun () -> walk (snapshot.Scan()) |> ignore)
                throwsClosed "an open cursor" (fun () -> cursor.MoveNext() |> ignore)
                throwsClosed "another hold" (fun () -> store.CreateSnapshot() |> ignore)
                tableFiles folder |> Expect.equal "the files" tables
                cursor.Dispose()
                snapshot.Dispose()))

        testCase "expiry is judged at the moment of the snapshot" (fun () ->
            withFolder (fun folder ->
                let mutable now = DateTimeOffset.FromUnixTimeSeconds 1_000_000L

                let clock = {
                    new TimeProvider() with
                        override _.GetUtcNow() = now
                }

                use store = openWith Durability.Os clock folder
                store.Write(WriteBatch().Put(key 1, "short"B, 0u, 1_000_010u).Put(key 2, "long"B))
                use before = store.CreateSnapshot()
                now <- now.AddSeconds 10.0
                use after = store.CreateSnapshot()
                walk (before.Scan()) |> List.length |> Expect.equal "both are there" 2
                before.Get(key 1) |> Expect.equal "a read too" "short"B
                walk (after.Scan()) |> Expect.equal "one has expired" [ "key 0002", "long"B ]
                after.Get(key 1) |> Expect.isNull "a read too"))

        testCase "a range is walked with LINQ, in copies, any number of times" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder

                store.Write(
                    WriteBatch().Put("apple/1"B, "a"B).Put("pear/1"B, "b"B).Put("pear/2"B, "c"B).Put("plum/1"B, "d"B)
                )

                use snapshot = store.CreateSnapshot()
                let pears = snapshot.ScanPrefix "pear/"B

                for _ in 1..2 do
                    pears.ToDictionary((fun item -> Encoding.ASCII.GetString item.Key), (fun item -> item.Value))
                    |> fun copies -> copies["pear/1"], copies["pear/2"], copies.Count
                    |> Expect.equal "the copies" ("b"B, "c"B, 2)

                snapshot.Scan("pear/2"B).Select(fun item -> Encoding.ASCII.GetString item.Key)
                |> List.ofSeq
                |> Expect.equal "without an end" [ "pear/2"; "plum/1" ]

                snapshot.Scan("q"B, "b"B) |> Seq.length |> Expect.equal "nothing between" 0))

        testCase "a damaged block ends a walk with its file and offset" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder
                apply store [ for number in 0..19 -> number, Some(Array.create 100 1uy) ]
                store.Flush()
                settle store

                for file in tableFiles folder do
                    use stream =
                        File.Open(Path.Combine(folder, file), FileMode.Open, FileAccess.Write, FileShare.ReadWrite)

                    stream.Write(bytesOf "damage")

                use snapshot = store.CreateSnapshot()

                let message =
                    try
                        walk (snapshot.Scan()) |> ignore
                        "whole"
                    with :? StoreException as refused ->
                        refused.Message

                Expect.stringStarts "the message" $"the data in {folder} is damaged: 0" message
                Expect.stringContains "the message" "offset 0" message))
    ]
