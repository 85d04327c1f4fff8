namespace LsmFs.Engine

open System.Text

/// All that a manifest says of a store.
type ManifestState = {
    Version: Version
    OldestLog: FileNumber
    NextFile: FileNumber
    LastSequence: SequenceNumber
    Flush: FlushState
}

/// Folding a manifest, and the file that names it.
[<RequireQualifiedAccess>]
module ManifestReplay =

    /// The state of a new store.
    let initial (levelCount: int) : ManifestState = {
        Version = Version.empty levelCount
        OldestLog = FileNumber 0UL
        NextFile = FileNumber 1UL
        LastSequence = SequenceNumber.zero
        Flush = FlushState.none
    }

    /// The state after an edit that `Version.refusal` has nothing against.
    let apply (edit: VersionEdit) (state: ManifestState) : ManifestState = {
        Version = Version.apply edit state.Version
        OldestLog = edit.OldestLog |> ValueOption.defaultValue state.OldestLog
        NextFile = edit.NextFile |> ValueOption.defaultValue state.NextFile
        LastSequence = edit.LastSequence |> ValueOption.defaultValue state.LastSequence
        Flush = edit.Flush |> ValueOption.defaultValue state.Flush
    }

    /// The one edit that makes a new store into `state`: the first frame of a new manifest.
    let snapshot (state: ManifestState) : VersionEdit = {
        OldestLog = ValueSome state.OldestLog
        NextFile = ValueSome state.NextFile
        LastSequence = ValueSome state.LastSequence
        Flush = ValueSome state.Flush
        Removed = []
        Added = Version.tables state.Version |> List.ofSeq
    }

    /// Folds the bytes of a manifest. A torn last edit is left out: it was never acted upon. O(length).
    let replay
        (levelCount: int)
        (number: FileNumber)
        (file: string)
        (bytes: byte[])
        : Result<ManifestState, Corruption> =
        let step (state: Result<ManifestState, Corruption>) (frame: Frame) =
            state
            |> Result.bind (fun state ->
                VersionEdit.decode file bytes frame
                |> Result.bind (fun edit ->
                    match Version.refusal edit state.Version with
                    | Some reason -> Corruption.at file frame.PayloadOffset $"a version edit does not fit: {reason}"
                    | None -> Ok(apply edit state)))

        match LogFile.replay Manifest number file bytes with
        | Error corruption -> Error corruption
        | Ok log when log.Frames.Length = 0 ->
            Corruption.at file log.ValidLengthBytes "the manifest holds no whole version edit"
        | Ok log -> Array.fold step (Ok(initial levelCount)) log.Frames

    /// The content of `CURRENT`: the manifest's name and a newline.
    let encodeCurrent (manifest: FileNumber) : byte[] =
        Encoding.ASCII.GetBytes(FileName.ofFile (StoreFile.Manifest manifest) + "\n")

    /// Which manifest `CURRENT` names.
    let decodeCurrent (bytes: byte[]) : Result<FileNumber, Corruption> =
        let text = Encoding.Latin1.GetString bytes

        match text.EndsWith '\n', FileName.tryParse (text.TrimEnd '\n') with
        | true, Some(StoreFile.Manifest number) when encodeCurrent number = bytes -> Ok number
        | _ ->
            Corruption.at (FileName.ofFile StoreFile.Current) 0L "it does not hold the name of a manifest and a newline"
