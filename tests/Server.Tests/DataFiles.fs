/// Looking into data folders with the engine's own reading of the formats.
module LsmFs.Server.Tests.DataFiles

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open LsmFs.Engine

let private namesIn (folder: string) =
    Directory.GetFiles folder |> Array.map (fun file -> string (Path.GetFileName file)) |> List.ofArray

/// The files with this ending, in the order of their names.
let withEnding (ending: string) (folder: string) : string list =
    Directory.GetFiles(folder, "*" + ending) |> Array.sort |> List.ofArray

/// The path of the manifest in force.
let manifestOf (folder: string) : string =
    match ManifestReplay.decodeCurrent (File.ReadAllBytes(Path.Combine(folder, "CURRENT"))) with
    | Ok number -> Path.Combine(folder, FileName.ofFile (StoreFile.Manifest number))
    | Error corruption -> failtest $"{corruption}"

/// What the manifest of a folder says. A server may be running on it.
let stateOf (folder: string) : ManifestState =
    let path = manifestOf folder
    let name = string (Path.GetFileName path)

    let number =
        match FileName.tryParse name with
        | Some(StoreFile.Manifest number) -> number
        | _ -> failtest $"{name} is no manifest"

    match
        ManifestReplay.replay
            (Options.ofBudget Options.memoryBudgetBytesMin).LevelCount
            number
            name
            (File.ReadAllBytes path)
    with
    | Ok state -> state
    | Error corruption -> failtest $"{corruption}"

/// Opens a whole table.
let openTable (path: string) : Table =
    let bytes = File.ReadAllBytes path
    let name = string (Path.GetFileName path)

    let footer =
        ReadOnlySpan<byte>(bytes, bytes.Length - TableFormat.footerLengthBytes, TableFormat.footerLengthBytes)

    let opening =
        TableFormat.decodeFooter name bytes.LongLength footer
        |> Result.bind (fun footer ->
            let metadata = Array.sub bytes (int footer.MetadataOffsetBytes) footer.MetadataLengthBytes
            TableReader.openTable (FileNumber 1UL) name bytes.LongLength footer metadata)

    match opening with
    | Ok table -> table
    | Error corruption -> failtest $"{corruption}"

/// Tables by level.
let tableCounts (folder: string) : int list = (stateOf folder).Version.Levels |> Array.map _.Length |> List.ofArray

/// The files of a folder that no manifest, no log still needed and no running server accounts for.
let leftovers (folder: string) : string list =
    let state = stateOf folder
    let tables = Version.tables state.Version |> Seq.map (fun (_, table) -> table.Number) |> Set.ofSeq
    let manifest = string (Path.GetFileName(manifestOf folder))

    namesIn folder
    |> List.filter (fun name ->
        match FileName.tryParse name with
        | Some(StoreFile.Decisions _)
        | Some StoreFile.Current
        | Some StoreFile.Lock
        | Some StoreFile.Backup
        | Some StoreFile.Reserve -> false
        | Some(StoreFile.Manifest _) -> name <> manifest
        | Some(StoreFile.Log number) -> number < state.OldestLog
        | Some(StoreFile.Table number) -> not (tables.Contains number)
        | Some StoreFile.Temporary
        | None -> true)

/// Fails unless the folder is soon free of leftovers: an idle server may still be compacting.
let expectNoLeftovers (folder: string) : unit =
    let watch = Stopwatch.StartNew()

    let look () =
        try
            leftovers folder
        with :? FileNotFoundException as cause ->
            // The manifest was replaced while it was being looked for.
            [ string cause.FileName ]

    let mutable left = look ()

    while not left.IsEmpty && watch.Elapsed.TotalSeconds < 10. do
        Thread.Sleep 20
        left <- look ()

    Expect.isEmpty left "files that nothing refers to"
