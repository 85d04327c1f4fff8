module LsmFs.Engine.Tests.MergeTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures
open LsmFs.Engine.Tests.CompactionFixtures

let private drain (disk: Disk) (merge: Merge) : byte[] list =
    let entries = ResizeArray()
    let mutable state = merge.MoveNext()

    while state <> SourceState.Exhausted do
        if state = SourceState.Ready then
            let entry = merge.Current
            entries.Add(entry.Bytes.ToArray())
        else
            disk.Read merge.Wanted
            Expect.isOk (merge.Supply()) "supplied"

        state <- merge.MoveNext()

    Expect.equal (merge.MoveNext()) SourceState.Exhausted "it stays exhausted"
    List.ofSeq entries

[<Tests>]
let tests =
    testList "Merge" [
        property "equals the fold of its sources (invariants 1 to 3)" (fun (history: History) (shape: int) ->
            let disk = Disk()
            let merge = Merge(openSources disk shape history)

            Expect.equal
                (drain disk merge)
                (List.ofSeq (newest history).Values)
                "the newest entry of each key, in order"

            let read = sourcesOf history |> List.sumBy _.Count
            Expect.equal merge.ShadowedCount (int64 (read - (newest history).Count)) "the others are counted")

        test "of nothing is nothing" {
            Expect.equal (Merge([||]).MoveNext()) SourceState.Exhausted "no sources"
            Expect.equal (Merge([| ListSource Map.empty |]).MoveNext()) SourceState.Exhausted "an empty source"
        }

        test "allocates nothing for an entry" {
            let modelOf (first: uint64) =
                modelFrom first [
                    for number in 0..499 ->
                        {
                            WriteKey = keyBytes $"key:%06d{number * int first}"
                            WriteValue = ValueSome "value"B
                            WriteFlags = 0u
                            WriteExpirySeconds = 0u
                            WriteCas = 0UL
                            WriteMarks = EntryMarks.None
                        }
                ]

            let round () =
                let merge = Merge [| for first in 1UL .. 6UL -> ListSource(modelOf first) |]
                merge.MoveNext() |> ignore
                let before = GC.GetAllocatedBytesForCurrentThread()

                while merge.MoveNext() = SourceState.Ready do
                    ()

                GC.GetAllocatedBytesForCurrentThread() - before

            // The least of several, since a collection in between counts more. One object for each of the 2,000 entries would be 48,000.
            let allocated =
                List.min [
                    for _ in 1..6 do
                        round ()
                ]

            Expect.isLessThan allocated 1_000L "bytes"
        }
    ]
