module LsmFs.Engine.Tests.PacingTests

open Expecto
open FsCheck
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private options = {
    Options.ofBudget (64L <<< 20) with
        LevelZeroTableCountTrigger = 4
        LevelZeroTableCountMax = 12
}

let private nanoseconds (levelZeroCount: int) (excess: float) (frozenCount: int) (fill: float) =
    (Pacing.pace options (debtOf levelZeroCount excess) frozenCount fill).NanosecondsPerByte

/// Levels of tables of so many bytes each.
let private versionOf (levels: (int * int64) list) : Version =
    let table index (level: int, sizeBytes: int64) =
        level, tableOf (uint64 index + 1UL) [| byte index |] [| byte index |] sizeBytes

    Version.apply { VersionEdit.empty with Added = List.mapi table levels } (Version.empty options.LevelCount)

let private propertyOf name (body: uint32 -> uint32 -> uint32 -> uint32 -> unit) =
    property name (fun (a: uint32) (b: uint32) (c: uint32) (d: uint32) -> body a b c d)

[<Tests>]
let tests =
    testList "Pacing" [
        testCase "without debt writes go as fast as they can" (fun () ->
            for levelZero in 0 .. options.LevelZeroTableCountTrigger do
                for fill in [ 0.0; 0.3; 0.5 ] do
                    let pace = Pacing.pace options (debtOf levelZero 0.0) 1 fill
                    Expect.equal pace.NanosecondsPerByte 0.0 $"{levelZero} tables, {fill} of a memtable"
                    Expect.equal pace.Reason WritePressure.None "nothing slows them")

        testCase "the reason is what is owed most of" (fun () ->
            let reason levelZero excess frozen fill =
                (Pacing.pace options (debtOf levelZero excess) frozen fill).Reason

            Expect.equal (reason 9 0.0 0 0.0) WritePressure.LevelZero "level 0"
            Expect.equal (reason 0 0.0 2 0.5) WritePressure.Memtables "memtables"
            Expect.equal (reason 0 3.0 0 0.0) WritePressure.Levels "levels"
            Expect.equal (reason 7 4.9 0 0.0) WritePressure.Levels "levels before level 0")

        propertyOf "more debt never makes writes faster" (fun a b c d ->
            let levelZero, excess = int (a % 14u), float (b % 60u) / 10.0
            let frozen, fill = int (c % 4u), float (d % 110u) / 100.0
            let pace = nanoseconds levelZero excess frozen fill
            Expect.isLessThanOrEqual pace (nanoseconds (levelZero + 1) excess frozen fill) "a table"
            Expect.isLessThanOrEqual pace (nanoseconds levelZero (excess + 0.1) frozen fill) "bytes"
            Expect.isLessThanOrEqual pace (nanoseconds levelZero excess (frozen + 1) fill) "a frozen memtable"
            Expect.isLessThanOrEqual pace (nanoseconds levelZero excess frozen (fill + 0.01)) "a fuller memtable")

        propertyOf
            "the pace does not jump: a hundredth of a memtable makes it a twentieth longer at most"
            (fun a b c d ->
                let levelZero, excess = int (a % 14u), float (b % 60u) / 10.0
                let frozen, fill = int (c % 3u), float (d % 100u) / 100.0
                let before = nanoseconds levelZero excess frozen fill
                let after = nanoseconds levelZero excess frozen (fill + 0.01)
                Expect.isLessThanOrEqual after (before * 1.05 + 0.5) "a little later"

                // What a freeze and a flush do to level 0's debt: nothing. Few are frozen, so that it is the one that counts.
                Expect.floatClose
                    Accuracy.medium
                    (nanoseconds levelZero 0.0 0 1.0)
                    (max (nanoseconds levelZero 0.0 1 0.0) (nanoseconds (levelZero + 1) 0.0 0 0.0))
                    "frozen, flushed: the same")

        testCase "at the hard bounds writes wait, and just before them they are slow" (fun () ->
            let pressure levelZero frozen fill = Pacing.pressure options (debtOf levelZero 0.0) frozen fill
            Expect.equal (pressure 12 0 0.0) WritePressure.LevelZero "level 0 is full"
            Expect.equal (pressure 11 2 0.9) WritePressure.None "nothing is"
            Expect.equal (pressure 0 2 1.0) WritePressure.Memtables "memory is"
            Expect.isGreaterThan (nanoseconds 11 0.0 0 0.99) 3000.0 "less than a third of a megabyte a second"
            Expect.isGreaterThan (nanoseconds 0 0.0 2 0.99) 3000.0 "the same for memtables")

        propertyOf
            "a group of writes pauses for a fiftieth of a second, and for a tenth whatever its size"
            (fun a b c _ ->
                let pace = Pacing.pace options (debtOf (int (a % 14u)) (float (b % 60u) / 10.0)) 0 0.0
                let most = Pacing.groupBytesMax pace

                Expect.isLessThanOrEqual
                    (Pacing.pauseNanoseconds pace (int64 most))
                    20e6
                    "a group as large as it may be"

                Expect.isLessThanOrEqual (Pacing.pauseNanoseconds pace (int64 c)) 100e6 "any")

        testCase "what waits for a table that cannot be read is no debt: waiting would not help" (fun () ->
            let version = versionOf [ for _ in 1..20 -> 0, 100L ]
            Expect.equal (Pacing.debtOf options version []).LevelZeroCount 20 "all can go"

            let overlapping =
                Version.apply
                    {
                        VersionEdit.empty with
                            Added = [ 1, tableOf 99UL [| 0uy |] [| 255uy |] 100L ]
                    }
                    version

            let debt = Pacing.debtOf options overlapping [ FileNumber 99UL ]
            Expect.equal debt.LevelZeroCount 0 "none can"
            Expect.equal debt.ExcessBytes 0.0 "nor deeper ones")

        testCase "deeper levels owe what they hold beyond their share" (fun () ->
            let bottom = options.LevelOneSizeBytes * 20L
            let multiplier = float options.LevelSizeMultiplier
            let debt = Pacing.debtOf options (versionOf [ 1, options.LevelOneSizeBytes; 3, bottom ]) []
            let target = max (float bottom / multiplier ** 2.0) (float options.LevelOneSizeBytes / multiplier)
            Expect.floatClose Accuracy.high debt.ExcessBytes (float options.LevelOneSizeBytes - target) "level 1")
    ]
