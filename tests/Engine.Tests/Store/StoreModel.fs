/// A whole store without a host: the engine's decisions carried out on byte arrays, and the map it is compared with.
module LsmFs.Engine.Tests.StoreModel

open System
open System.Collections.Generic
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

/// What happens to a store.
type Step =
    /// Writes that are committed together.
    | Commit of Write list
    /// `flush_all`, at once or so many seconds from now.
    | FlushAll of delaySeconds: uint32
    /// The clock goes on.
    | Wait of seconds: uint32
    /// The active memtable is frozen.
    | Freeze
    /// The oldest frozen memtable becomes tables.
    | Flush
    /// The compaction that is most due, if one is, from beginning to end.
    | Compact
    /// The compaction that is most due is begun, and goes on while other things happen.
    | Begin
    /// One of those that go on ends.
    | End of which: int
    /// A table turns out to be unreadable for compactions.
    | SetAside of which: int
    /// The process ends and the store is recovered from its files.
    | Reopen

/// What a reader is to find: a map of the writes since the last flush, and the flush that waits for its time.
type Expected = { Entries: Map<string, Write>; PendingAtSeconds: uint32 }

/// Sizes that make a few writes fill memtables, blocks, tables and levels.
let options: Options = {
    tinyOptions with
        Compression = Compression.Lz4
        ChunkSizeBytes = 4096
        MemtableSizeBytes = 3000L
        TableSizeBytes = 900L
        LevelZeroTableCountTrigger = 2
        LevelOneSizeBytes = 2000L
        LevelSizeMultiplier = 2
        LevelCount = 5
}

