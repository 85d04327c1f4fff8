module LsmFs.Engine.Tests.PickingTests

open System.Text
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private options = {
    Options.ofBudget (64L <<< 20) with
        LevelZeroTableCountTrigger = 2
        LevelOneSizeBytes = 1000L
        LevelSizeMultiplier = 10
        LevelCount = 4
}

let private table (number: uint64) (smallest: string) (largest: string) (sizeBytes: int64) =
    tableOf number (Encoding.ASCII.GetBytes smallest) (Encoding.ASCII.GetBytes largest) sizeBytes

let private versionOf (tables: (int * TableMeta) list) =
    Version.apply { VersionEdit.empty with Added = tables } (Version.empty options.LevelCount)

let private pickPlan (version: Version) = Picking.pick options (PickingInput.ofVersion 0u version)

let private pick (tables: (int * TableMeta) list) =
    pickPlan (versionOf tables) |> Option.map CompactionPlan.print |> Option.defaultValue "nothing"

/// Any version that keeps the invariants: deeper levels get tables one by one as long as they fit.
let private anyVersion (tables: (byte * Key * Key * uint16) list) : Version =
    tables
    |> List.indexed
    |> List.fold
        (fun version (index, (level, Key left, Key right, size)) ->
            let smallest, largest = ordered left right

            let table = tableOf (uint64 index + 1UL) smallest largest (int64 size + 1L)
            let edit = { VersionEdit.empty with Added = [ int level % options.LevelCount, table ] }

            if (Version.refusal edit version).IsNone then
                Version.apply edit version
            else
                version)
        (Version.empty options.LevelCount)

