module LsmFs.Engine.Tests.RecoveryTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private options = {
    Options.ofBudget (8L <<< 20) with
        ChunkSizeBytes = 4096
        MemtableSizeBytes = 2000L
}

let private initial = ManifestReplay.initial options.LevelCount
let private log number = StoreFile.Log(FileNumber number)
let private table number = StoreFile.Table(FileNumber number)

let private withTable number =
    ManifestReplay.apply
        {
            VersionEdit.empty with
                Added = [ 1, tableOf number "a"B "b"B 10L ]
                OldestLog = ValueSome(FileNumber 5UL)
                NextFile = ValueSome(FileNumber 9UL)
        }
        initial

/// A log whose frames hold these batches, numbered on from `first`; `cut` bytes are missing at its end.
let private replayed (number: uint64) (first: uint64) (batches: Write list list) (cut: int) : ReplayedLog * uint64 =
    let payloads, next =
        batches
        |> List.mapFold
            (fun sequence batch -> BatchTests.payloadOf sequence batch, sequence + uint64 batch.Length)
            first

    let buffer = ByteBuffer 64
    let seed = LogFile.appendHeader buffer WriteAheadLog (FileNumber number) 1UL

    for payload in payloads do
        let start = LogFile.startFrame buffer
        buffer.Append(span payload)
        LogFile.finishFrame buffer seed start

    let bytes = buffer.ToArray()[.. buffer.Length - 1 - cut]

    match
        LogFile.replay WriteAheadLog (FileNumber number) (FileName.ofFile (StoreFile.Log(FileNumber number))) bytes
    with
    | Ok replay -> { Number = FileNumber number; Bytes = bytes; Replay = replay }, next
    | Error corruption -> failtest $"{corruption}"

let private applyLogs (logs: ReplayedLog list) =
    let pool = ChunkPool(options.ChunkSizeBytes, 1L <<< 20)
    Recovery.applyLogs options (fun () -> Memtable.Create pool) initial logs

let private find (recovered: RecoveredLogs) (key: byte[]) =
    recovered.Memtables
    |> List.rev
    |> List.tryPick (fun frozen ->
        match frozen.Memtable.TryFind(span key) with
        | ValueSome entry -> Some(entry.Kind, entry.Value.ToArray())
        | ValueNone -> None)

