namespace LsmFs.Engine

open System
open System.Globalization

/// A file of a store, as its name tells.
[<RequireQualifiedAccess>]
type StoreFile =
    /// `000007.wal`: a write-ahead log.
    | Log of FileNumber
    /// `000008.sst`: a table.
    | Table of FileNumber
    /// `MANIFEST-000003`: the version edits.
    | Manifest of FileNumber
    /// `000012.decisions`: what a running store decided. No part of its data.
    | Decisions of FileNumber
    /// `CURRENT`: the name of the manifest in force.
    | Current
    /// `LOCK`: held by the process that has the store open.
    | Lock
    /// `CURRENT.tmp`: a file that was to be renamed to its real name.
    | Temporary
    /// `BACKUP`: says that the folder is a backup, and of which store.
    | Backup
    /// `RESERVE`: disk space kept for a full disk.
    | Reserve

/// Names of the files in a data folder.
[<RequireQualifiedAccess>]
module FileName =

    /// The name of a file.
    let ofFile (file: StoreFile) : string =
        match file with
        | StoreFile.Log number -> $"{number}.wal"
        | StoreFile.Table number -> $"{number}.sst"
        | StoreFile.Manifest number -> $"MANIFEST-{number}"
        | StoreFile.Decisions number -> $"{number}.decisions"
        | StoreFile.Current -> "CURRENT"
        | StoreFile.Lock -> "LOCK"
        | StoreFile.Temporary -> "CURRENT.tmp"
        | StoreFile.Backup -> "BACKUP"
        | StoreFile.Reserve -> "RESERVE"

    let private tryNumber (digits: string) : FileNumber option =
        match UInt64.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture) with
        | true, value ->
            let number = FileNumber value
            if number.ToString() = digits then Some number else None
        | false, _ -> None

    /// What a name stands for; `None` for a file that is not the store's, which is left alone.
    let tryParse (name: string) : StoreFile option =
        match name with
        | "CURRENT" -> Some StoreFile.Current
        | "LOCK" -> Some StoreFile.Lock
        | "CURRENT.tmp" -> Some StoreFile.Temporary
        | "BACKUP" -> Some StoreFile.Backup
        | "RESERVE" -> Some StoreFile.Reserve
        | _ when name.EndsWith(".wal", StringComparison.Ordinal) ->
            tryNumber name[.. name.Length - 5] |> Option.map StoreFile.Log
        | _ when name.EndsWith(".sst", StringComparison.Ordinal) ->
            tryNumber name[.. name.Length - 5] |> Option.map StoreFile.Table
        | _ when name.EndsWith(".decisions", StringComparison.Ordinal) ->
            tryNumber name[.. name.Length - 11] |> Option.map StoreFile.Decisions
        | _ when name.StartsWith("MANIFEST-", StringComparison.Ordinal) ->
            tryNumber name[9..] |> Option.map StoreFile.Manifest
        | _ -> None
