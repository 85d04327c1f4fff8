module LsmFs.Engine.Tests.BackupTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private stateOf (tables: TableMeta list) (oldestLog: uint64) (last: uint64) : ManifestState =
    let edit = { VersionEdit.empty with Added = tables |> List.map (fun table -> 0, table) }

    {
        ManifestReplay.initial 7 with
            Version = Version.apply edit (Version.empty 7)
            OldestLog = FileNumber oldestLog
            LastSequence = SequenceNumber last
    }

let private table (number: uint64) (sizeBytes: int64) = tableOf number "a"B "b"B sizeBytes
let private log (number: uint64) = StoreFile.Log(FileNumber number)
let private written = { Number = FileNumber 3UL; HeaderChecksum = 0x1a2b3c4du }
let private marker = { Source = "/srv/lsm fs"; Manifests = [ written ] }

let private target (current: (BackupManifest * ManifestState) voption) : BackupTarget = {
    Files = [ StoreFile.Current; StoreFile.Backup; StoreFile.Manifest(FileNumber 3UL) ]
    Marker = ValueSome marker
    Current = current
}

let private refuses (target: BackupTarget) (source: string) (state: ManifestState) (words: string) =
    match Backup.refusal source state target with
    | ValueSome reason -> Expect.stringContains reason words "the reason"
    | ValueNone -> failtest $"accepted; expected: {words}"

let private accepts (target: BackupTarget) (state: ManifestState) =
    Expect.equal (Backup.refusal marker.Source state target) ValueNone "accepted"

/// The logs of a folder at one moment. They are made in ascending order.
type private Logs = { First: int; Newest: int }

/// A listing that took from one moment to another: it has what was there all the time, and of what came or went whatever it happens on.
let private list (luck: bool list) (before: Logs) (after: Logs) : StoreFile list = [
    for number in before.First .. after.Newest do
        let wasThereAllTheTime = number >= after.First && number <= before.Newest

        if wasThereAllTheTime || luck.IsEmpty || luck[number % luck.Length] then
            log (uint64 number)
]

/// A log is made, or the first ones are deleted.
let private next (logs: Logs) (isMade: bool) : Logs =
    if isMade then
        { logs with Newest = logs.Newest + 1 }
    else
        { logs with First = min logs.Newest (logs.First + 1) }