[<Tests>]
let tests =
    testList "Recovery" [
        testCase "what nothing refers to is left over, and the rest is kept" (fun () ->
            let files = [
                StoreFile.Current
                StoreFile.Lock
                StoreFile.Temporary
                StoreFile.Manifest(FileNumber 3UL)
                StoreFile.Manifest(FileNumber 4UL)
                log 2UL
                log 6UL
                log 5UL
                table 7UL
                table 8UL
            ]

            match Recovery.plan (FileNumber 4UL) (withTable 7UL) files with
            | Ok plan ->
                Expect.equal
                    plan.Logs
                    [ FileNumber 5UL; FileNumber 6UL ]
                    "logs in order, from the oldest that is needed"

                Expect.equal
                    (set plan.Leftovers)
                    (set [
                        StoreFile.Temporary
                        StoreFile.Manifest(FileNumber 3UL)
                        StoreFile.Manifest(FileNumber 4UL)
                        log 2UL
                        table 8UL
                    ])
                    "leftovers"

                Expect.equal plan.NextFile (FileNumber 9UL) "the manifest's next number"
            | Error corruption -> failtest $"{corruption}")

        testCase "a number that a crash has used is not used again" (fun () ->
            match Recovery.plan (FileNumber 4UL) (withTable 7UL) [ table 7UL; table 30UL ] with
            | Ok plan -> Expect.equal plan.NextFile (FileNumber 31UL) "past the leftover"
            | Error corruption -> failtest $"{corruption}")

        testCase "a missing table is corruption that names it" (fun () ->
            match Recovery.plan (FileNumber 4UL) (withTable 7UL) [ log 5UL ] with
            | Error corruption -> Expect.equal corruption.File "000007.sst" "the file"
            | Ok _ -> failtest "a missing table was accepted")

        testCase "a missing oldest log that later ones follow is corruption that names it" (fun () ->
            match Recovery.plan (FileNumber 4UL) (withTable 7UL) [ table 7UL; log 6UL ] with
            | Error corruption -> Expect.equal corruption.File "000005.wal" "the file"
            | Ok _ -> failtest "a missing log was accepted"

            match Recovery.plan (FileNumber 4UL) (withTable 7UL) [ table 7UL; log 4UL ] with
            | Ok plan -> Expect.isEmpty plan.Logs "no log at all: there was none yet, or nothing is logged"
            | Error corruption -> failtest $"{corruption}")

        testCase "a folder becomes a new store only without tables and logs" (fun () ->
            Expect.isTrue
                (Recovery.isNewStore [ StoreFile.Lock; StoreFile.Manifest(FileNumber 1UL); StoreFile.Temporary ])
                "a crash at birth"

            Expect.isFalse (Recovery.isNewStore [ log 1UL ]) "a log"
            Expect.isFalse (Recovery.isNewStore [ table 1UL ]) "a table")

        property
            "logs add up to the map of their writes, in memtables of bounded size"
            (fun (batches: Write list list list) ->
                let logs, _ =
                    batches
                    |> List.indexed
                    |> List.mapFold (fun first (index, batches) -> replayed (uint64 index + 1UL) first batches 0) 1UL

                let writes = batches |> List.concat |> List.concat
                let expected = writes |> List.map (fun write -> write.WriteKey, write.WriteValue) |> Map.ofList

                match applyLogs logs with
                | Ok recovered ->
                    Expect.equal recovered.EntryCount (int64 writes.Length) "entries"
                    Expect.equal recovered.LastSequence (SequenceNumber(uint64 writes.Length)) "sequence"

                    for KeyValue(key, value) in expected do
                        match value with
                        | ValueSome bytes -> Expect.equal (find recovered key) (Some(EntryKind.Value, bytes)) "a value"
                        | ValueNone ->
                            Expect.equal (find recovered key) (Some(EntryKind.Tombstone, [||])) "a tombstone"

                    // Logs in use ascend, so that the first log of a memtable tells which logs end before it.
                    let firstLogs = recovered.Memtables |> List.map _.FirstLog
                    Expect.equal firstLogs (List.distinct firstLogs |> List.sort) "first logs"

                    // Invariant 3 of a snapshot: once the oldest memtable is in a table, the logs left bring nothing of it again.
                    match firstLogs with
                    | _ :: (FileNumber second) :: _ ->
                        let left = logs |> List.filter (fun log -> log.Number.Value >= second)
                        let oldest = recovered.Memtables.Head.Memtable
                        let before = batches |> List.truncate (int second - 1) |> List.concat |> List.concat
                        let keys = before |> List.map _.WriteKey |> List.distinct

                        for key in keys do
                            let last = before |> List.findIndexBack (fun write -> write.WriteKey = key)

                            match oldest.TryFind(span key) with
                            | ValueSome entry ->
                                Expect.equal entry.Sequence (SequenceNumber(uint64 last + 1UL)) "the last write before"
                            | ValueNone -> failtest "a write before is missing"

                        match applyLogs left with
                        | Ok again ->
                            let leftCount = writes.Length - before.Length
                            Expect.equal again.EntryCount (int64 leftCount) "entries that are left"
                        | Error corruption -> failtest $"{corruption}"
                    | _ -> ()
                | Error corruption -> failtest $"{corruption}")

        testCase "a torn tail is tolerated in the last log and refused before one with records" (fun () ->
            let write = plainWrite "k"B "v"B

            let torn, _ = replayed 1UL 1UL [ [ write ]; [ write ] ] 3
            let whole, _ = replayed 2UL 3UL [ [ write ] ] 0
            let empty, _ = replayed 2UL 3UL [] 0
            Expect.isOk (applyLogs [ torn ]) "alone"
            Expect.isOk (applyLogs [ torn; empty ]) "before a log without records"

            match applyLogs [ torn; whole ] with
            | Error corruption ->
                Expect.equal
                    (corruption.File, corruption.OffsetBytes)
                    ("000001.wal", int64 torn.Replay.ValidLengthBytes)
                    "the place"
            | Ok _ -> failtest "a confirmed record was lost")

        testCase "a log that was given up before its header was whole holds up nothing" (fun () ->
            let write = plainWrite "k"B "v"B

            let header, _ = replayed 1UL 1UL [] 0
            let whole, _ = replayed 2UL 1UL [ [ write ] ] 0

            for bytes in [ header.Bytes[..15]; Array.zeroCreate 32 ] do
                match LogFile.replay WriteAheadLog (FileNumber 1UL) "000001.wal" bytes with
                | Error corruption -> failtest $"{corruption}"
                | Ok replay ->
                    let givenUp = { header with Bytes = bytes; Replay = replay }

                    match applyLogs [ givenUp; whole ] with
                    | Ok recovered -> Expect.equal recovered.EntryCount 1L "what was written behind it"
                    | Error corruption -> failtest $"{corruption}")

        testCase "sequence numbers ascend across logs" (fun () ->
            let write = plainWrite "k"B "v"B

            let first, _ = replayed 1UL 5UL [ [ write ] ] 0
            let second, _ = replayed 2UL 5UL [ [ write ] ] 0
            Expect.isError (applyLogs [ first; second ]) "the same number twice")
    ]
