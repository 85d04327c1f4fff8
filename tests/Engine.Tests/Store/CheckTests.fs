/// What a check says of a store but for its tables, which `TableCheckTests` look into: the order of the levels, the files, the logs.
module LsmFs.Engine.Tests.CheckTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators
open LsmFs.Engine.Tests.TableFixtures

let private stateOf (levels: TableMeta list list) : ManifestState = {
    ManifestReplay.initial levels.Length with
        Version = { Levels = levels |> List.map Array.ofList |> Array.ofList }
        NextFile = FileNumber 100UL
        LastSequence = SequenceNumber 100UL
}

let private sequences (smallest: uint64) (largest: uint64) (table: TableMeta) : TableMeta = {
    table with
        Properties = {
            table.Properties with
                SmallestSequence = SequenceNumber smallest
                LargestSequence = SequenceNumber largest
        }
}

let private table (number: uint64) (smallest: string) (largest: string) : TableMeta =
    tableOf number (keyBytes smallest) (keyBytes largest) 1000L |> sequences number number

let private levelFindings (levels: TableMeta list list) : string list =
    Check.levels (FileNumber 3UL) (stateOf levels) |> List.map _.Reason

let private reasons (findings: Finding list) : string list =
    findings
    |> List.map (function
        | Damage corruption -> $"damage %O{corruption}"
        | Remnant corruption -> $"remnant %O{corruption}"
        | Aside corruption -> $"aside %O{corruption}")

/// A log with one batch for each list of sequence numbers.
let logOf (number: uint64) (batches: uint64 list list) : byte[] =
    let buffer = ByteBuffer 256
    let seed = LogFile.appendHeader buffer WriteAheadLog (FileNumber number) 77UL

    for batch in batches do
        let start = LogFile.startFrame buffer

        for sequence in batch do
            let header = {
                Kind = EntryKind.Value
                Sequence = SequenceNumber sequence
                Flags = 0u
                ExpirySeconds = 0u
                Cas = 0UL
                Marks = EntryMarks.None
            }

            EntryFormat.append buffer header (span "key"B) (span "value"B) |> ignore

        LogFile.finishFrame buffer seed start

    buffer.ToArray()

let private checkLogs (logs: (uint64 * byte[]) list) : string list =
    let mutable check = Check.noLogs
    let findings = ResizeArray<Finding>()

    for number, bytes in logs do
        let struct (next, found) = Check.addLog (FileNumber number) bytes check
        check <- next
        findings.AddRange found

    findings.AddRange(Check.finishLogs check)
    reasons (List.ofSeq findings)

