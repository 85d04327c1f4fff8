// Replays a write-ahead log and prints what is in it: dotnet fsi scripts/wal.fsx FILE|FOLDER
//
// A log is a header and frames; a frame is one group of writes, applied whole or not at all. What a crash tore off at the end was never
// acknowledged; a damaged byte with whole frames behind it is corruption, and named by its place.

#load "engine.fsx"

open System
open System.IO
open System.Text
open LsmFs.Engine
open Engine

let paths =
    match arguments with
    | [ path ] when Directory.Exists path ->
        match storeFiles path |> List.sort |> List.filter _.IsLog with
        | [] -> fail $"there is no write-ahead log in {path}"
        | logs -> logs |> List.map (fun log -> Path.Combine(path, FileName.ofFile log))
    | [ path ] -> [ path ]
    | _ -> fail "usage: dotnet fsi scripts/wal.fsx FILE|FOLDER"

/// A value, if it is text, or its first bytes.
let valueText (value: byte[]) : string =
    if value.Length <= 40 && value |> Array.forall (fun item -> item >= 32uy && item < 127uy) then
        $"\"{Encoding.ASCII.GetString value}\""
    else
        $"{value.Length} bytes, {Convert.ToHexString(Array.truncate 8 value)}..."

let describe (entry: Entry) : string =
    let expiry =
        if entry.ExpirySeconds = 0u then
            ""
        else
            $", until {DateTimeOffset.FromUnixTimeSeconds(int64 entry.ExpirySeconds):u}"

    match entry.Kind with
    | EntryKind.Value ->
        $"set {keyText (entry.Key.ToArray())} = {valueText (entry.Value.ToArray())}, flags {entry.Flags}{expiry}"
    | EntryKind.Tombstone -> $"delete {keyText (entry.Key.ToArray())}"
    | _ when entry.ExpirySeconds = 0u -> "flush all"
    | _ -> $"flush all at {DateTimeOffset.FromUnixTimeSeconds(int64 entry.ExpirySeconds):u}"

/// Prints one log and returns its last sequence number: they ascend from log to log.
let print (last: SequenceNumber) (path: string) : SequenceNumber =
    let name = string (Path.GetFileName path)

    let number =
        match FileName.tryParse name with
        | Some(StoreFile.Log number) -> number
        | _ -> fail $"{name} is not the name of a write-ahead log, such as 000007.wal"

    let bytes = readFile path
    let log = LogFile.replay WriteAheadLog number name bytes |> sound
    printfn $"{name}: {log.Frames.Length} groups of writes, {size bytes.Length}"
    let mutable last = last

    for index, frame in Array.indexed log.Frames do
        // Checks every entry of the group before any of them is believed.
        last <- Batch.validate name bytes frame last |> sound
        printfn $"  group {index + 1} at offset {frame.PayloadOffset}, {frame.PayloadLength} bytes"
        let mutable offset = frame.PayloadOffset

        while offset < frame.PayloadOffset + frame.PayloadLength do
            let entry = { Buffer = bytes; Offset = offset }
            printfn $"    {entry.Sequence}: {describe entry}"
            offset <- offset + entry.Length

    if log.TornBytes > 0 && log.IsTailUnused then
        printfn $"  {log.TornBytes} bytes of space for further groups"
    elif log.TornBytes > 0 then
        printfn $"  {log.TornBytes} bytes of an unfinished group at the end: left by a crash, never acknowledged"

    last

paths |> List.fold print SequenceNumber.zero |> ignore
