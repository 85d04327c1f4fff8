/// Real threads: readers hold versions, old and new, while the one writer goes on.
module LsmFs.Engine.Tests.MemtableThreadTests

open System
open System.Threading
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private keyCount = 3000

let private key (number: int) : byte[] = Text.Encoding.ASCII.GetBytes $"key:%d{int64 number * 7919L % int64 keyCount}"

/// Write number n of the one line of versions goes to key n * 7919 mod keyCount, so a version's limit tells all that it must show.
let private expected (limit: uint64) : (uint64 * byte[]) list =
    [ max 1 (int limit - keyCount + 1) .. int limit ]
    |> List.map (fun number -> uint64 number, key number)

let private entry (sequence: uint64) : byte[] =
    encode sequence {
        WriteKey = key (int sequence)
        WriteValue = ValueSome(BitConverter.GetBytes sequence)
        WriteFlags = 0u
        WriteExpirySeconds = 0u
        WriteCas = 0UL
        WriteMarks = EntryMarks.None
    }

/// None when the version shows exactly the writes up to its limit.
let private fault (memtable: Memtable) (step: int) : string option =
    let limit = memtable.LastSequence.Value
    let wanted = expected limit

    let missing =
        wanted
        |> List.tryFind (fun (sequence, key) ->
            if sequence % uint64 step <> 0UL then
                false
            else
                match memtable.TryFind(span key) with
                | ValueNone -> true
                | ValueSome entry -> entry.Sequence.Value <> sequence || BitConverter.ToUInt64 entry.Value <> sequence)

    match missing with
    | Some(sequence, _) -> Some $"version %d{limit} does not show write %d{sequence}"
    | None ->
        let cursor = MemtableCursor memtable
        let mutable count = 0
        let mutable newer = false

        while cursor.MoveNext() do
            count <- count + 1
            newer <- newer || cursor.Current.Sequence.Value > limit

        if newer then
            Some $"version %d{limit} shows a newer write"
        elif count <> wanted.Length then
            Some $"version %d{limit} shows %d{count} of %d{wanted.Length} keys"
        else
            None

/// A version has more than a word; readers are given it by a reference to something that has it.
[<Sealed>]
type private Published(memtable: Memtable) =
    member _.Memtable = memtable

[<Tests>]
let tests =
    testSequenced
    <| testList "Memtable with threads" [
        test
            "invariants 1 and 2: versions hold still, and published ones are whole, while the writer commits and abandons" {
            let pool = ChunkPool(1 <<< 16, 1L <<< 30)
            let mutable published = Memtable.Create pool
            let latest = [| Published published |]
            let faults = Collections.Concurrent.ConcurrentQueue<string>()
            let mutable checks = 0
            let stop = new ManualResetEventSlim(false)

            let read () =
                let random = Random 1
                let kept = Collections.Generic.List<Memtable>()

                try
                    while not stop.IsSet do
                        let newest = (Volatile.Read(&latest[0])).Memtable
                        kept.Add newest
                        let old = kept[random.Next kept.Count]

                        for memtable in [ newest; old ] do
                            fault memtable (1 + random.Next 5) |> Option.iter faults.Enqueue

                        Interlocked.Increment &checks |> ignore
                with problem ->
                    faults.Enqueue(string problem)

            let readers = [ for _ in 1..2 -> Thread(read, IsBackground = true) ]
            readers |> List.iter _.Start()
            let watch = Diagnostics.Stopwatch.StartNew()
            let random = Random 2

            while watch.ElapsedMilliseconds < 1000L do
                let last = published.LastSequence.Value
                // A batch that comes to nothing, with other values under the numbers that the next one uses.
                let abandoned = published.Edit()

                for number in 1 .. random.Next 40 do
                    let bytes = entry (last + uint64 number)
                    bytes[bytes.Length - 8] <- ~~~bytes[bytes.Length - 8]
                    abandoned.Put(span bytes)

                let editor = published.Edit()

                for number in 1 .. 1 + random.Next 40 do
                    editor.Put(span (entry (last + uint64 number)))

                published <- editor.Commit()
                Volatile.Write(&latest[0], Published published)

            stop.Set()
            readers |> List.iter _.Join()
            Expect.isEmpty faults "what readers saw"
            Expect.isGreaterThan checks 2 "readers looked"
            Expect.equal (fault published 1) None "the last version"
        }
    ]
