// What the other scripts have in common: the engine as `dotnet fsi build.fsx build` leaves it, and the few ways in which a script talks to a person.

#I "../Host.CSharp/bin/Release/net10.0"
#r "LsmFs.Engine.dll"
#r "System.IO.Hashing.dll"

open System
open System.IO
open LsmFs.Engine

/// Ends the script with one line.
let fail (reason: string) : 'value =
    eprintfn "%s" reason
    exit 1

/// What was read, or the end of the script with file, offset and reason.
let sound (result: Result<'value, Corruption>) : 'value =
    match result with
    | Ok value -> value
    | Error corruption -> fail $"damaged: {corruption}"

/// The arguments behind the script's name.
let arguments: string list = List.tail (List.ofArray fsi.CommandLineArgs)

/// The bytes of a file.
let readFile (path: string) : byte[] =
    try
        File.ReadAllBytes path
    with
    | :? FileNotFoundException
    | :? DirectoryNotFoundException -> fail $"there is no file {path}"
    | :? IOException as cause -> fail $"cannot read {path}: {cause.Message}"
    | :? UnauthorizedAccessException as cause -> fail $"cannot read {path}: {cause.Message}"

/// The store's files in a folder.
let storeFiles (folder: string) : StoreFile list =
    if not (Directory.Exists folder) then
        fail $"there is no folder {folder}"

    Directory.GetFiles folder
    |> Array.choose (fun path -> FileName.tryParse (string (Path.GetFileName path)))
    |> List.ofArray

/// 1536 as "1.5 KiB".
let size (bytes: int64) : string =
    let units = [| "B"; "KiB"; "MiB"; "GiB"; "TiB" |]

    let unit =
        if bytes < 1024L then
            0
        else
            min 4 (int (Math.Log(float bytes, 1024.0)))

    if unit = 0 then
        $"{bytes} B"
    else
        (float bytes / Math.Pow(1024.0, float unit)).ToString "0.0" + " " + units[unit]

/// A key, shortened.
let keyText (key: byte[]) : string =
    let text = KeyText.ofKey key

    if text.Length <= 24 then
        text
    else
        text.Substring(0, 21) + "..."

/// What a store consists of: `CURRENT` names the manifest, and the manifest is folded.
let manifestOf (folder: string) : ManifestState =
    if not (List.contains StoreFile.Current (storeFiles folder)) then
        fail $"there is no store in {folder}: it has no file CURRENT"

    let number = readFile (Path.Combine(folder, "CURRENT")) |> ManifestReplay.decodeCurrent |> sound
    let name = FileName.ofFile (StoreFile.Manifest number)
    let levelCount = (Options.ofBudget Options.memoryBudgetBytesMin).LevelCount
    readFile (Path.Combine(folder, name)) |> ManifestReplay.replay levelCount number name |> sound
