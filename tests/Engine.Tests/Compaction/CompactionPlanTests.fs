module LsmFs.Engine.Tests.CompactionPlanTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.ManifestGenerators

let private version: Version =
    let edit = {
        VersionEdit.empty with
            Added = [
                0, tableOf 6UL "a"B "m"B 1000L
                0, tableOf 5UL "c"B "z"B 1000L
                1, tableOf 2UL "a"B "f"B 1000L
                1, tableOf 3UL "g"B "k"B 1000L
            ]
    }

    Version.apply edit (Version.empty 7)

[<Tests>]
let tests =
    testList "CompactionPlan" [
        test "what is printed is read back" {
            for text in
                [
                    "LevelZeroFull: merge L0 6 5 L1 2 3 to L1"
                    "LevelOverTarget: move L1 3 to L2"
                    "Expired: drop L1 2 3"
                    "TombstonesDue: merge L1 2 to L6"
                ] do
                match CompactionPlan.parse version text with
                | Some plan -> Expect.equal (CompactionPlan.print plan) text "the text"
                | None -> failtest text
        }

        test "what is no plan, or names what is not there, is not read" {
            for text in
                [
                    ""
                    "LevelZeroFull:"
                    "LevelZeroFull merge L0 6 to L1"
                    "Nothing: merge L0 6 to L1"
                    "LevelZeroFull: sort L0 6 to L1"
                    "LevelZeroFull: merge to L1"
                    "LevelZeroFull: merge L0 to L1"
                    "LevelZeroFull: merge L0 6 to"
                    "LevelZeroFull: merge L0 6 to L7"
                    "LevelZeroFull: merge L0 6 to 1"
                    "LevelZeroFull: merge L0 six to L1"
                    "LevelZeroFull: merge L0 6 L1 7 to L1"
                    "LevelZeroFull: merge L9 6 to L1"
                    "LevelZeroFull: merge 6 L0 5 to L1"
                    "Expired: drop"
                ] do
                Expect.isNone (CompactionPlan.parse version text) text
        }
    ]
