module LsmFs.Engine.Tests.PickingTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private options = {
    Options.ofBudget (64L <<< 20) with
        LevelZeroTableCountTrigger = 2
        LevelZeroTableCountMax = 6
        LevelOneSizeBytes = 1000L
        LevelSizeMultiplier = 10
        LevelCount = 5
}

let private now = 100_000u

/// Any version that keeps the invariants, with a flush, and tables that cannot be read.
let private inputGen: Gen<PickingInput> =
    gen {
        let! count = Gen.choose (0, 24)
        // Few keys make many overlaps, and one byte orders them.
        let key = Gen.choose (0, 40) |> Gen.map (fun number -> [| byte number |])

        let tableGen (number: int) =
            gen {
                let! left = key
                let! width = Gen.elements [ 0; 0; 1; 3; 30 ]
                let! size = Gen.choose (1, 3000)
                let! tombstones = Gen.frequency [ 3, Gen.constant 0; 1, Gen.choose (0, 10) ]

                let! earliest, latest =
                    Gen.elements [
                        0u, 0u
                        0u, 0u
                        now - 50_000u, now - 1u
                        now - 90_000u, 0u
                        now - 900u, now + 600u
                        now + 1u, now + 2u
                    ]

                let table = tableOf (uint64 number) left [| byte (min 255 (int left[0] + width)) |] (int64 size)

                return {
                    table with
                        TableMeta.Properties.EntryCount = 10L
                        TableMeta.Properties.TombstoneCount = int64 tombstones
                        TableMeta.Properties.EarliestExpirySeconds = earliest
                        TableMeta.Properties.LatestExpirySeconds = (if tombstones > 0 then 0u else latest)
                }
            }

        let! tables =
            Gen.sequenceToList [
                for number in 1..count -> Gen.zip (Gen.choose (0, options.LevelCount - 1)) (tableGen number)
            ]

        // Older tables have smaller numbers, as if they had been written in this order.
        let version =
            tables
            |> Seq.fold
                (fun version (level, table) ->
                    let edit = { VersionEdit.empty with Added = [ level, table ] }

                    if (Version.refusal edit version).IsNone then
                        Version.apply edit version
                    else
                        version)
                (Version.empty options.LevelCount)

        let! flushed = Gen.frequency [ 4, Gen.constant 0; 1, Gen.choose (0, count) ]

        let! quarantined =
            Gen.frequency [ 2, Gen.constant []; 1, Gen.listOfLength 2 (Gen.choose (1, max 1 count)) ]

        return {
            PickingInput.ofVersion now version with
                Flush = { FlushState.none with Through = SequenceNumber(uint64 flushed) }
                Quarantined = quarantined |> List.map (uint64 >> FileNumber)
        }
    }

type InputArbitraries =
    static member Input() = Arb.fromGen inputGen

/// What a job makes at the least favourable: one table of everything, but for what it certainly takes out.
let private apply (number: uint64) (input: PickingInput) (plan: CompactionPlan) : PickingInput =
    let tables = plan.Inputs |> Array.map snd
    let properties = tables |> Array.map _.Properties
    let struct (smallest, largest) = Version.hull tables
    let isInPlace = CompactionPlan.level plan = plan.OutputLevel
    let ofAll = properties |> Array.map _.LatestExpirySeconds

    let output = {
        Number = FileNumber number
        SizeBytes = tables |> Array.sumBy _.SizeBytes
        Properties = {
            properties[0] with
                EntryCount = properties |> Array.sumBy _.EntryCount
                TombstoneCount =
                    if isInPlace then
                        0L
                    else
                        properties |> Array.sumBy _.TombstoneCount
                SmallestKey = smallest
                LargestKey = largest
                LargestSequence = properties |> Array.map _.LargestSequence |> Array.max
                // Nothing that has expired is left as a value.
                EarliestExpirySeconds = (if Array.contains 0u ofAll then 0u else Array.max ofAll)
                LatestExpirySeconds = (if Array.contains 0u ofAll then 0u else Array.max ofAll)
        }
    }

    let edit = CompactionPlan.edit plan [ output ]
    Expect.isNone (Version.refusal edit input.Version) $"{CompactionPlan.print plan}: the edit fits"
    { input with Version = Version.apply edit input.Version }

