namespace LsmFs.Engine

/// What opening a store has to do with the files of its folder.
type RecoveryPlan = {
    /// Logs to replay, oldest first.
    Logs: FileNumber list
    /// Files that nothing refers to once the new manifest is in force.
    Leftovers: StoreFile list
    /// The number of the next new file: larger than any in the folder or the manifest.
    NextFile: FileNumber
}

/// The memtables that replayed logs add up to.
[<NoEquality; NoComparison>]
type RecoveredLogs = {
    /// Oldest first.
    Memtables: FrozenMemtable list
    Flush: FlushState
    LastSequence: SequenceNumber
    /// Entries applied.
    EntryCount: int64
}

/// A log that was read whole.
type ReplayedLog = { Number: FileNumber; Bytes: byte[]; Replay: LogReplay }

/// Deciding how a store is recovered.
[<RequireQualifiedAccess>]
module Recovery =

    let private numberOf (file: StoreFile) : FileNumber =
        match file with
        | StoreFile.Log number
        | StoreFile.Table number
        | StoreFile.Manifest number
        | StoreFile.Decisions number -> number
        | StoreFile.Current
        | StoreFile.Lock
        | StoreFile.Temporary
        | StoreFile.Backup
        | StoreFile.Reserve -> FileNumber 0UL

    /// What to do with the files found in the folder when `CURRENT` names `manifest` and that says `state`.
    /// A table that the manifest names and the folder lacks is corruption, and so is a missing oldest log that later ones follow. That is
    /// also how damage to the manifest's last edit shows, which looks like a torn end: logs are deleted only after the edit that says so is durable.
    let plan (manifest: FileNumber) (state: ManifestState) (files: StoreFile list) : Result<RecoveryPlan, Corruption> =
        let live = Version.tables state.Version |> Seq.map (fun (_, table) -> table.Number) |> Set.ofSeq

        let isLeftover (file: StoreFile) =
            match file with
            | StoreFile.Log number -> number < state.OldestLog
            | StoreFile.Table number -> not (live.Contains number)
            // Opening starts a new manifest, so every one that was found is left over then.
            | StoreFile.Manifest _
            | StoreFile.Temporary -> true
            | StoreFile.Decisions _
            | StoreFile.Current
            | StoreFile.Lock
            | StoreFile.Backup
            | StoreFile.Reserve -> false

        let logs =
            files
            |> List.choose (function
                | StoreFile.Log number when number >= state.OldestLog -> Some number
                | _ -> None)
            |> List.sort

        let manifestName = FileName.ofFile (StoreFile.Manifest manifest)

        let found =
            files
            |> List.choose (function
                | StoreFile.Table number -> Some number
                | _ -> None)
            |> Set.ofList

        match live |> Seq.tryFind (fun number -> not (found.Contains number)), logs with
        | Some missing, _ ->
            let name = FileName.ofFile (StoreFile.Table missing)
            Corruption.at name 0L $"{manifestName} names this table, and it is not there"
        | None, first :: _ when first > state.OldestLog && state.OldestLog.Value > 0UL ->
            let name = FileName.ofFile (StoreFile.Log state.OldestLog)

            Corruption.at
                name
                0L
                $"{manifestName} needs this log, and it is not there, though {FileName.ofFile (StoreFile.Log first)} is"
        | None, _ ->
            let highest =
                files |> List.map numberOf |> List.fold max (FileNumber(max 1UL state.NextFile.Value - 1UL))

            Ok {
                Logs = logs
                Leftovers = files |> List.filter isLeftover
                NextFile = FileNumber(highest.Value + 1UL)
            }

    /// Whether a folder without `CURRENT` may become a new store: it holds no table and no log. A crash while a store is being
    /// created leaves a manifest at most.
    let isNewStore (files: StoreFile list) : bool =
        files
        |> List.forall (function
            | StoreFile.Log _
            | StoreFile.Table _ -> false
            | _ -> true)

    /// The first log with a torn tail that has records in a later log behind it: what was torn there had been confirmed.
    let private tornInTheMiddle (logs: ReplayedLog list) : ReplayedLog option =
        let isFollowed (log: ReplayedLog) =
            logs |> List.exists (fun other -> other.Number > log.Number && other.Replay.Frames.Length > 0)

        logs
        |> List.tryFind (fun log -> log.Replay.TornBytes > 0 && not (LogFile.isGivenUp log.Replay) && isFollowed log)

    let private applyFrame
        (editor: MemtableEditor)
        (bytes: byte[])
        (frame: Frame)
        (flush: FlushState)
        : struct (FlushState * int64) =
        let mutable offset = frame.PayloadOffset
        let mutable flush = flush
        let mutable count = 0L

        while offset < frame.PayloadOffset + frame.PayloadLength do
            let entry = { Buffer = bytes; Offset = offset }

            if entry.Kind = EntryKind.FlushAll then
                flush <- FlushState.apply entry.Sequence entry.ExpirySeconds flush
            else
                editor.Put entry.Bytes

            count <- count + 1L
            offset <- offset + entry.Length

        struct (flush, count)

    /// Applies replayed logs, oldest first, to memtables made by `create`; a memtable that is full is followed by another one, which begins with another log.
    /// A torn tail is tolerated only where nothing was written after it.
    let applyLogs
        (options: Options)
        (create: unit -> Memtable)
        (state: ManifestState)
        (logs: ReplayedLog list)
        : Result<RecoveredLogs, Corruption> =
        let rec apply
            (done': FrozenMemtable list)
            (memtable: Memtable)
            (logs: struct (FileNumber * FileNumber) voption)
            (flush: FlushState)
            (last: SequenceNumber)
            (count: int64)
            (pending: (ReplayedLog * Frame) list)
            =
            let closed () =
                match logs with
                | ValueSome struct (first, _) when not memtable.IsEmpty -> FrozenMemtable(memtable, first) :: done'
                | _ -> done'

            let isFromLog (number: FileNumber) =
                match logs with
                | ValueSome struct (_, last) -> last = number
                | ValueNone -> false

            match pending with
            | [] ->
                Ok {
                    Memtables = List.rev (closed ())
                    Flush = flush
                    LastSequence = max last state.LastSequence
                    EntryCount = count
                }
            // Never within a log: it is needed for as long as the later one is, and would bring the first part again.
            | (log, _) :: _ when Work.shouldFreeze options memtable && not (isFromLog log.Number) ->
                apply (closed ()) (create ()) ValueNone flush last count pending
            | (log, frame) :: rest ->
                match Batch.validate (FileName.ofFile (StoreFile.Log log.Number)) log.Bytes frame last with
                | Error corruption -> Error corruption
                | Ok last ->
                    let editor = memtable.Edit()
                    let struct (flush, added) = applyFrame editor log.Bytes frame flush

                    let logs =
                        match logs with
                        | ValueSome struct (first, _) -> ValueSome struct (first, log.Number)
                        | ValueNone -> ValueSome struct (log.Number, log.Number)

                    apply done' (editor.Commit()) logs flush last (count + added) rest

        match tornInTheMiddle logs with
        | Some log ->
            Corruption.at
                (FileName.ofFile (StoreFile.Log log.Number))
                log.Replay.ValidLengthBytes
                "the log ends in the middle of a record, and a later log has records"
        | None ->
            logs
            |> List.collect (fun log -> log.Replay.Frames |> Array.map (fun frame -> log, frame) |> List.ofArray)
            |> apply [] (create ()) ValueNone state.Flush SequenceNumber.zero 0L
