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

let private show (plan: CompactionPlan option) =
    let numbers (tables: TableMeta[]) =
        tables |> Array.map (fun table -> string table.Number.Value) |> String.concat " "

    match plan with
    | None -> "nothing"
    | Some plan -> $"L{plan.Level}: {numbers plan.Inputs} + L{plan.Level + 1}: {numbers plan.NextInputs}"

let private pick (tables: (int * TableMeta) list) = Picking.pick options (versionOf tables) |> show

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
                "L0: 6 5 + L1: 2 3"
                "newest first, and tables 2 and 3 touch c to k")

        testCase "a level that is too large gives the table that drags least along" (fun () ->
            Expect.equal
                (pick [
                    1, table 1UL "a" "c" 600L
                    1, table 2UL "d" "f" 600L
                    2, table 3UL "a" "b" 2000L
                    2, table 4UL "e" "e" 500L
                ])
                "L1: 2 + L2: 4"
                "table 2 rewrites 500 bytes, table 1 would rewrite 2000")

        testCase "the level that is most due is first" (fun () ->
            let full = [ 1, table 1UL "a" "c" 3000L; 0, table 2UL "a" "b" 1L; 0, table 3UL "a" "b" 1L ]
            Expect.equal (pick full) "L1: 1 + L2: " "three times its size comes before two tables of two"
            Expect.isTrue (Picking.isTrivialMove (Picking.pick options (versionOf full)).Value) "and it only moves")

        testCase "the deepest level is never picked" (fun () ->
            Expect.equal (pick [ 3, table 1UL "a" "c" 1_000_000_000_000L ]) "nothing" "it has nowhere to go")

        property "every plan takes all that overlaps, and its edit fits the version" (fun tables ->
            let version = anyVersion tables

            match Picking.pick options version with
            | None ->
                for level in 0 .. options.LevelCount - 2 do
                    Expect.isLessThan (Picking.score options version level) 1.0 $"level {level}"
            | Some plan ->
                let isInput (table: TableMeta) =
                    Array.contains table plan.Inputs || Array.contains table plan.NextInputs

                for table in version.Levels[plan.Level + 1] do
                    if plan.Inputs |> Array.exists (Version.overlaps table) then
                        Expect.isTrue (isInput table) $"table {table.Number} of the next level overlaps"

                let edit =
                    if Picking.isTrivialMove plan then
                        Picking.moveEdit plan
                    else
                        // The merge makes one table over the whole range of its inputs.
                        let all = Array.append plan.Inputs plan.NextInputs

                        let smallest =
                            all
                            |> Array.map _.Properties.SmallestKey
                            |> Array.sortWith Version.compareKeys
                            |> Array.head

                        let largest =
                            all
                            |> Array.map _.Properties.LargestKey
                            |> Array.sortWith Version.compareKeys
                            |> Array.last

                        Picking.replaceEdit plan [ tableOf 1000UL smallest largest 1L ]

                Expect.isNone (Version.refusal edit version) "the edit fits")
    ]
