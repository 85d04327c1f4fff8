namespace LsmFs.Engine

open System

/// What a block of a table holds.
type BlockKind =
    /// Entries (Block.fs).
    | Data = 0
    /// The index and the filter of some data blocks (Partition.fs).
    | Partition = 1

/// An opened table: immutable. It holds properties and index; whoever reads a partition or a data block opens it before use.
[<Sealed>]
type Table
    internal
    (
        number: FileNumber,
        file: string,
        sizeBytes: int64,
        footer: TableFooter,
        properties: TableProperties,
        metadata: byte[],
        index: TableIndex
    ) =

    let contains (key: ReadOnlySpan<byte>) =
        key.SequenceCompareTo properties.SmallestKey >= 0
        && key.SequenceCompareTo properties.LargestKey <= 0

    let corruption (offsetBytes: int64) (reason: string) : Result<'value, Corruption> =
        Corruption.at file offsetBytes reason

    /// The number in the file's name.
    member _.Number: FileNumber = number

    /// The file's name, as reports of corruption give it.
    member _.File: string = file

    /// Bytes of the file.
    member _.SizeBytes: int64 = sizeBytes

    /// Bytes of all data blocks, which begin at the start of the file.
    member _.DataLengthBytes: int64 = footer.DataLengthBytes

    /// What the table holds.
    member _.Properties: TableProperties = properties

    /// What the manifest knows of the table.
    member _.Meta: TableMeta = { Number = number; SizeBytes = sizeBytes; Properties = properties }

    /// Memory that the open table takes.
    member _.MemoryBytes: int64 =
        int64 metadata.Length
        + index.MemoryBytes
        + int64 (properties.SmallestKey.Length + properties.LargestKey.Length)
        + 512L

    /// Number of partitions.
    member _.PartitionCount: int = index.PartitionCount

    /// Where a partition lies. Throws `ArgumentOutOfRangeException`.
    member _.PartitionHandle(partition: int) : BlockHandle = index.PartitionHandle partition

    /// A key that is not larger than any in the partition, nor smaller than any before it, but perhaps as large as the last of them.
    /// Copies it. Throws `ArgumentOutOfRangeException`.
    member _.PartitionStart(partition: int) : byte[] =
        if partition = 0 then
            properties.SmallestKey
        else
            (index.Separator(partition - 1)).ToArray()

    /// The only partition that can hold the key. O(log partitions), no allocation.
    member _.TryLocate(key: ReadOnlySpan<byte>) : int voption =
        if contains key then
            ValueSome(index.Find key)
        else
            ValueNone

    /// The first partition that can hold a key not smaller than `key`; `PartitionCount` when there is none. O(log partitions).
    member _.FirstPartitionAtOrAfter(key: ReadOnlySpan<byte>) : int =
        if key.SequenceCompareTo properties.SmallestKey <= 0 then
            0
        elif key.SequenceCompareTo properties.LargestKey > 0 then
            index.PartitionCount
        else
            index.Find key

    /// Opens a partition that was read to `offset` in `stored`: checksum, content, and that it fits the index. The content is good until the decoder
    /// opens another block, or `stored` changes. O(length), no allocation unless it fails.
    member _.OpenPartition
        (decoder: BlockDecoder, partition: int, stored: byte[], offset: int)
        : Result<BlockContent, Corruption> =
        let handle = index.PartitionHandle partition

        match decoder.Open(file, handle, "partition", stored, offset) with
        | Error corruption -> Error corruption
        | Ok content ->
            let isFirst = (partition = 0)

            let before =
                if isFirst then
                    ReadOnlySpan<byte> properties.SmallestKey
                else
                    index.Separator(partition - 1)

            match Partition.findFault content isFirst before (index.Separator partition) footer.DataLengthBytes with
            | ValueNone -> Ok content
            | ValueSome fault -> corruption handle.OffsetBytes $"in a partition whose checksum is right, %s{fault}"

    /// Opens a data block that was read to `offset` in `stored`: checksum, content, structure, and that its keys ascend. The content is good until the
    /// decoder opens another block, or `stored` changes. O(length), no allocation unless it fails.
    member _.OpenData
        (decoder: BlockDecoder, handle: BlockHandle, stored: byte[], offset: int)
        : Result<BlockContent, Corruption> =
        match decoder.Open(file, handle, "data block", stored, offset) with
        | Error corruption -> Error corruption
        | Ok content ->
            match Block.findFault content.Bytes content.Start content.Length with
            | ValueNone -> Ok content
            | ValueSome fault -> corruption handle.OffsetBytes $"in a data block whose checksum is right, %s{fault}"

    /// Checks that the keys of an opened data block lie where its opened partition says, so that the entries of the whole table ascend.
    /// O(1), no allocation unless it fails.
    member _.CheckPlace
        (number: int, partition: BlockContent, block: int, data: BlockContent)
        : Result<unit, Corruption> =
        let firstEntry = Block.first data.Bytes data.Start
        let lastEntry = Block.last data.Bytes data.Start data.Length
        let first = firstEntry.Key
        let last = lastEntry.Key
        let lastBlock = Partition.blockCount partition - 1

        let isAfterPrevious =
            if block > 0 then
                first.SequenceCompareTo(Partition.separator partition (block - 1)) > 0
            elif number > 0 then
                first.SequenceCompareTo(index.Separator(number - 1)) > 0
            else
                first.SequenceEqual properties.SmallestKey

        let isBeforeNext =
            if block = lastBlock && number = index.PartitionCount - 1 then
                last.SequenceEqual properties.LargestKey
            else
                last.SequenceCompareTo(Partition.separator partition block) <= 0

        if isAfterPrevious && isBeforeNext then
            Ok()
        else
            corruption
                (Partition.handle partition block).OffsetBytes
                "a data block whose checksum is right has keys that do not fit the index"

    /// Whether the keys of an opened data block lie where the index says that those of the partitions `first` to `last` do. O(1), no allocation.
    member _.IsWithin(first: int, last: int, data: BlockContent) : bool =
        let firstEntry = Block.first data.Bytes data.Start
        let lastEntry = Block.last data.Bytes data.Start data.Length

        let isAfterPrevious =
            if first > 0 then
                firstEntry.Key.SequenceCompareTo(index.Separator(first - 1)) > 0
            else
                firstEntry.Key.SequenceCompareTo properties.SmallestKey >= 0

        isAfterPrevious && lastEntry.Key.SequenceCompareTo(index.Separator last) <= 0