[<Tests>]
let tests =
    let config = { config 1000 with arbitrary = [ typeof<InputArbitraries> ] }
    let property name body = testPropertyWithConfig config name body

    testList "Picking" [
        testList "scripts" [
            // With this variable set, the scripts say afterwards what the planner says.
            if Environment.GetEnvironmentVariable "LSMFS_REWRITE_PLANS" = "1" then
                testCase "rewritten" PlanScript.rewrite
            else
                for script in PlanScript.all do
                    testCase script.Name (fun () -> Expect.equal (PlanScript.answer script) script.Expected "plans")
        ]

        testCase "what a level may hold follows from the level at the bottom" (fun () ->
            let ofBottom sizeBytes =
                let version =
                    Version.apply
                        { VersionEdit.empty with Added = [ 3, tableOf 1UL "a"B "z"B sizeBytes ] }
                        (Version.empty 5)

                [ for level in 1..2 -> LevelScore.levelTargetBytes options version level ]

            Expect.equal (ofBottom 100_000L) [ 1000.0; 10_000.0 ] "a tenth of the one below each"
            Expect.equal (ofBottom 50_000L) [ 500.0; 5_000.0 ] "so that a tenth of the store is hidden at most"
            Expect.equal (ofBottom 10L) [ 100.0; 100.0 ] "but not next to nothing")

        property "every plan takes all that overlaps, and is the same after being printed" (fun (input: PickingInput) ->
            match Picking.pick options input with
            | None -> ()
            | Some plan ->
                let inputs = plan.Inputs |> Array.map snd
                Expect.equal (CompactionPlan.parse input.Version (CompactionPlan.print plan)) (Some plan) "as text"

                if plan.Kind <> CompactionKind.Drop then
                    for table in input.Version.Levels[plan.OutputLevel] do
                        if plan.Inputs |> Array.exists (fun (_, taken) -> Version.overlaps table taken) then
                            Expect.contains inputs table $"table {table.Number} overlaps what joins its level"

                // Invariant 5: nothing passes below what is older.
                if CompactionPlan.level plan = 0 && plan.Kind <> CompactionKind.Drop then
                    for older in input.Version.Levels[0] do
                        for level, newer in plan.Inputs do
                            if
                                level = 0
                                && older.Properties.LargestSequence < newer.Properties.LargestSequence
                                && Version.overlaps older newer
                            then
                                Expect.contains inputs older $"table {older.Number} is older than {newer.Number}")

        property "what cannot be read is neither read nor passed" (fun (input: PickingInput) ->
            match Picking.pick options input with
            | Some plan when plan.Kind = CompactionKind.Merge ->
                for _, table in plan.Inputs do
                    Expect.isFalse (List.contains table.Number input.Quarantined) $"table {table.Number} is read"
            | _ -> ())

        property "plans end, whatever the version, when nothing new comes" (fun (input: PickingInput) ->
            // Invariants 1 and 2: an entry goes down a level at a time, or away.
            let stepCountMax = 10 * 24 * options.LevelCount

            let rec go (step: int) (input: PickingInput) =
                match Picking.pick options input with
                | None -> ()
                | Some plan ->
                    Expect.isLessThan step stepCountMax $"still {CompactionPlan.print plan}"
                    go (step + 1) (apply (1000UL + uint64 step) input plan)

            go 0 input)

        property
            "plans that are carried out together do not meet, and can end in any order"
            (fun (input: PickingInput) (seed: int) ->
                let plans = PlanScript.plansOf options input

                for left, right in List.allPairs plans plans do
                    if not (obj.ReferenceEquals(left, right)) then
                        // Invariant 3.
                        for fromLeft, leftTable in left.Inputs do
                            for fromRight, rightTable in right.Inputs do
                                Expect.notEqual leftTable.Number rightTable.Number "no table is in two plans"

                                if fromLeft = fromRight || left.OutputLevel = right.OutputLevel then
                                    Expect.isFalse
                                        (left.Kind <> CompactionKind.Drop
                                         && right.Kind <> CompactionKind.Drop
                                         && fromLeft > 0
                                         && Version.overlaps leftTable rightTable)
                                        "nor do two write the same range of a level"

                let random = Random seed
                let order = plans |> Array.ofList
                random.Shuffle order

                order
                |> Array.indexed
                |> Array.fold (fun input (index, plan) -> apply (1000UL + uint64 index) input plan) input
                |> ignore)

        property "a due time is looked at again" (fun (input: PickingInput) ->
            // Nothing changes before the time that the store sleeps to.
            match Picking.pick options input, Picking.wakeAtSeconds input with
            | None, ValueSome at ->
                Expect.isGreaterThan at input.NowSeconds "later"
                Expect.isNone (Picking.pick options { input with NowSeconds = at - 1u }) "nothing before"
            | None, ValueNone ->
                Expect.isNone (Picking.pick options { input with NowSeconds = UInt32.MaxValue - 1u }) "nothing ever"
            | _ -> ())

        property "what is flushed goes at once, in one edit" (fun (input: PickingInput) ->
            let all = { input with Flush = { FlushState.none with Through = SequenceNumber 1000UL } }

            match Picking.pick options all with
            | None -> Expect.isEmpty (Version.tables all.Version) "nothing is left to drop"
            | Some plan ->
                Expect.equal plan.Kind CompactionKind.Drop "unread"
                Expect.isEmpty (Version.tables (apply 1000UL all plan).Version) "all of it")
    ]
