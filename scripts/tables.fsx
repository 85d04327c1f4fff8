// Walks the tables of a store, level by level: dotnet fsi scripts/tables.fsx FOLDER
//
// Nothing is locked, made or changed. The engine reads no file: it says which bytes it wants, and this script fetches them, as the server does.
// Beside a running server a table may be compacted away while this script looks for it; run it again then.

#load "engine.fsx"

open System
open System.IO
open LsmFs.Engine
open Engine

let folder =
    match arguments with
    | [ folder ] -> folder
    | _ -> fail "usage: dotnet fsi scripts/tables.fsx FOLDER"

/// Opens a table by its two reads: the footer at the end of the file, and the metadata that the footer speaks of.
let openTable (table: TableMeta) (bytes: byte[]) : Table =
    let name = FileName.ofFile (StoreFile.Table table.Number)
    let footerStart = max 0 (bytes.Length - TableFormat.footerLengthBytes)

    let footer =
        TableFormat.decodeFooter name bytes.Length (ReadOnlySpan<byte>(bytes, footerStart, bytes.Length - footerStart))
        |> sound

    let metadata = Array.sub bytes (int footer.MetadataOffsetBytes) footer.MetadataLengthBytes
    TableReader.openTable table.Number name bytes.Length footer metadata |> sound

/// The first entries of a table, and how many of its bytes had to be read for them.
let firstEntries (count: int) (table: Table) (bytes: byte[]) : string list * int =
    let source = TableRunSource([| table |], KeyBounds.all, 1)
    let mutable readBytes = 0

    let rec next (found: string list) =
        if found.Length = count then
            List.rev found
        else
            match source.MoveNext() with
            | SourceState.Ready ->
                let entry = source.Current
                let key = keyText (entry.Key.ToArray())

                let text =
                    match entry.Kind with
                    | EntryKind.Tombstone -> $"{key} deleted (write {entry.Sequence})"
                    | _ -> $"{key} = {entry.Value.Length} bytes (write {entry.Sequence})"

                next (text :: found)
            | SourceState.NeedsBlock ->
                let wanted = source.Wanted
                let length = wanted.Handle.LengthBytes
                Array.Copy(bytes, wanted.Handle.OffsetBytes, wanted.Destination, 0L, int64 length)
                readBytes <- readBytes + length
                source.Supply() |> sound
                next found
            | _ -> List.rev found

    let found = next []
    found, readBytes

let state = manifestOf folder

if Seq.isEmpty (Version.tables state.Version) then
    printfn "no tables: whatever the store holds is in its write-ahead logs (see wal.fsx)"

for level in LevelSummary.ofVersion state.Version do
    printfn
        $"level {level.Level}: {level.TableCount} tables, {size level.SizeBytes}, {level.EntryCount} entries, {level.TombstoneCount} of them tombstones"

    for meta in state.Version.Levels[level.Level] do
        let path = Path.Combine(folder, FileName.ofFile (StoreFile.Table meta.Number))
        let bytes = readFile path
        let table = openTable meta bytes
        let properties = table.Properties
        let entries, readBytes = firstEntries 3 table bytes

        printfn
            $"  {table.File}: {size table.SizeBytes}, {keyText properties.SmallestKey} to {keyText properties.LargestKey}"

        printfn
            $"    {properties.EntryCount} entries of writes {properties.SmallestSequence} to {properties.LargestSequence}"

        printfn $"""    first, from {size readBytes} read: {String.Join("; ", entries)}"""
