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
        PartitionSizeBytes = 100
        Compression = Compression.None
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

/// A partition of a table, opened, in memory of its own.
type OpenedPartition = { Number: int; Content: BlockContent }

/// Where a data block is, by the partition that has it.
type DataBlock = { In: OpenedPartition; Block: int; Handle: BlockHandle }

let private sliceOf (file: byte[]) (handle: BlockHandle) : byte[] =
    Array.sub file (int handle.OffsetBytes) handle.LengthBytes

let private ownCopy (content: BlockContent) : BlockContent = {
    Bytes = Array.sub content.Bytes content.Start content.Length
    Start = 0
    Length = content.Length
}

let openPartition (file: byte[]) (table: Table) (number: int) : Result<OpenedPartition, Corruption> =
    table.OpenPartition(BlockDecoder(), number, sliceOf file (table.PartitionHandle number), 0)
    |> Result.map (fun content -> { Number = number; Content = ownCopy content })

/// The data blocks of a table, in order; fails on a damaged partition.
let dataBlocks (file: byte[]) (table: Table) : DataBlock list = [
    for number in 0 .. table.PartitionCount - 1 do
        match openPartition file table number with
        | Error corruption -> failtest $"%O{corruption}"
        | Ok partition ->
            for block in 0 .. Partition.blockCount partition.Content - 1 do
                {
                    In = partition
                    Block = block
                    Handle = Partition.handle partition.Content block
                }
]

/// A data block, opened, in memory of its own.
let openData (file: byte[]) (table: Table) (block: DataBlock) : Result<BlockContent, Corruption> =
    table.OpenData(BlockDecoder(), block.Handle, sliceOf file block.Handle, 0)
    |> Result.bind (fun content ->
        table.CheckPlace(block.In.Number, block.In.Content, block.Block, content)
        |> Result.map (fun () -> ownCopy content))

/// The entries of an opened data block.
let entriesOfBlock (content: BlockContent) : byte[] list =
    let cursor = BlockCursor()
    cursor.Open(content.Bytes, content.Start, content.Length)

    [
        while cursor.MoveNext() do
            let entry = cursor.Current
            entry.Bytes.ToArray()
    ]

/// Every entry of a table, each partition and each block opened before it is believed.
let readAll (file: byte[]) (table: Table) : Result<byte[] list, Corruption> =
    let rec readBlocks (partition: OpenedPartition) (block: int) (entries: byte[] list list) =
        if block = Partition.blockCount partition.Content then
            Ok entries
        else
            let handle = Partition.handle partition.Content block

            match openData file table { In = partition; Block = block; Handle = handle } with
            | Error corruption -> Error corruption
            | Ok content -> readBlocks partition (block + 1) (entriesOfBlock content :: entries)

    let rec readPartitions (number: int) (entries: byte[] list list) =
        if number = table.PartitionCount then
            Ok(entries |> List.rev |> List.concat)
        else
            match openPartition file table number with
            | Error corruption -> Error corruption
            | Ok partition ->
                match readBlocks partition 0 entries with
                | Error corruption -> Error corruption
                | Ok entries -> readPartitions (number + 1) entries

    readPartitions 0 []

/// Looks a key up as a lookup does: partition, filter, index, data block.
let find (file: byte[]) (table: Table) (key: byte[]) : byte[] voption =
    match table.TryLocate(span key) with
    | ValueNone -> ValueNone
    | ValueSome number ->
        let decoder = BlockDecoder()
        // At an offset of their own in the buffer, because a read may bring many blocks at once.
        let stored (handle: BlockHandle) = Array.concat [ [| 1uy; 2uy; 3uy |]; sliceOf file handle; [| 4uy |] ]

        let opened (result: Result<BlockContent, Corruption>) : BlockContent =
            match result with
            | Ok content -> content
            | Error corruption -> failtest $"%O{corruption}"

        let partition = opened (table.OpenPartition(decoder, number, stored (table.PartitionHandle number), 3))
        let hash = KeyHash.compute (span key)

        if not (Partition.mayContain partition hash) then
            ValueNone
        else
            let handle = Partition.handle partition (Partition.find partition (span key))
            let data = opened (table.OpenData(decoder, handle, stored handle, 3))

            match Block.tryFind data.Bytes data.Start data.Length (span key) hash with
            | ValueNone -> ValueNone
            | ValueSome entry -> ValueSome(entry.Bytes.ToArray())

/// `content` as a stored block: with the right trailer.
let store (content: byte[]) : byte[] =
    let buffer = ByteBuffer 64
    StoredBlock.appendRaw buffer (span content)
    buffer.ToArray()