[<Tests>]
let tests =
    testList "Backup" [
        property "BACKUP reads back as it was" (fun (numbers: (uint64 * uint32) list) ->
            let marker = {
                marker with
                    Manifests =
                        numbers
                        |> List.map (fun (number, checksum) -> {
                            Number = FileNumber number
                            HeaderChecksum = checksum
                        })
            }

            Expect.equal (Backup.decodeMarker (Backup.encodeMarker marker)) (Ok marker) "the marker")

        testCase "BACKUP of an unknown version, or cut off, is refused by name" (fun () ->
            let reason (bytes: byte[]) =
                match Backup.decodeMarker bytes with
                | Error corruption -> string corruption
                | Ok _ -> failtest "accepted"

            Expect.stringContains (reason "#lsmfs-backup 2\nsource /a\n"B) "'#lsmfs-backup 2' is not known" "version"
            Expect.stringStarts (reason "#lsmfs-backup 1\nsource /a\nmanifest 0000"B) "BACKUP: offset 0: " "cut"
            Expect.stringStarts (reason ""B) "BACKUP: offset 0: " "empty")

        testCase "a folder takes the backups of one store and one history, and nothing that is no backup" (fun () ->
            let state = stateOf [ table 7UL 100L ] 5UL 40UL
            accepts { Files = [ StoreFile.Lock ]; Marker = ValueNone; Current = ValueNone } state
            // A first backup that did not come to its end.
            accepts
                {
                    target ValueNone with
                        Files = [ StoreFile.Backup; StoreFile.Table(FileNumber 7UL) ]
                }
                state

            accepts (target (ValueSome(written, stateOf [ table 7UL 100L; table 6UL 50L ] 2UL 40UL))) state

            for file in [ StoreFile.Current; log 1UL; StoreFile.Table(FileNumber 1UL) ] do
                refuses
                    { Files = [ file ]; Marker = ValueNone; Current = ValueNone }
                    marker.Source
                    state
                    "it holds a store that is not a backup"

            refuses (target ValueNone) "/srv/other" state "it is a backup of the store in /srv/lsm fs"
            let served = { written with HeaderChecksum = 1u }
            refuses (target (ValueSome(served, state))) marker.Source state "a server has had it open since"
            let newer = stateOf [] 5UL 41UL

            refuses
                (target (ValueSome(written, newer)))
                marker.Source
                state
                "its last write is number 41, the store's 40"

            let other = stateOf [ table 7UL 101L ] 5UL 40UL
            refuses (target (ValueSome(written, other))) marker.Source state "its table 000007 is not the store's")

        property
            "new and kept tables are the store's, and what is kept is in the backup"
            (fun (had: Set<byte>) (has: Set<byte>) ->
                let tables (numbers: Set<byte>) = [ for number in numbers -> table (uint64 number) 10L ]
                let state = stateOf (tables has) 0UL 300UL
                let plan = Backup.plan state (ValueSome(stateOf (tables had) 0UL 300UL))

                let numbers (tables: TableMeta list) =
                    tables |> List.map (fun table -> byte table.Number.Value) |> Set.ofList

                Expect.equal (numbers plan.Kept) (Set.intersect had has) "kept"
                Expect.equal (numbers plan.New) (has - had) "new"
                Expect.equal (numbers (Backup.plan state ValueNone).New) has "all is new to an empty folder")

        property
            "two listings give logs without a hole, or the manifest has moved on"
            (fun (meanwhile: bool list) (between: bool list) (luck: bool list) (luck': bool list) ->
                let before = { First = 5; Newest = 7 }
                let middle = List.fold next before meanwhile
                let after = List.fold next middle between

                match Backup.logs (stateOf [] 5UL 0UL) (list luck before middle) (list luck' middle after) with
                // The manifest says so before the first log goes, so that the caller begins again.
                | _ when after.First > before.First -> ()
                | ValueNone -> failtest "nothing was deleted"
                | ValueSome logs ->
                    let numbers = logs |> List.map (fun number -> int number.Value)
                    Expect.equal numbers [ before.First .. List.last numbers ] "no hole"
                    Expect.isGreaterThanOrEqual (List.last numbers) before.Newest "all that was there when it began")

        testCase "a store without logs, and one whose oldest log is gone" (fun () ->
            let state = stateOf [] 5UL 0UL
            Expect.equal (Backup.logs state [ log 4UL ] [ log 4UL ]) (ValueSome []) "nothing is logged"
            Expect.equal (Backup.logs state [ log 6UL ] [ log 6UL ]) ValueNone "the oldest is missing")

        property
            "whole records of a log are a prefix of it, wherever it is cut"
            (fun (batches: Write list list) (cut: uint16) ->
                let number = FileNumber 9UL
                let buffer = ByteBuffer 64
                let seed = LogFile.appendHeader buffer WriteAheadLog number 77UL
                let mutable sequence = 0UL
                let ends = ResizeArray [ 32, 0L ]

                for batch in batches do
                    let start = LogFile.startFrame buffer

                    for write in batch do
                        sequence <- sequence + 1UL
                        buffer.Append(span (encode sequence write))

                    LogFile.finishFrame buffer seed start
                    ends.Add((buffer.Length, int64 sequence))

                let length = int cut % (buffer.Length + 1)
                let bytes = buffer.ToArray()[.. length - 1]

                let expected =
                    ends
                    |> Seq.filter (fun (finish, _) -> finish <= length)
                    |> Seq.tryLast
                    |> Option.defaultValue (0, 0L)

                match Backup.wholeRecords number bytes with
                | Ok(struct (valid, count)) -> Expect.equal (valid, count) expected "bytes and entries"
                | Error corruption -> failtest $"{corruption}")

        testCase "a manifest reads back as the state, and BACKUP knows it by its header" (fun () ->
            let state = stateOf [ table 7UL 100L; table 8UL 5L ] 5UL 40UL

            let number =
                Backup.nextManifest [ StoreFile.Manifest(FileNumber 4UL); StoreFile.Manifest(FileNumber 9UL) ]

            Expect.equal number (FileNumber 10UL) "larger than any"
            let struct (bytes, manifest) = Backup.encodeManifest number 123UL state
            Expect.equal (ManifestReplay.replay 7 number "m" bytes) (Ok state) "the state"
            Expect.equal (Backup.manifestOf number bytes) manifest "the header"
            let struct (_, other) = Backup.encodeManifest number 124UL state
            Expect.notEqual other manifest "another salt, another manifest")

        testCase "what the backup needs is not deleted" (fun () ->
            let state = stateOf [ table 7UL 100L ] 5UL 40UL

            let needed = [
                StoreFile.Current
                StoreFile.Lock
                StoreFile.Backup
                StoreFile.Manifest(FileNumber 4UL)
                StoreFile.Table(FileNumber 7UL)
                log 5UL
            ]

            let others = [
                StoreFile.Temporary
                StoreFile.Manifest(FileNumber 3UL)
                StoreFile.Table(FileNumber 6UL)
                log 4UL
            ]

            Expect.equal
                (Backup.leftovers (FileNumber 4UL) state [ FileNumber 5UL ] (needed @ others))
                others
                "leftovers")
    ]
