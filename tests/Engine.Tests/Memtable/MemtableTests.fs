module LsmFs.Engine.Tests.MemtableTests

open System
open Expecto
open FsCheck
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.MemtableModel

/// Plays a history; the last version first.
let private play (empty: Memtable) (History batches) : Versioned list =
    let start = { Memtable = empty; Model = Map.empty }

    let extend (versions: Versioned list) (batch: Batch) =
        let start = versions[batch.StepsBack % versions.Length]
        let editor = start.Memtable.Edit()
        let model = putAll editor start.Memtable.LastSequence start.Model batch.Puts

        match batch.Outcome with
        | Abandons ->
            // A key that only the abandoned batch wrote is not shown even while the batch is still open.
            expectShowsModel start
            versions
        | Commits ->
            let memtable = editor.Commit()

            Expect.equal
                memtable.LastSequence.Value
                (start.Memtable.LastSequence.Value + uint64 batch.Puts.Length)
                "limit"

            { Memtable = memtable; Model = model } :: versions

    List.fold extend [ start ] batches

let private put (memtable: Memtable) (sequence: uint64) (key: byte[]) (value: byte[]) : Memtable =
    let editor = memtable.Edit()

    editor.Put(span (encode sequence (plainWrite key value)))

    editor.Commit()

let private valueOf (memtable: Memtable) (key: byte[]) : byte[] voption =
    memtable.TryFind(span key) |> ValueOption.map (fun entry -> entry.Value.ToArray())

let private throwsInvalidOperation (message: string) (action: unit -> unit) =
    Expect.throwsT<InvalidOperationException> action message