[<Tests>]
let tests =
    testList "Picking" [
        testCase "an empty store and a store within its bounds need nothing" (fun () ->
            Expect.equal (pick []) "nothing" "empty"
            Expect.equal (pick [ 0, table 1UL "a" "z" 5000L; 1, table 2UL "a" "z" 900L ]) "nothing" "within bounds")

        testCase "level 0 goes whole, with what it overlaps" (fun () ->
            Expect.equal
                (pick [
                    0, table 5UL "c" "f" 100L
                    0, table 6UL "e" "k" 100L
                    1, table 1UL "a" "b" 100L
                    1, table 2UL "c" "d" 100L
                    1, table 3UL "k" "m" 100L
                    1, table 4UL "n" "z" 100L
                ])
                "LevelZeroFull: merge L0 6 5 L1 2 3 to L1"
                "newest first, and tables 2 and 3 touch c to k")

        testCase "of a backlog in level 0 the oldest tables go, so that no job takes too long" (fun () ->
            let backlog = [
                for number in 1UL .. 12UL do
                    0, table number "a" "z" 100L
            ]

            Expect.equal
                (pick backlog)
                "LevelZeroFull: merge L0 6 5 4 3 2 1 to L1"
                "half of the twelve at which writes wait")

        testCase "level 0 goes first once it is half way to where writes wait" (fun () ->
            let behind = [ 1, table 10UL "a" "f" 90_000L; 2, table 11UL "a" "z" 9_000L ]

            let levelZero count = [
                for number in 1UL .. count do
                    0, table number "a" "b" 100L
            ]

            Expect.equal
                (pick (levelZero 5UL @ behind))
                "LevelOverTarget: merge L1 10 L2 11 to L2"
                "level 1 is a hundred times too large"

            Expect.equal
                (pick (levelZero 6UL @ behind))
                "LevelZeroFull: merge L0 6 5 4 3 2 1 L1 10 to L1"
                "but writes come first")

        testCase "what a level may hold follows from the level at the bottom" (fun () ->
            let ofBottom sizeBytes =
                let version = versionOf [ 3, table 1UL "a" "z" sizeBytes ]
                [ for level in 1..2 -> Picking.levelTargetBytes options version level ]

            Expect.equal (ofBottom 100_000L) [ 1000.0; 10_000.0 ] "a tenth of the one below each"
            Expect.equal (ofBottom 50_000L) [ 500.0; 5_000.0 ] "so that a tenth of the store is hidden at most"
            Expect.equal (ofBottom 10L) [ 100.0; 100.0 ] "but not next to nothing")

        testCase "the bottom level goes down whole and unread when there is room for a level between" (fun () ->
            let full = [ 1, table 1UL "a" "c" 600L; 1, table 2UL "d" "f" 600L; 0, table 3UL "a" "z" 1L ]
            Expect.equal (pick full) "BottomFull: move L1 1 2 to L2" "1200 bytes are more than level 1 may hold"
            Expect.equal (pick [ 2, table 1UL "a" "c" 9_999L ]) "nothing" "level 2 may hold ten times as much")

        testCase "a level that is too large gives the table that drags least along" (fun () ->
            Expect.equal
                (pick [
                    1, table 1UL "a" "c" 600L
                    1, table 2UL "d" "f" 600L
                    2, table 3UL "a" "b" 2000L
                    2, table 4UL "e" "e" 500L
                ])
                "LevelOverTarget: merge L1 2 L2 4 to L2"
                "table 2 rewrites 500 bytes, table 1 would rewrite 2000")

        testCase "where much was deleted compaction comes first" (fun () ->
            let deleted (table: TableMeta) = {
                table with
                    TableMeta.Properties.TombstoneCount = table.Properties.EntryCount
            }

            Expect.equal
                (pick [
                    1, deleted (table 1UL "a" "c" 600L)
                    1, table 2UL "d" "f" 600L
                    2, table 3UL "a" "b" 900L
                    2, table 4UL "e" "e" 600L
                ])
                "LevelOverTarget: merge L1 1 L2 3 to L2"
                "table 1 rewrites half as much again as table 2, but removes as much as it moves")

        testCase "tables of level 0 that overlap nothing only move" (fun () ->
            let isMove tables = (pickPlan (versionOf tables)).Value.Kind = CompactionKind.Move
            let below = 1, table 1UL "x" "z" 10L

            Expect.isTrue
                (isMove [ 0, table 2UL "d" "f" 10L; 0, table 3UL "a" "c" 10L; below ])
                "neither below nor among them"

            Expect.isFalse
                (isMove [ 0, table 2UL "c" "f" 10L; 0, table 3UL "a" "c" 10L; below ])
                "they overlap each other"

            Expect.isFalse
                (isMove [ 0, table 2UL "d" "x" 10L; 0, table 3UL "a" "c" 10L; below ])
                "they overlap what is below")

        testCase "the deepest level is never picked" (fun () ->
            Expect.equal (pick [ 3, table 1UL "a" "c" 1_000_000_000_000L ]) "nothing" "it has nowhere to go")

        property "every plan takes all that overlaps, and its edit fits the version" (fun tables ->
            let version = anyVersion tables

            match pickPlan version with
            | None ->
                for level in 0 .. options.LevelCount - 2 do
                    Expect.isLessThan (Picking.score options version level) 1.0 $"level {level}"
            | Some plan ->
                let level = CompactionPlan.level plan
                let inputsAt level = plan.Inputs |> Array.filter (fst >> (=) level) |> Array.map snd
                let inputs = inputsAt level

                for table in version.Levels[level + 1] do
                    if inputs |> Array.exists (Version.overlaps table) then
                        Expect.contains (inputsAt (level + 1)) table $"table {table.Number} of the next level overlaps"

                if level = 0 then
                    let oldest = Array.skip (version.Levels[0].Length - inputs.Length) version.Levels[0]
                    Expect.equal inputs oldest "what stays in level 0 is newer"

                // A merge makes one table over the whole range of its inputs.
                let struct (smallest, largest) = CompactionPlan.hull (Array.map snd plan.Inputs)
                let edit = CompactionPlan.edit plan [ tableOf 1000UL smallest largest 1L ]
                Expect.isNone (Version.refusal edit version) "the edit fits"
                Expect.equal (CompactionPlan.parse version (CompactionPlan.print plan)) (Some plan) "as text and back")
    ]
