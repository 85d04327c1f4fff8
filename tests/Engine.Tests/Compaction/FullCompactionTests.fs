module LsmFs.Engine.Tests.FullCompactionTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private options = Options.ofBudget Options.memoryBudgetBytesMin

/// A version with a few tables in level 0, and disjoint ones below; numbers say how old they are.
let private versionOf (zero: (byte * byte) list) (deeper: (byte * byte) list) : Version =
    let table (number: int) (left: byte) (width: byte) =
        let table = tableOf (uint64 number) [| left |] [| byte (min 255 (int left + int width % 40)) |] 1000L

        {
            table with
                TableMeta.Properties.EntryCount = 10L
                TableMeta.Properties.TombstoneCount = int64 (width % 3uy)
                TableMeta.Properties.SmallestSequence = SequenceNumber(uint64 number)
        }

    let add (version: Version) (level: int, table: TableMeta) =
        let edit = { VersionEdit.empty with Added = [ level, table ] }

        match Version.refusal edit version with
        | None -> Version.apply edit version
        | Some _ -> version

    [
        for index, (left, width) in List.indexed deeper do
            1 + index % 4, table (1 + index) left width
        for index, (left, width) in List.indexed zero do
            0, table (1000 + index) left width
    ]
    |> List.fold add (Version.empty options.LevelCount)

/// The version once a plan was carried out: a merge makes one table of its inputs, without what is gone.
let private carryOut (number: int) (plan: CompactionPlan) (version: Version) : Version =
    let tables = plan.Inputs |> Array.map snd
    let struct (smallest, largest) = Version.hull tables
    let isBottom = plan.OutputLevel >= LevelScore.bottomLevel version

    let output = {
        tables[0] with
            Number = FileNumber(uint64 number)
            TableMeta.Properties.SmallestKey = smallest
            TableMeta.Properties.LargestKey = largest
            TableMeta.Properties.TombstoneCount = (if isBottom then 0L else tables[0].Properties.TombstoneCount)
            TableMeta.Properties.SmallestSequence = SequenceNumber 500UL
            TableMeta.Properties.EarliestExpirySeconds = 0u
    }

    let edit = CompactionPlan.edit plan [ output ]
    Expect.isNone (Version.refusal edit version) "the edit fits"
    Version.apply edit version

[<Tests>]
let tests =
    testList "FullCompaction" [
        property
            "plans come to an end with one level, and nothing in it that nobody can see"
            (fun (zero: (byte * byte) list) (deeper: (byte * byte) list) (through: byte) ->
                let inputOf (version: Version) = {
                    PickingInput.ofVersion 1u version with
                        Flush = { FlushState.none with Through = SequenceNumber(uint64 through) }
                }

                let rec go (step: int) (version: Version) =
                    Expect.isLessThan step 1000 "it ends"
                    let input = inputOf version

                    match FullCompaction.pick options input with
                    | None -> version
                    | Some plan ->
                        Expect.isFalse (FullCompaction.isDone options input) "work is left"
                        let next = carryOut (2000 + step) plan version

                        if plan.Kind = CompactionKind.Move || plan.Inputs.Length = 1 then
                            Expect.isLessThan
                                (FullCompaction.remainingBytes (inputOf next))
                                (FullCompaction.remainingBytes input)
                                "less is left"

                        go (step + 1) next

                let version = go 0 (versionOf zero deeper)
                let input = inputOf version
                Expect.isTrue (FullCompaction.isDone options input) "nothing is left"
                Expect.equal (FullCompaction.remainingBytes input) 0L "not a byte"

                let levels = version.Levels |> Array.filter (Array.isEmpty >> not)
                Expect.isLessThanOrEqual levels.Length 1 "one level"

                for table in Array.concat levels do
                    Expect.equal table.Properties.TombstoneCount 0L "no tombstone")

        property
            "what is running is not disturbed, and a table that cannot be read stays"
            (fun (zero: (byte * byte) list) (deeper: (byte * byte) list) ->
                let input = PickingInput.ofVersion 1u (versionOf zero deeper)

                match FullCompaction.pick options input with
                | None -> ()
                | Some running ->
                    match FullCompaction.pick options { input with Running = [ running ] } with
                    | Some other -> Expect.isFalse (CompactionPlan.conflicts running other) "no conflict"
                    | None -> ()

                    let unreadable = (snd running.Inputs[0]).Number

                    match FullCompaction.pick options { input with Quarantined = [ unreadable ] } with
                    | Some plan ->
                        Expect.isFalse
                            (plan.Inputs |> Array.exists (fun (_, table) -> table.Number = unreadable))
                            "it stays"
                    | None -> ())
    ]