/// The files of a store, and its snapshot.
[<Sealed>]
type Store() =
    let tables = Dictionary<FileNumber, byte[]>()
    let logs = SortedDictionary<FileNumber, ByteBuffer * uint32>()
    let pool = ChunkPool(options.ChunkSizeBytes, 1L <<< 20)
    let mutable nextFile = 1UL
    let mutable manifest = ManifestReplay.initial options.LevelCount
    let mutable snapshot = Unchecked.defaultof<Snapshot>
    // Compactions that go on, with the tables they will add.
    let mutable running: (CompactionPlan * Table list) list = []
    let mutable quarantined: FileNumber list = []

    let newFile () =
        nextFile <- nextFile + 1UL
        FileNumber(nextFile - 1UL)

    let newLog () =
        let number = newFile ()
        let buffer = ByteBuffer 256
        let seed = LogFile.appendHeader buffer WriteAheadLog number 77UL
        logs[number] <- (buffer, seed)
        number

    let openTable (number: FileNumber) : Table =
        match openNamed number (FileName.ofFile (StoreFile.Table number)) tables[number] with
        | Ok table -> table
        | Error corruption -> failtest $"%O{corruption}"

    /// Carries a job out; the tables it made are on disk.
    let runJob (job: Job) : Table list =
        let file = ByteBuffer 1024

        let rec go (made: Table list) =
            match job.Next() with
            | JobStep.Read read ->
                let source = tables[read.Table.Number]
                Array.Copy(source, read.Handle.OffsetBytes, read.Destination, 0L, int64 read.Handle.LengthBytes)
                job.Supply()
                go made
            | JobStep.Write bytes ->
                file.Append(bytes.AsSpan())
                go made
            | JobStep.Pause -> go made
            | JobStep.TableFinished _ ->
                let number = newFile ()
                tables[number] <- file.ToArray()
                file.Clear()
                go (openTable number :: made)
            | JobStep.Done -> List.rev made
            | JobStep.Failed corruption -> failtest $"%O{corruption}"

        go []

    /// Records an edit the way a manifest does: encoded, and folded from what was encoded.
    let record (edit: VersionEdit) =
        let edit = { edit with NextFile = ValueSome(FileNumber nextFile) }
        Expect.isNone (Version.refusal edit manifest.Version) "the edit fits"
        let buffer = ByteBuffer 256
        VersionEdit.encode buffer edit

        match VersionEdit.decode "MANIFEST" (buffer.ToArray()) { PayloadOffset = 0; PayloadLength = buffer.Length } with
        | Ok decoded -> manifest <- ManifestReplay.apply decoded manifest
        | Error corruption -> failtest $"%O{corruption}"

    let removeFiles () =
        for number in List.ofSeq logs.Keys do
            if number < manifest.OldestLog then
                logs.Remove number |> ignore

        let live = Version.tables manifest.Version |> Seq.map (fun (_, table) -> table.Number) |> HashSet

        running
        |> List.iter (fun (_, made) -> made |> List.iter (fun table -> live.Add table.Number |> ignore))

        for number in List.ofSeq tables.Keys do
            if not (live.Contains number) then
                tables.Remove number |> ignore

    do
        snapshot <-
            Snapshot.recovered
                (Memtable.Create pool)
                (newLog ())
                [||]
                manifest.Version
                openTable
                FlushState.none
                SequenceNumber.zero

    member _.Snapshot = snapshot

    /// Commits writes, and before them a flush when one is asked for or has come due.
    member _.Commit(writes: Write list, flush: uint32 voption, now: uint32) : unit =
        let log, seed = logs[Seq.last logs.Keys]
        let editor = snapshot.Active.Edit()
        let start = LogFile.startFrame log
        let mutable sequence = snapshot.LastSequence
        let mutable state = snapshot.Flush

        let flushAll (atSeconds: uint32) =
            sequence <- sequence.Next

            let header = {
                Kind = EntryKind.FlushAll
                Sequence = sequence
                Flags = 0u
                ExpirySeconds = atSeconds
                Cas = 0UL
                Marks = EntryMarks.None
            }

            EntryFormat.append log header (span [||]) (span [||]) |> ignore
            state <- FlushState.apply sequence atSeconds state

        if state.IsDue now then
            flushAll 0u

        flush |> ValueOption.iter flushAll

        for write in writes do
            sequence <- sequence.Next
            let entry = encode sequence.Value write
            log.Append(span entry)
            editor.Put(span entry)

        LogFile.finishFrame log seed start
        snapshot <- Snapshot.committed (editor.Commit()) state sequence snapshot

    member _.Freeze() : unit =
        if not snapshot.Active.IsEmpty then
            snapshot <- Snapshot.frozen (Memtable.Create pool) (newLog ()) snapshot

    member _.Flush(now: uint32) : unit =
        match Work.flushNext snapshot with
        | None -> ()
        | Some frozen ->
            let made = runJob (Work.flushJob (JobMemory()) options snapshot frozen now)
            let edit = Work.flushEdit snapshot (made |> List.map _.Meta)
            record edit
            snapshot <- Snapshot.flushed (Snapshot.levelsAfter edit made snapshot) snapshot
            removeFiles ()
            frozen.Memtable.Recycle()

    /// Begins the compaction that is most due.
    member store.Begin(now: uint32) : bool =
        if snapshot.Flush.IsDue now then
            store.Commit([], ValueNone, now)

        match Picking.pick options (Work.pickingInput snapshot now (List.map fst running) quarantined) with
        | None -> false
        | Some plan ->
            let made =
                if plan.Kind = CompactionKind.Merge then
                    for _, table in plan.Inputs do
                        Expect.isFalse (List.contains table.Number quarantined) "what cannot be read is not read"

                    runJob (Work.compactionJob (JobMemory()) options snapshot plan now)
                else
                    []

            running <- (plan, made) :: running
            true

    /// Ends one of the compactions that were begun.
    member _.End(which: int) : unit =
        if running.Length > 0 then
            let plan, made = running[which % running.Length]
            let edit = CompactionPlan.edit plan (made |> List.map _.Meta) |> Work.withFlush snapshot
            record edit
            snapshot <- Snapshot.compacted (Snapshot.levelsAfter edit made snapshot) snapshot
            running <- running |> List.filter (fun (other, _) -> not (obj.ReferenceEquals(other, plan)))
            removeFiles ()

    /// Whether compactions go on.
    member _.HasRunning: bool = not running.IsEmpty

    /// Tables that compactions do not read.
    member _.QuarantinedCount: int = quarantined.Length

    member store.Compact(now: uint32) : bool =
        let hasBegun = store.Begin now

        if hasBegun then
            store.End 0

        hasBegun

    /// From now on no compaction reads the table; whoever looks for a key still does.
    member _.SetAside(which: int) : unit =
        let all = Version.tables snapshot.Version |> Seq.map (fun (_, table) -> table.Number) |> Array.ofSeq

        if all.Length > 0 then
            quarantined <- all[which % all.Length] :: quarantined

    member _.Reopen() : unit =
        // What was begun is lost, and nobody remembers what could not be read.
        running <- []
        quarantined <- []
        removeFiles ()

        let files = [
            for number in logs.Keys -> StoreFile.Log number
            for number in tables.Keys -> StoreFile.Table number
        ]

        let replayed =
            Recovery.plan (FileNumber 0UL) manifest files
            |> Result.bind (fun plan ->
                Expect.isEmpty plan.Leftovers "every file is in use"

                let logs =
                    plan.Logs
                    |> List.map (fun number ->
                        let bytes = (fst logs[number]).ToArray()
                        let name = FileName.ofFile (StoreFile.Log number)

                        match LogFile.replay WriteAheadLog number name bytes with
                        | Ok replay -> { Number = number; Bytes = bytes; Replay = replay }
                        | Error corruption -> failtest $"%O{corruption}")

                Recovery.applyLogs options (fun () -> Memtable.Create pool) manifest logs)

        match replayed with
        | Error corruption -> failtest $"%O{corruption}"
        | Ok recovered ->
            Expect.equal recovered.LastSequence snapshot.LastSequence "the newest write is recovered"
            let frozen = recovered.Memtables |> List.rev |> Array.ofList

            snapshot <-
                Snapshot.recovered
                    (Memtable.Create pool)
                    (newLog ())
                    frozen
                    manifest.Version
                    openTable
                    recovered.Flush
                    recovered.LastSequence

    /// Finds a key the way the host does, block by block.
    member _.Find(key: byte[], now: uint32) : LookupStep =
        let decoder = BlockDecoder()
        let mutable step = Lookup.start snapshot (span key) now

        while step.Outcome = LookupOutcome.ReadBlock do
            let file = tables[step.Request.Table.Number]
            let handle = step.Request.Handle
            let block = Array.sub file (int handle.OffsetBytes) handle.LengthBytes

            match step.Request.Open(decoder, block, 0) with
            | Ok content ->
                let content = Array.sub content.Bytes content.Start content.Length
                step <- Lookup.resume snapshot snapshot.Flush (span key) now step content content.Length
            | Error corruption -> failtest $"%O{corruption}"

        step

    /// The number of items of the newest snapshot, by so many walks when it has more entries than `wholeEntryCountMax`, and whether it is exact.
    member _.CountItems(now: uint32, wholeEntryCountMax: int64, walkCount: int) : int64 * bool =
        let count = ItemCount(snapshot, now, wholeEntryCountMax, walkCount)

        while count.Advance() = SourceState.NeedsBlock do
            let wanted = count.Wanted
            let file = tables[wanted.Table.Number]
            Array.Copy(file, wanted.Handle.OffsetBytes, wanted.Destination, 0L, int64 wanted.Handle.LengthBytes)
            Expect.isOk (count.Supply()) "the blocks are whole"

        Expect.isLessThanOrEqual count.Result (max 0L count.AtMost) "no more than there may be"
        count.Result, count.IsWhole

    /// All that a scan of the newest snapshot shows, as encoded entries.
    member _.Scan(now: uint32, bounds: KeyBounds) : byte[] list =
        let scan = Scan(snapshot, now, bounds, 300)

        let rec go (entries: byte[] list) =
            match scan.MoveNext() with
            | SourceState.Ready -> go (scan.Current.Bytes.ToArray() :: entries)
            | SourceState.NeedsBlock ->
                let wanted = scan.Wanted
                let file = tables[wanted.Table.Number]
                Array.Copy(file, wanted.Handle.OffsetBytes, wanted.Destination, 0L, int64 wanted.Handle.LengthBytes)
                Expect.isOk (scan.Supply()) "the blocks are whole"
                go entries
            | _ -> List.rev entries

        go []