[<Tests>]
let tests =
    testList "Check" [
        editProperty "the state after any edits that fit has its levels in order"
        <| fun (edits: Edit list) ->
            let version =
                edits
                |> List.fold
                    (fun version (Edit edit) ->
                        match Version.refusal edit version with
                        | None -> Version.apply edit version
                        | Some _ -> version)
                    (Version.empty 7)

            let state = { stateOf [] with Version = version }

            let findings =
                Check.levels (FileNumber 3UL) state
                |> List.filter (fun finding ->
                    // Generated tables take their sequence numbers and their own from the air.
                    not (finding.Reason.Contains "sequence number" || finding.Reason.Contains "next new file"))

            Expect.isEmpty findings "findings"

        test "levels out of order are found" {
            let first, second, both = table 1UL "a" "c", table 2UL "d" "f", table 3UL "b" "e"

            Expect.isEmpty
                (levelFindings [ [ both; second; first ]; [ first; second ]; [ both ] ]
                 |> List.filter (fun reason -> not (reason.Contains "twice")))
                "in order"

            Expect.equal
                (levelFindings [ []; [ second; first ] ])
                [ "tables 000002 and 000001 of level 1 are not in order of their keys" ]
                "order"

            Expect.equal
                (levelFindings [ []; [ first; both ] ])
                [ "tables 000001 and 000003 of level 1 overlap" ]
                "overlap"

            Expect.equal (levelFindings [ [ first ]; [ first ] ]) [ "table 000001 is in the levels twice" ] "twice"

            Expect.equal
                (levelFindings [ [ first; second ] ])
                [ "tables 000001 and 000002 of level 0 are not in order, newest first" ]
                "level 0"

            Expect.equal
                (levelFindings [ [ sequences 1UL 9UL first; sequences 5UL 6UL both ] ])
                [ "tables 000001 and 000003 of level 0 overlap in keys and in sequence numbers" ]
                "level 0"

            Expect.isEmpty
                (levelFindings [ [ sequences 1UL 9UL first; sequences 5UL 6UL second ] ])
                "two tables of a flush"

            Expect.equal
                (levelFindings [ []; [ table 100UL "a" "b" |> sequences 1UL 101UL ] ])
                [
                    "table 000100 is there, though the next new file is 000100"
                    "table 000100 goes up to sequence number 101, past the last one, 100"
                ]
                "numbers"
        }

        test "missing files are damage, and files that nothing refers to are remnants" {
            let state = {
                stateOf [ [ table 7UL "a" "b"; table 6UL "c" "d" ] ] with
                    OldestLog = FileNumber 8UL
            }

            let found (files: StoreFile list) =
                reasons (Check.files (FileNumber 3UL) state (StoreFile.Current :: StoreFile.Lock :: files))

            let whole = [
                StoreFile.Manifest(FileNumber 3UL)
                StoreFile.Table(FileNumber 6UL)
                StoreFile.Table(FileNumber 7UL)
                StoreFile.Log(FileNumber 8UL)
                StoreFile.Log(FileNumber 9UL)
            ]

            Expect.isEmpty (found whole) "whole"

            Expect.equal
                (found (List.except [ StoreFile.Table(FileNumber 6UL) ] whole))
                [ "damage 000006.sst: offset 0: MANIFEST-000003 names this table, and it is not there" ]
                "a table"

            Expect.equal
                (found (List.except [ StoreFile.Log(FileNumber 8UL) ] whole))
                [
                    "damage 000008.wal: offset 0: MANIFEST-000003 needs this log, and it is not there, though 000009.wal is"
                ]
                "a log"

            for extra, name in
                [
                    StoreFile.Table(FileNumber 5UL), "000005.sst"
                    StoreFile.Log(FileNumber 7UL), "000007.wal"
                    StoreFile.Manifest(FileNumber 2UL), "MANIFEST-000002"
                    StoreFile.Temporary, "CURRENT.tmp"
                ] do
                Expect.equal
                    (found (extra :: whole))
                    [ $"remnant {name}: offset 0: MANIFEST-000003 has no need of this file" ]
                    name
        }

        test "logs: torn ends, and sequence numbers that do not ascend" {
            let first, second = logOf 8UL [ [ 1UL; 2UL ]; [ 3UL ] ], logOf 9UL [ [ 4UL ] ]
            let torn = Array.append first [| 1uy; 2uy |]
            let empty = logOf 9UL []
            Expect.isEmpty (checkLogs [ 8UL, first; 9UL, second ]) "whole"
            let end' = $"000008.wal: offset {first.Length}: it ends in 2 bytes that are no whole record"
            Expect.equal (checkLogs [ 8UL, torn; 9UL, empty ]) [ $"remnant {end'}" ] "torn at the end"

            Expect.equal
                (checkLogs [ 8UL, torn; 9UL, second ])
                [ $"damage {end'}, and a later log has records" ]
                "in the middle"

            let again = logOf 9UL [ [ 3UL ] ]

            Expect.equal
                (checkLogs [ 8UL, first; 9UL, again ])
                [ "damage 000009.wal: offset 48: sequence number 3 follows 3" ]
                "again"
        }

        test "a log that was given up before its header was whole is a remnant, whatever follows it" {
            let begun = (logOf 8UL [])[..9]

            Expect.equal
                (checkLogs [ 8UL, begun; 9UL, logOf 9UL [ [ 4UL ] ] ])
                [ "remnant 000008.wal: offset 0: it ends in 10 bytes that are no whole record" ]
                "begun"
        }

        test "space that a log has taken ahead is told as such" {
            Expect.equal
                (checkLogs [ 8UL, Array.append (logOf 8UL [ [ 1UL ] ]) (Array.zeroCreate 512) ])
                [
                    $"remnant 000008.wal: offset {(logOf 8UL [ [ 1UL ] ]).Length}: it ends in 512 bytes of space for further records"
                ]
                "space"

            Expect.equal
                (checkLogs [ 8UL, Array.append (Array.zeroCreate LogFile.headerLength) "x"B ])
                [ "damage 000008.wal: offset 0: the header of the write-ahead log is missing" ]
                "a header that is gone"
        }

        test "a manifest: a torn end is a remnant, a foreign one is damage" {
            let whole =
                let buffer = ByteBuffer 64
                let seed = LogFile.appendHeader buffer Manifest (FileNumber 3UL) 77UL
                let start = LogFile.startFrame buffer
                buffer.Append(span "an edit"B)
                LogFile.finishFrame buffer seed start
                buffer.ToArray()

            let found (bytes: byte[]) = reasons (Check.manifest (FileNumber 3UL) bytes)
            Expect.isEmpty (found whole) "whole"

            Expect.equal
                (found (Array.append whole "torn"B))
                [
                    $"remnant MANIFEST-000003: offset {whole.Length}: it ends in 4 bytes that are no whole version edit"
                ]
                "torn"

            Expect.stringStarts (found (logOf 3UL [])).Head "damage MANIFEST-000003: offset 0: " "foreign"
        }

        test "nothing in a decision log is damage to the store" {
            let logOf (payloads: byte[] list) =
                let buffer = ByteBuffer 64
                let seed = LogFile.appendHeader buffer DecisionLog (FileNumber 4UL) 77UL

                for payload in payloads do
                    let start = LogFile.startFrame buffer
                    buffer.Append(span payload)
                    LogFile.finishFrame buffer seed start

                buffer.ToArray()

            let record =
                let buffer = ByteBuffer 64
                DecisionLog.encode buffer { TimeMilliseconds = 5L; Event = Frozen 6L }
                buffer.ToArray()

            let found (bytes: byte[]) = reasons (Check.decisions (FileNumber 4UL) bytes)
            Expect.isEmpty (found (logOf [ record; record ])) "whole"

            Expect.equal
                (found (logOf [ record; "nonsense"B ])).Length
                1
                "a record that is none, under a right checksum"

            Expect.equal
                (found (Array.append (logOf [ record ]) "torn"B))
                [
                    $"aside 000004.decisions: offset {(logOf [ record ]).Length}: it ends in 4 bytes that are no whole record"
                ]
                "torn"

            Expect.stringStarts (found (Array.create 64 1uy)).Head "aside 000004.decisions: offset 0: " "foreign"
        }

        test "every changed byte of a log is found" {
            let whole = logOf 8UL [ [ 1UL; 2UL ]; [ 3UL ] ]

            for offset in 0 .. whole.Length - 1 do
                let changed = Array.copy whole
                changed[offset] <- changed[offset] ^^^ 1uy
                Expect.equal (checkLogs [ 8UL, changed ]).Length 1 $"offset {offset}"
        }
    ]
