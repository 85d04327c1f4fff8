/// Tables as byte arrays, and the model they are compared with: a map whose keys are Latin-1 strings, which order as unsigned bytes do.
module LsmFs.Engine.Tests.TableFixtures

open System
open System.Text
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

/// Encoded entries by key.
type Model = Map<string, byte[]>

let modelKey (key: byte[]) : string = Encoding.Latin1.GetString key
let keyBytes (key: string) : byte[] = Encoding.Latin1.GetBytes key
let entryOf (bytes: byte[]) : Entry = { Buffer = bytes; Offset = 0 }

/// The newest entry of each key, when the first write has the sequence number `first`.
let modelFrom (first: uint64) (writes: Write list) : Model =
    writes
    |> List.indexed
    |> List.fold
        (fun model (index, write) -> Map.add (modelKey write.WriteKey) (encode (first + uint64 index) write) model)
        Map.empty

/// Sizes that make a handful of entries fill several blocks and tables.
let tinyOptions: Options = {
    Options.ofBudget Options.memoryBudgetBytesMin with
        BlockSizeBytes = 160
        TableSizeBytes = 700L
}

/// The file of a table with these entries; its output is taken every `takeEvery` entries.
let buildTaking (takeEvery: int) (options: Options) (model: Model) : byte[] * TableProperties =
    let builder = TableBuilder options
    let file = ByteBuffer 1024

    let take () =
        file.Append builder.Output.Written
        builder.Output.Clear()

    model.Values
    |> Seq.iteri (fun index entry ->
        builder.Add(span entry)

        if index % takeEvery = 0 then
            take ())

    let properties = builder.Finish()
    take ()
    Expect.equal builder.SizeBytes (int64 file.Length) "the size that the builder tells"
    file.ToArray(), properties

let build (options: Options) (model: Model) : byte[] = fst (buildTaking Int32.MaxValue options model)

let fileName = "000007.sst"

/// Opens a file in memory under a name the way the host does: footer, then metadata.
let openNamed (number: FileNumber) (name: string) (file: byte[]) : Result<Table, Corruption> =
    let footerLength = min file.Length TableFormat.footerLengthBytes

    TableFormat.decodeFooter name file.LongLength (ReadOnlySpan<byte>(file, file.Length - footerLength, footerLength))
    |> Result.bind (fun footer ->
        let metadata = Array.sub file (int footer.MetadataOffsetBytes) footer.MetadataLengthBytes
        TableReader.openTable number name file.LongLength footer metadata)

let openBytes (file: byte[]) : Result<Table, Corruption> = openNamed (FileNumber 7UL) fileName file

let openOrFail (file: byte[]) : Table =
    match openBytes file with
    | Ok table -> table
    | Error corruption -> failtest $"%O{corruption}"

/// Every entry of a table, each block verified before it is believed.
let readAll (file: byte[]) (table: Table) : Result<byte[] list, Corruption> =
    let cursor = BlockCursor()

    let rec go (block: int) (entries: byte[] list) =
        if block = table.BlockCount then
            Ok(List.rev entries)
        else
            let handle = table.BlockHandle block
            let bytes = Array.sub file (int handle.OffsetBytes) handle.LengthBytes

            match table.VerifyBlock(block, bytes, 0) with
            | Error corruption -> Error corruption
            | Ok() ->
                cursor.Open(bytes, 0, bytes.Length)
                let mutable entries = entries

                while cursor.MoveNext() do
                    let entry = cursor.Current
                    entries <- entry.Bytes.ToArray() :: entries

                go (block + 1) entries

    go 0 []

/// Looks a key up as the host does.
let find (file: byte[]) (table: Table) (key: byte[]) : byte[] voption =
    match table.TryLocate(span key, KeyHash.compute (span key)) with
    | ValueNone -> ValueNone
    | ValueSome handle ->
        // At an offset of its own in the buffer, because a cache may hold many blocks in one.
        let buffer =
            Array.concat [ [| 1uy; 2uy; 3uy |]; Array.sub file (int handle.OffsetBytes) handle.LengthBytes; [| 4uy |] ]

        Expect.isOk (Block.verify fileName handle buffer 3) "the block is whole"

        match Block.tryFind buffer 3 handle.LengthBytes (span key) (KeyHash.compute (span key)) with
        | ValueNone -> ValueNone
        | ValueSome entry -> ValueSome(entry.Bytes.ToArray())

/// `content` as a stored block: with the right trailer.
let store (content: byte[]) : byte[] =
    let buffer = ByteBuffer 64
    buffer.Append(span content)
    BlockTrailer.append buffer 0
    buffer.ToArray()