/// A block of a table that a lookup needs.
[<Struct; NoEquality; NoComparison>]
type BlockRequest = {
    Table: Table
    Handle: BlockHandle
    Kind: BlockKind
    /// The number of the partition that is wanted, or that speaks of the data block.
    Partition: int
} with

    /// Opens the block, which was read to `offset` in `stored`; see `Table.OpenPartition` and `Table.OpenData`.
    member request.Open(decoder: BlockDecoder, stored: byte[], offset: int) : Result<BlockContent, Corruption> =
        if request.Kind = BlockKind.Partition then
            request.Table.OpenPartition(decoder, request.Partition, stored, offset)
        else
            request.Table.OpenData(decoder, request.Handle, stored, offset)

/// Opening tables.
[<RequireQualifiedAccess>]
module TableReader =

    /// The content of one of the two stored blocks of the metadata, which are always raw.
    let private check
        (file: string)
        (what: string)
        (offsetBytes: int64)
        (metadata: byte[])
        (start: int)
        (length: int)
        : Result<int, Corruption> =
        let stored = ReadOnlySpan<byte>(metadata, start, length)

        match StoredBlock.check file offsetBytes what stored with
        | Ok _ when not (StoredBlock.isRaw stored) -> Corruption.at file offsetBytes $"the %s{what} is compressed"
        | result -> result

    let private readProperties
        (file: string)
        (footer: TableFooter)
        (metadata: byte[])
        : Result<TableProperties, Corruption> =
        let offset = footer.PropertiesOffsetBytes

        match check file "properties block" offset metadata 0 footer.PropertiesLengthBytes with
        | Error corruption -> Error corruption
        | Ok contentLength ->
            match TableFormat.decodeProperties (ReadOnlySpan<byte>(metadata, 0, contentLength)) with
            | Ok(struct (properties, length)) when length = contentLength -> Ok properties
            | Ok _ -> Corruption.at file offset "bytes follow the table properties"
            | Error reason -> Corruption.at file offset reason

    let private readIndex
        (file: string)
        (footer: TableFooter)
        (metadata: byte[])
        (properties: TableProperties)
        : Result<TableIndex, Corruption> =
        let start = footer.PropertiesLengthBytes

        check file "index" footer.IndexOffsetBytes metadata start footer.IndexLengthBytes
        |> Result.bind (fun contentLength ->
            TableIndex.Open(
                metadata,
                start,
                contentLength,
                footer.DataLengthBytes,
                footer.PartitionsLengthBytes,
                properties
            )
            |> Result.mapError (fun reason -> {
                File = file
                OffsetBytes = footer.IndexOffsetBytes
                Reason = $"in an index whose checksum is right, %s{reason}"
            }))

    /// Opens a table from its two reads: the footer, and the `MetadataLengthBytes` at `MetadataOffsetBytes` that it speaks of. The table keeps
    /// `metadata`, which nobody may change from here on. O(metadata).
    let openTable
        (number: FileNumber)
        (file: string)
        (fileSizeBytes: int64)
        (footer: TableFooter)
        (metadata: byte[])
        : Result<Table, Corruption> =
        if metadata.Length <> footer.MetadataLengthBytes then
            invalidOp $"%d{metadata.Length} bytes of metadata were read, not %d{footer.MetadataLengthBytes}"

        readProperties file footer metadata
        |> Result.bind (fun properties ->
            readIndex file footer metadata properties
            |> Result.map (fun index -> Table(number, file, fileSizeBytes, footer, properties, metadata, index)))

    /// A table of which properties, index or footer cannot be believed, from what the manifest knows of it. For salvage only: all of its `fileSizeBytes` may
    /// be data blocks, and of its one partition, which is not in the file, nothing may be asked but which keys it has.
    let withoutEnd (meta: TableMeta) (file: string) (fileSizeBytes: int64) : Table =
        let index = TableIndexBuilder()
        index.Add(ReadOnlySpan<byte> meta.Properties.LargestKey, 1L)
        let buffer = ByteBuffer 64
        index.AppendTo buffer
        let metadata = buffer.ToArray()

        let footer = {
            DataLengthBytes = fileSizeBytes
            PartitionsLengthBytes = 1L
            PropertiesLengthBytes = 0
            IndexLengthBytes = metadata.Length
        }

        match TableIndex.Open(metadata, 0, metadata.Length, fileSizeBytes, 1L, meta.Properties) with
        | Ok index -> Table(meta.Number, file, fileSizeBytes, footer, meta.Properties, metadata, index)
        | Error reason -> invalidOp reason
