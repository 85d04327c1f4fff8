module LsmFs.Engine.Tests.RestingTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private options = Options.ofBudget (64L <<< 20)

/// How much of a memtable is full when a flush ends that began when it was empty and would take `hurried` memtables without a rest.
let private fillAtEnd (hurried: float) : float =
    let stepOfFill = 0.0005
    let work, rest = float Resting.workNanoseconds, float Resting.restNanoseconds

    let rec go (progress: float) (fill: float) =
        if progress >= 1.0 then
            fill
        else
            let share =
                if Resting.mayFlushRest progress 1 fill then
                    work / (work + rest)
                else
                    1.0

            go (progress + share * stepOfFill / hurried) (fill + stepOfFill)

    go 0.0 0.0

let private propertyOf name (body: float -> int -> int -> float -> unit) =
    property name (fun (a: uint32) (b: uint32) (c: uint32) (d: uint32) ->
        body (float (a % 101u) / 100.0) (int (b % 21u)) (int (c % 4u)) (float (d % 120u) / 100.0))

[<Tests>]
let tests =
    testList "Resting" [
        testCase "a flush rests all the time while few writes come" (fun () ->
            let speed = 1.0 + float Resting.restNanoseconds / float Resting.workNanoseconds
            Expect.floatClose Accuracy.low (fillAtEnd 0.05 / 0.05) speed "as long as its rests make it")

        property "rests make no flush so late that it slows writes, unless it would without them" (fun (a: uint32) ->
            let hurried = 0.01 + float (a % 60u) / 100.0
            Expect.isLessThan (fillAtEnd hurried) (max 0.25 (hurried + 0.05)) $"{hurried} of a memtable without rests")

        propertyOf "what slows writes does not rest" (fun progress levelZero frozen fill ->
            let reason (debt: CompactionDebt) = (Pacing.pace options debt frozen fill).Reason

            Expect.isFalse
                (reason (debtOf 0 0.0) = WritePressure.Memtables && Resting.mayFlushRest progress frozen fill)
                "a flush that writes wait for"

            Expect.isFalse
                (reason (debtOf levelZero 0.0) = WritePressure.LevelZero
                 && Resting.mayCompactionRest options (debtOf levelZero 0.0) progress frozen fill)
                "a compaction")

        propertyOf
            "what has come further, or has less before it, may rest as well"
            (fun progress levelZero frozen fill ->
                let compaction levelZero excess progress frozen fill =
                    Resting.mayCompactionRest options (debtOf levelZero excess) progress frozen fill

                if Resting.mayFlushRest progress frozen fill then
                    Expect.isTrue (Resting.mayFlushRest (progress + 0.1) frozen fill) "further"
                    Expect.isTrue (Resting.mayFlushRest progress frozen (fill / 2.0)) "emptier"
                    Expect.isTrue (Resting.mayFlushRest progress (max 0 (frozen - 1)) fill) "fewer"

                if compaction levelZero 0.2 progress frozen fill then
                    Expect.isTrue (compaction levelZero 0.2 (progress + 0.1) frozen fill) "further"
                    Expect.isTrue (compaction levelZero 0.1 progress frozen fill) "less in the levels"
                    Expect.isTrue (compaction (max 0 (levelZero - 1)) 0.2 progress frozen fill) "fewer tables")

        testCase "a compaction rests while level 0 is as small as when it came due" (fun () ->
            let mayRest levelZero excess progress =
                Resting.mayCompactionRest options (debtOf levelZero excess) progress 0 0.1

            Expect.isTrue (mayRest options.LevelZeroTableCountTrigger 0.0 0.0) "just due"

            Expect.isFalse
                (mayRest (options.LevelZeroTableCountTrigger + 1) 0.0 0.3)
                "a table came, and a third is done"

            Expect.isTrue (mayRest (options.LevelZeroTableCountTrigger + 1) 0.0 0.8) "most is done"
            Expect.isFalse (mayRest (options.LevelZeroTableCountTrigger + 2) 0.0 1.0) "two came"
            Expect.isFalse (mayRest 0 0.5 1.0) "a level holds more than its share")
    ]
