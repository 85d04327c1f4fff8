module LsmFs.Engine.Tests.VersionTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private table (number: uint64) (smallest: string) (largest: string) =
    tableOf number (System.Text.Encoding.ASCII.GetBytes smallest) (System.Text.Encoding.ASCII.GetBytes largest) 1000L

let private add (tables: (int * TableMeta) list) = { VersionEdit.empty with Added = tables }
let private numbers (tables: TableMeta[]) = tables |> Array.map _.Number.Value |> List.ofArray

[<Tests>]
let tests =
    testList "Version" [
        testCase "invariant 1: level 0 is ordered newest first, whatever the order of the edits" (fun () ->
            let version =
                Version.empty 3
                |> Version.apply (add [ 0, table 2UL "a" "z"; 0, table 9UL "a" "b" ])
                |> Version.apply (add [ 0, table 5UL "a" "c" ])

            Expect.equal (numbers version.Levels[0]) [ 9UL; 5UL; 2UL ] "by sequence number")

        testCase "thousands of edits of thousands of tables are folded in seconds" (fun () ->
            let count = 4000
            let key (number: int) = number.ToString "D6"
            let tables = [ for number in 1..count -> table (uint64 number) (key number) (key number) ]
            let start = Version.empty 3 |> Version.apply (add [ for table in tables -> 1, table ])
            let clock = System.Diagnostics.Stopwatch.StartNew()

            let moved =
                tables
                |> List.truncate 1000
                |> List.fold
                    (fun version table ->
                        let edit = { add [ 2, table ] with Removed = [ 1, table.Number ] }
                        Expect.isNone (Version.refusal edit version) "the edit fits"
                        Version.apply edit version)
                    start

            Expect.equal moved.Levels[2].Length 1000 "moved"
            Expect.isLessThan clock.Elapsed (System.TimeSpan.FromSeconds 5.0) "time")

        testCase "invariant 2: deeper levels are ordered by key" (fun () ->
            let version =
                Version.empty 3
                |> Version.apply (add [ 1, table 2UL "m" "p"; 1, table 9UL "a" "b"; 1, table 4UL "q" "q" ])

            Expect.equal (numbers version.Levels[1]) [ 9UL; 2UL; 4UL ] "by key")

        testCase "invariants 2 and 3: edits that would break them are refused" (fun () ->
            let version = Version.empty 3 |> Version.apply (add [ 1, table 1UL "c" "f"; 0, table 2UL "a" "z" ])
            let refused edit = Version.refusal edit version

            Expect.equal
                (refused (add [ 1, table 3UL "f" "g" ]))
                (Some "tables 000001 and 000003 of level 1 overlap")
                "overlap"

            Expect.equal
                (refused (add [ 2, table 1UL "x" "y" ]))
                (Some "it adds a table that is already there")
                "twice"

            Expect.equal (refused (add [ 3, table 4UL "x" "y" ])) (Some "it names level 3") "level"

            Expect.equal
                (refused { VersionEdit.empty with Removed = [ 2, FileNumber 1UL ] })
                (Some "it removes table 000001, which is not in level 2")
                "missing"

            Expect.isNone (refused (add [ 0, table 5UL "a" "z"; 1, table 6UL "g" "h" ])) "a good edit"

            Expect.isNone
                (refused { (add [ 2, table 1UL "c" "f" ]) with Removed = [ 1, FileNumber 1UL ] })
                "a table may move")

        property "tables overlap as their ranges do" (fun (Key a) (Key b) (Key c) (Key d) ->
            let tableOf number (smallest, largest) = tableOf number smallest largest 1L
            let left, right = ordered a b, ordered c d

            let separate =
                Version.compareKeys (snd left) (fst right) < 0 || Version.compareKeys (snd right) (fst left) < 0

            Version.overlaps (tableOf 1UL left) (tableOf 2UL right) = not separate)
    ]