[<Tests>]
let tests =
    testList "Memtable" [
        memtableProperty
            150
            "invariants 1 and 2: every version of a tree of versions shows its own map, after everything"
            (fun history ->
                let versions = play (Memtable.Create(smallPool ())) history
                List.iter expectShowsModel versions)

        memtableProperty 50 "a key that was never put is not found" (fun history (Key key) ->
            for version in play (Memtable.Create(smallPool ())) history do
                for absent in [ key; Array.append key [| 0uy |]; Array.append key [| 255uy; 1uy |] ] do
                    Expect.equal
                        (bytesOf (version.Memtable.TryFind(span absent)))
                        (match Map.tryFind (hex absent) version.Model with
                         | Some bytes -> ValueSome bytes
                         | None -> ValueNone)
                        (hex absent))

        memtableProperty
            100
            "keys fetched ahead, in groups of any size, are found as single ones, and by way of the same leaf"
            (fun history (others: Key list) (PositiveInt size) ->
                for version in play (Memtable.Create(smallPool ())) history do
                    let keys = [|
                        for KeyValue(key, _) in version.Model do
                            Convert.FromHexString key
                        for Key key in others do
                            key
                            key
                        Array.empty
                        Array.create 300 255uy
                    |]

                    for group in Array.chunkBySize (1 + size % 70) keys do
                        let text = Array.concat group
                        let offsets = Array.scan (fun offset (key: byte[]) -> offset + key.Length) 0 group

                        let coming =
                            Array.mapi (fun index (key: byte[]) -> ComingKey.At(offsets[index], key.Length)) group

                        version.Memtable.Fetch(span text, Span<ComingKey> coming)

                        if Runtime.Intrinsics.X86.Sse.IsSupported && not version.Memtable.IsEmpty then
                            let tree, trunk, start =
                                version.Memtable.Tree, version.Memtable.Trunk, version.Memtable.Version

                            for index in 0 .. group.Length - 1 do
                                Expect.equal
                                    coming[index].Leaf
                                    (tree.FindLeaf(start.Root, trunk.Height, span group[index]))
                                    "leaf"

                        for key in group do
                            Expect.equal
                                (bytesOf (version.Memtable.TryFind(span key)))
                                (match Map.tryFind (hex key) version.Model with
                                 | Some bytes -> ValueSome bytes
                                 | None -> ValueNone)
                                (hex key)

                    version.Memtable.Fetch(ReadOnlySpan<byte>.Empty, Span<ComingKey>.Empty))

        memtableProperty
            50
            "invariant 2: an abandoned batch takes no memory, and its numbers are used again"
            (fun history (batch: Batch) ->
                let pool = smallPool ()
                let version = List.head (play (Memtable.Create pool) history)
                version.Memtable.Edit() |> ignore
                let sizeBytes = version.Memtable.SizeBytes

                for _ in 1..3 do
                    let editor = version.Memtable.Edit()
                    Expect.equal editor.SizeBytes sizeBytes "nothing is left of the batch before"
                    putAll editor version.Memtable.LastSequence version.Model batch.Puts |> ignore

                expectShowsModel version
                let reversed = List.rev batch.Puts
                let editor = version.Memtable.Edit()
                let model = putAll editor version.Memtable.LastSequence version.Model reversed

                expectShowsModel { Memtable = editor.Commit(); Model = model }

                expectShowsModel version)

        memtableProperty 30 "invariant 4: every chunk goes back to the pool exactly once" (fun history ->
            let pool = smallPool ()
            let empty = Memtable.Create pool
            let versions = play empty history
            versions.Head.Memtable.Recycle()
            let held = pool.HeldBytes
            throwsInvalidOperation "second time" (fun () -> empty.Recycle())
            throwsInvalidOperation "edit after" (fun () -> empty.Edit() |> ignore)
            Expect.equal pool.HeldBytes held "nothing twice"
            let rented = [ for _ in 1L .. held / 4096L -> pool.Rent() ]
            Expect.equal pool.HeldBytes 0L "all rented again"

            Expect.equal
                (Collections.Generic.HashSet<byte[]>(rented, HashIdentity.Reference).Count)
                rented.Length
                "no chunk twice"

            List.iter pool.Return rented
            // The same history again takes what came back, and shows the same in used chunks.
            let again = play (Memtable.Create pool) history
            List.iter expectShowsModel again
            again.Head.Memtable.Recycle()
            Expect.equal pool.HeldBytes held "the same chunks")

        testList "keys in order" [
            for name, order in
                [
                    "ascending", id
                    "descending", List.rev
                    "by last digit", List.sortBy (fun number -> number % 10, number)
                ] do
                test name {
                    let memtable = Memtable.Create(ChunkPool(1 <<< 16, 1L <<< 20))

                    let puts =
                        order [ 1..20_000 ]
                        |> List.map (fun number ->
                            plainWrite (Text.Encoding.ASCII.GetBytes $"key:%08d{number}") [| byte number |])

                    let mutable version = { Memtable = memtable; Model = Map.empty }

                    for chunk in List.chunkBySize 64 puts do
                        let editor = version.Memtable.Edit()
                        let model = putAll editor version.Memtable.LastSequence version.Model chunk

                        version <- { Memtable = editor.Commit(); Model = model }

                    expectShowsModel version
                }
        ]

        test "every key length, values larger than a chunk, and an empty value" {
            let mutable memtable = Memtable.Create(smallPool ())
            let lengths = [ 0..40 ] @ [ 250; 4095; 4096; 65534; 65535 ]
            let mutable sequence = 0UL

            for length in lengths do
                for filler in [ 0uy; 255uy ] do
                    sequence <- sequence + 1UL
                    memtable <- put memtable sequence (Array.create length filler) (Array.create (length * 3) filler)

            for length in List.tail lengths do
                for filler in [ 0uy; 255uy ] do
                    Expect.equal
                        (valueOf memtable (Array.create length filler))
                        (ValueSome(Array.create (length * 3) filler))
                        $"%d{length} bytes %d{filler}"

            Expect.equal (valueOf memtable [||]) (ValueSome [||]) "the empty key"
        }

        test "the first entry may be larger than a chunk" {
            let memtable = put (Memtable.Create(smallPool ())) 1UL "k"B (Array.create 100_000 1uy)
            Expect.equal (valueOf memtable "k"B) (ValueSome(Array.create 100_000 1uy)) "value"
            Expect.isGreaterThan memtable.SizeBytes 100_000L "size"
        }

        test "what an editor refuses" {
            let empty = Memtable.Create(smallPool ())
            let first = put empty 5UL "a"B "1"B

            let entry sequence = encode sequence (plainWrite "b"B "2"B)

            let editor = first.Edit()

            for sequence in [ 0UL; 1UL; 5UL ] do
                throwsInvalidOperation $"sequence %d{sequence}" (fun () -> editor.Put(span (entry sequence)))

            throwsInvalidOperation "half an entry" (fun () -> editor.Put(ReadOnlySpan<byte>(entry 6UL, 0, 17)))

            throwsInvalidOperation "more than an entry" (fun () ->
                editor.Put(span (Array.append (entry 6UL) [| 0uy |])))

            let flush = entry 6UL
            flush[6] <- byte EntryKind.FlushAll
            throwsInvalidOperation "a flush" (fun () -> editor.Put(span flush))
            editor.Put(span (entry 6UL))
            throwsInvalidOperation "the same number again" (fun () -> editor.Put(span (entry 6UL)))
            let second = editor.Commit()
            Expect.equal (valueOf second "b"B) (ValueSome "2"B) "refusals do no harm"
            Expect.equal (valueOf first "b"B) ValueNone "nor does the commit"
        }

        test "invariant 3: an ended editor refuses to work" {
            let empty = Memtable.Create(smallPool ())
            let first = put empty 1UL "a"B "1"B
            let abandoned = first.Edit()
            let committed = first.Edit()
            Expect.equal (committed.Commit()).Version.Stamp first.Version.Stamp "an empty batch makes no version"
            let last = first.Edit()

            for editor in [ abandoned; committed ] do
                throwsInvalidOperation "put" (fun () -> editor.Put(ReadOnlySpan<byte>.Empty))
                throwsInvalidOperation "find" (fun () -> editor.TryFind(span "a"B) |> ignore)
                throwsInvalidOperation "commit" (fun () -> editor.Commit() |> ignore)

            Expect.isTrue (last.TryFind(span "a"B)).IsSome "the last one works"
            first.Recycle()
            throwsInvalidOperation "after recycling" (fun () -> last.Commit() |> ignore)
        }

        test "a memtable that was not created is empty and takes no writes" {
            let none = Unchecked.defaultof<Memtable>
            Expect.isTrue none.IsEmpty "empty"
            Expect.equal none.LastSequence SequenceNumber.zero "last sequence number"
            Expect.equal none.SizeBytes 0L "size"
            Expect.equal (valueOf none "a"B) ValueNone "a key"
            Expect.isFalse none.IsWorthFetching "worth fetching"
            none.Fetch(ReadOnlySpan<byte>.Empty, Span<ComingKey>(Array.zeroCreate 1))
            throwsInvalidOperation "edit" (fun () -> none.Edit() |> ignore)
            throwsInvalidOperation "recycle" none.Recycle
        }

        test "invariant 1: a long line of forks off ever older versions" {
            let mutable versions = [ Memtable.Create(smallPool ()), Map.empty ]

            for round in 1..300 do
                // Each fork leaves the newest version behind and overwrites the same few keys under the same sequence numbers.
                let steps = round % 3
                let memtable, model = versions[steps % versions.Length]
                let key = [| byte (round % 7) |]
                let next = put memtable (memtable.LastSequence.Value + 1UL) key (BitConverter.GetBytes round)
                versions <- (next, Map.add key (BitConverter.GetBytes round) model) :: versions

            for memtable, model in versions do
                for number in 0uy .. 7uy do
                    Expect.equal
                        (valueOf memtable [| number |])
                        (match Map.tryFind [| number |] model with
                         | Some value -> ValueSome value
                         | None -> ValueNone)
                        "value"
        }

        test "finding allocates nothing, and putting only chunks" {
            let pool = ChunkPool(1 <<< 20, 1L <<< 30)

            let entries =
                Array.init 30_000 (fun index ->
                    encode (uint64 index + 1UL) {
                        WriteKey = BitConverter.GetBytes((index % 20_000) * 1_000_003)
                        WriteValue = ValueSome(Array.zeroCreate 30)
                        WriteFlags = 0u
                        WriteExpirySeconds = 0u
                        WriteCas = 0UL
                        WriteMarks = EntryMarks.None
                    })

            let fill () =
                let mutable memtable = Memtable.Create pool
                let mutable index = 0

                while index < entries.Length do
                    let editor = memtable.Edit()

                    for _ in 1..100 do
                        editor.Put(span entries[index])
                        index <- index + 1

                    memtable <- editor.Commit()

                memtable

            let coming = Array.zeroCreate<ComingKey> 1

            let findAll (memtable: Memtable) =
                for index in 0 .. entries.Length - 1 do
                    let entry = { Buffer = entries[index]; Offset = 0 }
                    coming[0] <- ComingKey.At(0, entry.Key.Length)
                    memtable.Fetch(entry.Key, Span<ComingKey> coming)

                    if (memtable.TryFind entry.Key).IsNone then
                        failtest "missing"

            // The runtime allocates on the thread too, when it compiles; the least of several rounds has only what the memtable does.
            let rounds = [
                for _ in 1..6 do
                    let before = GC.GetAllocatedBytesForCurrentThread()
                    let memtable = fill ()
                    let filled = GC.GetAllocatedBytesForCurrentThread()
                    findAll memtable
                    let found = GC.GetAllocatedBytesForCurrentThread()
                    memtable.Recycle()
                    filled - before, found - filled
            ]

            Expect.equal (List.min (List.map snd rounds)) 0L "30,000 searches"
            // The memtable's own objects: the 300 batches have none, but for the few that grow the tree by a level.
            Expect.isLessThan (List.min (List.map fst rounds)) 10_000L "30,000 puts in 300 batches"
        }
    ]
