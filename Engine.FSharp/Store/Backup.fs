namespace LsmFs.Engine

// A backup is a folder that opens as a store. Invariants, after every operation on its files, whatever a crash makes of them:
// 1. CURRENT names a manifest whose tables are all there.
// 2. The logs that this manifest needs have no hole: a log has records only when every older one is complete.
// 3. What the folder holds is the source's history up to some write, and that write only moves forward.
//
// New tables come first, under numbers that the manifest in force does not name. Then the new manifest, and CURRENT. Then the logs, oldest first,
// each replaced in one step: the logs that were there are in the new tables, or the beginning of what the new manifest needs. Last, what nothing refers
// to is deleted. The lengths of the source's logs are taken newest first, so that a log is complete before a newer one's records count.
//
// BACKUP says that the folder is one, of which store, and which manifests a backup wrote (the header's checksum tells one from a server's):
//
//   #lsmfs-backup 1
//   source /srv/lsmfs
//   manifest 000012 1a2b3c4d
//   manifest 000013 5e6f7a8b

open System
open System.Globalization
open System.Text

/// A manifest that a backup wrote.
[<Struct>]
type BackupManifest = {
    Number: FileNumber
    /// The checksum in its header, which depends on a salt: no other manifest has it.
    HeaderChecksum: uint32
}

/// The content of `BACKUP`.
type BackupMarker = {
    /// The full path of the store that the folder is a backup of.
    Source: string
    /// What `CURRENT` may name.
    Manifests: BackupManifest list
}

/// What was found in the folder that is to take a backup.
type BackupTarget = {
    Files: StoreFile list
    Marker: BackupMarker voption
    /// The manifest in force.
    Current: (BackupManifest * ManifestState) voption
}

/// What becomes of the tables of a store in its backup.
type BackupPlan = {
    /// Tables that the backup lacks.
    New: TableMeta list
    /// Tables that it has.
    Kept: TableMeta list
}

