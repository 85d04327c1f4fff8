namespace LsmFs.Engine

// Everything whole in a damaged store goes into one new sorted run: of each key the entry with the largest sequence number, whatever level or log it was
// in, so that it does not take a manifest. What is lost is told as files and offsets, and as parts of the key space. Where entries were lost, an
// older one of the same key may come out from below them: it may be stale, and is told as well.

open System
open System.Collections.Generic

/// A log, as far as it can be read.
[<NoEquality; NoComparison>]
type SalvagedLog = {
    Log: ReplayedLog
    Losses: Loss list
    /// A torn end that is no loss when no later log has records: what a crash leaves was never confirmed.
    TornEnd: Corruption voption
}

/// Deciding what can be saved of a damaged store, and what is to be said of the rest.
[<RequireQualifiedAccess>]
module Salvage =

    let private lossOf
        (file: StoreFile)
        (offsetBytes: int64)
        (lengthBytes: int64)
        (reason: string)
        (keys: LostKeys voption)
        = {
        Damage = { File = FileName.ofFile file; OffsetBytes = offsetBytes; Reason = reason }
        LengthBytes = lengthBytes
        Keys = keys
    }

    /// A table that cannot be opened. The manifest, when there is one, says which keys it had.
    let lostTable (damage: Corruption) (lengthBytes: int64) (meta: TableMeta voption) : Loss = {
        Damage = damage
        LengthBytes = lengthBytes
        Keys =
            meta
            |> ValueOption.map (fun table -> {
                From = table.Properties.SmallestKey
                IncludesFrom = true
                To = table.Properties.LargestKey
                IncludesTo = true
                Newest = table.Properties.LargestSequence
            })
    }

    /// What does not fit between a manifest that could be read and the files that are there. Its last edit may be damaged, which looks like a torn end: then
    /// tables that it does not name may hold what it misses.
    let misfit (manifest: FileNumber) (state: ManifestState) (files: StoreFile list) : Corruption voption =
        match Recovery.plan manifest state files with
        | Ok _ -> ValueNone
        | Error damage -> ValueSome damage

    /// The tables to read: those that the manifest names, and all that are there when there is none or `isMisfit`.
    let tables
        (state: ManifestState voption)
        (isMisfit: bool)
        (files: StoreFile list)
        : (FileNumber * TableMeta voption) list =
        let named =
            match state with
            | ValueSome state ->
                Version.tables state.Version
                |> Seq.map (fun (_, table) -> table.Number, ValueSome table)
                |> List.ofSeq
            | ValueNone -> []

        let others =
            files
            |> List.choose (function
                | StoreFile.Table number when not (named |> List.exists (fun (other, _) -> other = number)) ->
                    Some(number, ValueNone)
                | _ -> None)

        if state.IsNone || isMisfit then named @ others else named

    /// The logs to read, oldest first, and the loss of one that must have been there.
    let logs (state: ManifestState voption) (files: StoreFile list) : struct (FileNumber list * Loss list) =
        let oldest =
            match state with
            | ValueSome state -> state.OldestLog
            | ValueNone -> FileNumber 0UL

        let found =
            files
            |> List.choose (function
                | StoreFile.Log number when number >= oldest -> Some number
                | _ -> None)
            |> List.sort

        match found with
        | first :: _ when oldest.Value > 0UL && first > oldest ->
            let reason =
                $"the manifest needs this log, and it is not there, though {FileName.ofFile (StoreFile.Log first)} is"

            struct (found, [ lossOf (StoreFile.Log oldest) 0L 0L reason ValueNone ])
        | _ -> struct (found, [])

    /// The whole frames of a log, those behind damage too. O(length).
    let log (number: FileNumber) (bytes: byte[]) : SalvagedLog =
        let file = StoreFile.Log number

        let struct (frames, gaps), reason =
            match LogFile.unknownVersion bytes with
            | ValueSome version ->
                let all: struct (int * int)[] = [| struct (0, bytes.Length) |]

                struct ([||], all),
                $"write-ahead log format version {version} is not known (the newest known is {LogFile.version})"
            | ValueNone -> LogFile.salvage WriteAheadLog number bytes, "these bytes are no whole record"

        let isHeaderWhole = gaps |> Array.forall (fun struct (offset, _) -> offset > 0)
        let isLast (offset: int) = frames |> Array.forall (fun frame -> frame.PayloadOffset < offset)
        let torn, holes = gaps |> Array.partition (fun struct (offset, _) -> isHeaderWhole && isLast offset)

        {
            Log = {
                Number = number
                Bytes = bytes
                Replay = {
                    Frames = frames
                    ValidLengthBytes = bytes.Length
                    TornBytes = 0
                    IsTailUnused = true
                    Seed = 0u
                }
            }
            Losses =
                holes
                |> Array.map (fun struct (offset, length) -> lossOf file (int64 offset) (int64 length) reason ValueNone)
                |> List.ofArray
            TornEnd =
                match Array.tryLast torn with
                | Some(struct (offset, _)) ->
                    ValueSome {
                        File = FileName.ofFile file
                        OffsetBytes = int64 offset
                        Reason = LogFile.describeTail bytes offset
                    }
                | None -> ValueNone
        }

    /// What was lost of the logs, oldest first: a torn end is a loss when a later log has records.
    let logLosses (logs: SalvagedLog list) : struct (Loss list * Corruption list) =
        let rec go (logs: SalvagedLog list) =
            match logs with
            | [] -> [], []
            | log :: later ->
                let losses, notes = go later
                let isFollowed = later |> List.exists (fun other -> other.Log.Replay.Frames.Length > 0)

                match log.TornEnd with
                | ValueSome torn when isFollowed ->
                    let length = int64 log.Log.Bytes.Length - torn.OffsetBytes
                    log.Losses @ [ { Damage = torn; LengthBytes = length; Keys = ValueNone } ] @ losses, notes
                | ValueSome torn -> log.Losses @ losses, torn :: notes
                | ValueNone -> log.Losses @ losses, notes

        let losses, notes = go logs
        struct (losses, notes)

    /// Leaves out frames whose entries are not a batch, or do not ascend from the ones before, which a right checksum makes all but impossible.
    let believable (logs: SalvagedLog list) : SalvagedLog list =
        let add (last: SequenceNumber) (log: SalvagedLog) =
            let kept = ResizeArray<Frame>()
            let refused = ResizeArray<Loss>()
            let mutable last = last

            for frame in log.Log.Replay.Frames do
                match Batch.validate (FileName.ofFile (StoreFile.Log log.Log.Number)) log.Log.Bytes frame last with
                | Ok next ->
                    kept.Add frame
                    last <- next
                | Error damage ->
                    refused.Add { Damage = damage; LengthBytes = int64 frame.PayloadLength; Keys = ValueNone }

            let replay = { log.Log.Replay with Frames = kept.ToArray() }

            {
                log with
                    Log = { log.Log with Replay = replay }
                    Losses = log.Losses @ List.ofSeq refused
            },
            last

        logs |> List.mapFold add SequenceNumber.zero |> fst

    let private covers (keys: LostKeys) (key: ReadOnlySpan<byte>) : bool =
        let low = key.SequenceCompareTo keys.From
        let high = key.SequenceCompareTo keys.To
        (low > 0 || (low = 0 && keys.IncludesFrom)) && (high < 0 || (high = 0 && keys.IncludesTo))

    /// Tells which items may be stale: of keys that may have had a newer entry in what was lost. Made for keys that ascend.
    [<Sealed>]
    type Staleness(losses: Loss seq) =
        let waiting =
            Queue<LostKeys>(
                losses
                |> Seq.choose (fun loss ->
                    match loss.Keys with
                    | ValueSome keys -> Some keys
                    | ValueNone -> None)
                |> Seq.sortWith (fun left right -> Version.compareKeys left.From right.From)
            )

        let active = List<LostKeys>()

        /// Whether the item may be stale. Its key must not be smaller than the one asked for before. Amortised O(losses that overlap).
        member _.MayBeStale(entry: Entry) : bool =
            let key = entry.Key
            let (SequenceNumber sequence) = entry.Sequence

            while waiting.Count > 0
                  && (let next = waiting.Peek()
                      key.SequenceCompareTo next.From >= 0) do
                active.Add(waiting.Dequeue())

            let mutable index = 0
            let mutable isStale = false

            while index < active.Count do
                if key.SequenceCompareTo active[index].To > 0 then
                    active.RemoveAt index
                else
                    isStale <- isStale || (covers active[index] key && sequence <= active[index].Newest.Value)

                    index <- index + 1

            isStale

    /// A loss in one line: file, offset, reason, bytes, and between which keys.
    let describe (loss: Loss) : string =
        let keys =
            match loss.Keys with
            | ValueNone -> "which keys were in them is not known"
            | ValueSome keys ->
                let first = if keys.IncludesFrom then "from" else "behind"
                let last = if keys.IncludesTo then "to" else "to before"
                $"keys {first} {KeyText.ofKey keys.From} {last} {KeyText.ofKey keys.To}, up to sequence number {keys.Newest}"

        $"{loss.Damage}; {loss.LengthBytes} bytes, {keys}"

    /// The job that writes everything whole as one sorted run. What is deleted, expired or flushed is left out.
    let job (options: Options) (sources: EntrySource[]) (flush: FlushState) (nowSeconds: uint32) : Job =
        Job(
            options,
            sources,
            {
                NowSeconds = nowSeconds
                FlushedThrough = flush.Through
                OlderRanges = [||]
                GrandparentRanges = [||]
            }
        )

    /// What the manifest of the new store says.
    let state (options: Options) (tables: TableMeta list) (last: SequenceNumber) (flush: FlushState) : ManifestState =
        let highest = tables |> List.fold (fun highest table -> max highest table.Number.Value) 0UL
        let edit = { VersionEdit.empty with Added = tables |> List.map (fun table -> 1, table) }

        {
            Version = Version.apply edit (Version.empty options.LevelCount)
            OldestLog = FileNumber(highest + 1UL)
            NextFile = FileNumber(highest + 1UL)
            LastSequence = tables |> List.fold (fun last table -> max last table.Properties.LargestSequence) last
            Flush = flush
        }
