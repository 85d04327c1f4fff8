namespace LsmFs.Engine

/// What a check of a store came upon.
type Finding =
    /// Bytes or files that are not what was written.
    | Damage of Corruption
    /// What a crash may leave behind. The next start clears it away, and nothing that was acknowledged is lost.
    | Remnant of Corruption
    /// Damage to a file that the store does not need.
    | Aside of Corruption

/// The logs of a store so far, oldest first.
type LogCheck = {
    /// The last sequence number.
    Last: SequenceNumber
    /// Ends in the middle of a record that nothing followed yet.
    TornEnds: Corruption list
}

/// Deciding what is wrong with a store, from what was read of it.
[<RequireQualifiedAccess>]
module Check =

    let private corruption (file: string) (offsetBytes: int64) (reason: string) : Corruption = {
        File = file
        OffsetBytes = offsetBytes
        Reason = reason
    }

    /// Each field in which `said` and `found` differ, in words.
    let private differences (said: TableProperties) (found: TableProperties) : string list =
        let field (name: string) (value: TableProperties -> 'value) (text: 'value -> string) =
            if value said = value found then
                None
            else
                Some $"{name} {text (value said)}, not {text (value found)}"

        List.choose id [
            field "entries" _.EntryCount string
            field "tombstones" _.TombstoneCount string
            field "key bytes" _.KeyBytes string
            field "value bytes" _.ValueBytes string
            field "smallest key" _.SmallestKey KeyText.ofKey
            field "largest key" _.LargestKey KeyText.ofKey
            field "smallest sequence number" _.SmallestSequence string
            field "largest sequence number" _.LargestSequence string
            field "earliest expiry" _.EarliestExpirySeconds string
            field "latest expiry" _.LatestExpirySeconds string
        ]

    /// What the manifest says of a table against what the table says of itself.
    let tableAgainstManifest (meta: TableMeta) (table: Table) : Corruption list = [
        if meta.SizeBytes <> table.SizeBytes then
            corruption
                table.File
                table.SizeBytes
                $"the manifest says {meta.SizeBytes} bytes, and the file has {table.SizeBytes}"

        for difference in differences meta.Properties table.Properties do
            corruption table.File 0L $"the manifest says what the table's properties do not: {difference}"
    ]

    /// What a table says of itself against a count of its entries.
    let tableAgainstRecount (table: Table) (recount: TableProperties) : Corruption list =
        differences table.Properties recount
        |> List.map (fun difference ->
            corruption table.File 0L $"the table's properties say what its entries do not: {difference}")

    let private sequencesOverlap (left: TableMeta) (right: TableMeta) : bool =
        left.Properties.SmallestSequence <= right.Properties.LargestSequence
        && right.Properties.SmallestSequence <= left.Properties.LargestSequence

    let rec private pairs (tables: TableMeta list) : (TableMeta * TableMeta) list =
        match tables with
        | first :: rest -> (rest |> List.map (fun other -> first, other)) @ pairs rest
        | [] -> []

    let private levelZero (tables: TableMeta[]) : string list = [
        for left, right in Array.pairwise tables do
            if left.Properties.LargestSequence < right.Properties.LargestSequence then
                $"tables {left.Number} and {right.Number} of level 0 are not in order, newest first"

        // Tables of one flush share sequence numbers and no keys, those of two flushes keys and no sequence numbers.
        for left, right in pairs (List.ofArray tables) do
            if Version.overlaps left right && sequencesOverlap left right then
                $"tables {left.Number} and {right.Number} of level 0 overlap in keys and in sequence numbers"
    ]

    let private deeperLevel (level: int) (tables: TableMeta[]) : string list = [
        for left, right in Array.pairwise tables do
            if Version.overlaps left right then
                $"tables {left.Number} and {right.Number} of level {level} overlap"
            elif Version.compareKeys left.Properties.SmallestKey right.Properties.SmallestKey > 0 then
                $"tables {left.Number} and {right.Number} of level {level} are not in order of their keys"
    ]

    /// What contradicts itself in what a manifest says: the order within each level (invariants 1 to 3 of Version.fs), and tables that are newer than
    /// the manifest's own numbers. O(tables²) in level 0, O(tables) below.
    let levels (manifest: FileNumber) (state: ManifestState) : Corruption list =
        let tables = Version.tables state.Version |> Seq.map snd |> List.ofSeq

        let twice = tables |> List.countBy _.Number |> List.filter (fun (_, count) -> count > 1) |> List.map fst

        [
            for number in twice do
                $"table {number} is in the levels twice"

            for level, levelTables in Array.indexed state.Version.Levels do
                yield!
                    if level = 0 then
                        levelZero levelTables
                    else
                        deeperLevel level levelTables

            for table in tables do
                if table.Number >= state.NextFile then
                    $"table {table.Number} is there, though the next new file is {state.NextFile}"

                if table.Properties.LargestSequence > state.LastSequence then
                    $"table {table.Number} goes up to sequence number {table.Properties.LargestSequence}, past the last one, {state.LastSequence}"
        ]
        |> List.map (corruption (FileName.ofFile (StoreFile.Manifest manifest)) 0L)

    /// The manifest in force against the files of its folder: what is missing, and what is left over.
    let files (manifest: FileNumber) (state: ManifestState) (files: StoreFile list) : Finding list =
        let manifestName = FileName.ofFile (StoreFile.Manifest manifest)
        let present = Set.ofList files
        let live = Version.tables state.Version |> Seq.map (fun (_, table) -> table.Number) |> Set.ofSeq

        let isLeftover (file: StoreFile) =
            match file with
            | StoreFile.Log number -> number < state.OldestLog
            | StoreFile.Table number -> not (live.Contains number)
            | StoreFile.Manifest number -> number <> manifest
            | StoreFile.Temporary -> true
            | StoreFile.Decisions _
            | StoreFile.Current
            | StoreFile.Lock
            | StoreFile.Backup
            | StoreFile.Reserve -> false

        let laterLog =
            files
            |> List.tryPick (function
                | StoreFile.Log number when number > state.OldestLog -> Some number
                | _ -> None)

        [
            for number in live do
                if not (present.Contains(StoreFile.Table number)) then
                    let name = FileName.ofFile (StoreFile.Table number)
                    Damage(corruption name 0L $"{manifestName} names this table, and it is not there")

            match laterLog with
            | Some later when state.OldestLog.Value > 0UL && not (present.Contains(StoreFile.Log state.OldestLog)) ->
                let name = FileName.ofFile (StoreFile.Log state.OldestLog)
                let laterName = FileName.ofFile (StoreFile.Log later)
                Damage(corruption name 0L $"{manifestName} needs this log, and it is not there, though {laterName} is")
            | _ -> ()

            for file in List.sort files do
                if isLeftover file then
                    Remnant(corruption (FileName.ofFile file) 0L $"{manifestName} has no need of this file")
        ]

    /// A torn end of the manifest in force, which was read without an error before.
    let manifest (number: FileNumber) (bytes: byte[]) : Finding list =
        let name = FileName.ofFile (StoreFile.Manifest number)

        match LogFile.replay Manifest number name bytes with
        | Ok replay when replay.TornBytes > 0 -> [
            Remnant(
                corruption
                    name
                    replay.ValidLengthBytes
                    $"it ends in {replay.TornBytes} bytes that are no whole version edit"
            )
          ]
        | Ok _ -> []
        | Error corruption -> [ Damage corruption ]

    /// No logs yet.
    let noLogs: LogCheck = { Last = SequenceNumber.zero; TornEnds = [] }

    let private validateBatches (name: string) (bytes: byte[]) (frames: Frame[]) (last: SequenceNumber) =
        frames
        |> Array.fold (fun last frame -> last |> Result.bind (Batch.validate name bytes frame)) (Ok last)

    /// Adds the next log: frames and their checksums, the entries in them, and that sequence numbers ascend from log to log. O(length).
    let addLog (number: FileNumber) (bytes: byte[]) (before: LogCheck) : struct (LogCheck * Finding list) =
        let name = FileName.ofFile (StoreFile.Log number)

        match LogFile.replay WriteAheadLog number name bytes with
        | Error corruption -> struct (before, [ Damage corruption ])
        | Ok replay ->
            let tornBefore, buried =
                if replay.Frames.Length = 0 then
                    before.TornEnds, []
                else
                    [],
                    before.TornEnds
                    |> List.map (fun torn ->
                        Damage { torn with Reason = $"{torn.Reason}, and a later log has records" })

            let tornHere =
                if replay.TornBytes = 0 then
                    []
                else
                    [ corruption name replay.ValidLengthBytes (LogFile.describeTail bytes replay.ValidLengthBytes) ]

            // What never was a log is no end of one.
            let torn, found =
                if LogFile.isGivenUp replay then
                    tornBefore, buried @ List.map Remnant tornHere
                else
                    tornBefore @ tornHere, buried

            match validateBatches name bytes replay.Frames before.Last with
            | Ok last -> struct ({ Last = last; TornEnds = torn }, found)
            | Error corruption -> struct ({ before with TornEnds = torn }, found @ [ Damage corruption ])

    /// What is to be said once all logs were added.
    let finishLogs (logs: LogCheck) : Finding list = logs.TornEnds |> List.map Remnant

    /// A decision log: frames and their checksums, and the records in them. The store never reads it, so nothing in it is damage to the store.
    let decisions (number: FileNumber) (bytes: byte[]) : Finding list =
        let name = FileName.ofFile (StoreFile.Decisions number)

        match LogFile.replay DecisionLog number name bytes with
        | Error corruption -> [ Aside corruption ]
        | Ok replay -> [
            for frame in replay.Frames do
                match DecisionLog.decode name bytes frame with
                | Ok _ -> ()
                | Error corruption -> Aside corruption
            if replay.TornBytes > 0 then
                Aside(
                    corruption
                        name
                        replay.ValidLengthBytes
                        $"it ends in {replay.TornBytes} bytes that are no whole record"
                )
          ]