/// Deciding what a backup copies, and what it may replace.
[<RequireQualifiedAccess>]
module Backup =

    let private firstLine = "#lsmfs-backup 1"

    /// The bytes of `BACKUP`.
    let encodeMarker (marker: BackupMarker) : byte[] =
        let lines = [
            firstLine
            $"source {marker.Source}"
            for manifest in marker.Manifests do
                $"manifest {manifest.Number} {manifest.HeaderChecksum:x8}"
        ]

        Encoding.UTF8.GetBytes(String.Join('\n', lines) + "\n")

    let private tryManifest (line: string) : BackupManifest option =
        match line.Split ' ' with
        | [| "manifest"; number; checksum |] ->
            match
                UInt64.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture),
                UInt32.TryParse(checksum, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
            with
            | (true, number), (true, checksum) -> Some { Number = FileNumber number; HeaderChecksum = checksum }
            | _ -> None
        | _ -> None

    /// Reads `BACKUP`.
    let decodeMarker (bytes: byte[]) : Result<BackupMarker, Corruption> =
        let bad (reason: string) = Corruption.at (FileName.ofFile StoreFile.Backup) 0L reason

        match Encoding.UTF8.GetString(bytes).TrimEnd('\n').Split '\n' |> List.ofArray with
        | first :: _ when first <> firstLine && first.StartsWith "#lsmfs-backup " ->
            bad $"the format version of '{first}' is not known (the newest known is 1)"
        | first :: source :: manifests when first = firstLine && source.StartsWith "source " ->
            let read = manifests |> List.choose tryManifest

            if read.Length = manifests.Length then
                Ok { Source = source.Substring 7; Manifests = read }
            else
                bad "a line names no manifest"
        | _ -> bad $"it does not begin with '{firstLine}' and the store's folder"

    let private notThatStore (marker: BackupMarker) (why: string) =
        ValueSome
            $"it is a backup of another store that was in {marker.Source} ({why}); choose another folder with --to"

    let private differentTable (source: ManifestState) (target: ManifestState) : TableMeta option =
        let known =
            Version.tables target.Version |> Seq.map (fun (_, table) -> table.Number, table) |> Map.ofSeq

        Version.tables source.Version
        |> Seq.map snd
        |> Seq.tryFind (fun table ->
            match known.TryFind table.Number with
            | Some other -> other <> table
            | None -> false)

    /// Why a folder cannot take a backup of the store in `source`, in words that follow the folder's name. A backup is never mistaken for
    /// that of another history as long as the two share a table, or the store has fewer writes than its backup.
    let refusal (source: string) (state: ManifestState) (target: BackupTarget) : string voption =
        let isThere = List.contains StoreFile.Current target.Files

        match target.Marker, target.Current with
        | ValueNone, _ when
            isThere
            || target.Files
               |> List.exists (function
                   | StoreFile.Log _
                   | StoreFile.Table _
                   | StoreFile.Manifest _ -> true
                   | _ -> false)
            ->
            ValueSome "it holds a store that is not a backup; choose another folder with --to"
        | ValueNone, _ -> ValueNone
        | ValueSome marker, _ when marker.Source <> source ->
            ValueSome $"it is a backup of the store in {marker.Source}; choose another folder with --to"
        | ValueSome _, ValueNone -> ValueNone
        | ValueSome marker, ValueSome(manifest, _) when not (List.contains manifest marker.Manifests) ->
            ValueSome
                "a server has had it open since, so that it is a store of its own now; choose another folder with --to"
        | ValueSome marker, ValueSome(_, known) when state.LastSequence < known.LastSequence ->
            notThatStore marker $"its last write is number {known.LastSequence}, the store's {state.LastSequence}"
        | ValueSome marker, ValueSome(_, known) ->
            match differentTable state known with
            | Some table -> notThatStore marker $"its table {table.Number} is not the store's"
            | None -> ValueNone

    /// Which tables of a store its backup lacks. O(tables · log tables).
    let plan (state: ManifestState) (previous: ManifestState voption) : BackupPlan =
        let known =
            match previous with
            | ValueSome previous ->
                Version.tables previous.Version |> Seq.map (fun (_, table) -> table.Number) |> Set.ofSeq
            | ValueNone -> Set.empty

        let kept, added =
            Version.tables state.Version
            |> Seq.map snd
            |> List.ofSeq
            |> List.partition (fun table -> known.Contains table.Number)

        { New = added; Kept = kept }

    let private logsSince (oldest: FileNumber) (files: StoreFile list) : FileNumber list =
        files
        |> List.choose (function
            | StoreFile.Log number when number >= oldest -> Some number
            | _ -> None)
        |> List.sort

    /// The logs that belong to a state, oldest first, from two listings of the folder, one after the other; nothing when the first one needed is gone.
    /// A listing may lack a file that was made meanwhile and have a newer one. What the first listing has was made before the second began, and everything
    /// older too. That nothing was deleted before both is for the caller to see: the manifest must still need the same logs afterwards.
    let logs (state: ManifestState) (first: StoreFile list) (second: StoreFile list) : FileNumber list voption =
        match List.tryLast (logsSince state.OldestLog first) with
        | None -> ValueSome []
        | Some newest ->
            match logsSince state.OldestLog second |> List.filter (fun number -> number <= newest) with
            | oldest :: _ as logs when state.OldestLog.Value = 0UL || oldest = state.OldestLog -> ValueSome logs
            | _ -> ValueNone

    /// How many bytes of a log are whole records, and how many entries they hold. A torn end may be a record that is being written. O(length).
    let wholeRecords (number: FileNumber) (bytes: byte[]) : Result<struct (int * int64), Corruption> =
        let name = FileName.ofFile (StoreFile.Log number)

        let addFrame (count: Result<struct (SequenceNumber * int64), Corruption>) (frame: Frame) =
            count
            |> Result.bind (fun (struct (last, count)) ->
                Batch.validate name bytes frame last
                |> Result.map (fun last -> struct (last, count + Batch.entryCount bytes frame)))

        LogFile.replay WriteAheadLog number name bytes
        |> Result.bind (fun replay ->
            replay.Frames
            |> Array.fold addFrame (Ok(struct (SequenceNumber.zero, 0L)))
            |> Result.map (fun (struct (_, count)) -> struct (replay.ValidLengthBytes, count)))

    /// The number of the backup's next manifest: larger than any that is there.
    let nextManifest (files: StoreFile list) : FileNumber =
        files
        |> List.fold
            (fun highest file ->
                match file with
                | StoreFile.Manifest number -> max highest number.Value
                | _ -> highest)
            0UL
        |> fun highest -> FileNumber(highest + 1UL)

    /// All bytes of a manifest that says `state`. The salt is any number a client cannot guess.
    let encodeManifest (number: FileNumber) (salt: uint64) (state: ManifestState) : struct (byte[] * BackupManifest) =
        let buffer = ByteBuffer 4096
        let seed = LogFile.appendHeader buffer Manifest number salt
        let frame = LogFile.startFrame buffer
        VersionEdit.encode buffer (ManifestReplay.snapshot state)
        LogFile.finishFrame buffer seed frame
        struct (buffer.ToArray(), { Number = number; HeaderChecksum = seed })

    /// The manifest that a folder has, as `BACKUP` names it.
    let manifestOf (number: FileNumber) (bytes: byte[]) : BackupManifest = {
        Number = number
        HeaderChecksum = Coding.readU32 (ReadOnlySpan<byte> bytes) (LogFile.headerLength - 4)
    }

    /// What may be deleted from the backup once `manifest` is in force and the logs are there.
    let leftovers
        (manifest: FileNumber)
        (state: ManifestState)
        (logs: FileNumber list)
        (files: StoreFile list)
        : StoreFile list =
        let live = Version.tables state.Version |> Seq.map (fun (_, table) -> table.Number) |> Set.ofSeq

        files
        |> List.filter (function
            | StoreFile.Table number -> not (live.Contains number)
            | StoreFile.Log number -> not (List.contains number logs)
            | StoreFile.Manifest number -> number <> manifest
            | StoreFile.Temporary -> true
            | _ -> false)
