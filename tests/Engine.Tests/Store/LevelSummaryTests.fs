module LsmFs.Engine.Tests.LevelSummaryTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private expiring (earliest: uint32) (latest: uint32) (table: TableMeta) : TableMeta = {
    table with
        Properties = {
            table.Properties with
                EarliestExpirySeconds = earliest
                LatestExpirySeconds = latest
        }
}

let private versionOf (levels: TableMeta list list) : Version = {
    Levels = levels |> List.map Array.ofList |> Array.ofList
}

[<Tests>]
let tests =
    testList "LevelSummary" [
        test "a store without tables has no levels, and amplifies nothing" {
            let levels = LevelSummary.ofVersion (Version.empty 7)
            Expect.isEmpty levels "levels"
            Expect.equal (LevelSummary.spaceAmplification levels) 1.0 "amplification"
        }

        test "a level adds up its tables" {
            let levels =
                LevelSummary.ofVersion (
                    versionOf [
                        [
                            tableOf 9UL "m"B "z"B 1000L |> expiring 0u 0u
                            tableOf 8UL "c"B "x"B 3000L |> expiring 70u 90u
                        ]
                        []
                        [
                            tableOf 1UL "a"B "b"B 5000L |> expiring 20u 30u
                            tableOf 2UL "ba"B "c"B 3000L |> expiring 40u 60u
                        ]
                        []
                    ]
                )

            Expect.equal (levels |> Array.map _.Level) [| 0; 2 |] "only levels that have tables"

            Expect.equal
                levels[0]
                {
                    Level = 0
                    TableCount = 2
                    SizeBytes = 4000L
                    EntryCount = 60L
                    TombstoneCount = 4L
                    EarliestExpirySeconds = 70u
                    LatestExpirySeconds = 0u
                    SmallestKey = "c"B
                    LargestKey = "z"B
                }
                "level 0"

            Expect.equal (levels[1].EarliestExpirySeconds, levels[1].LatestExpirySeconds) (20u, 60u) "expiries"
            Expect.equal (LevelSummary.spaceAmplification levels) 1.5 "12,000 bytes for 8,000"
        }
    ]
