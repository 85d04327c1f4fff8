namespace LsmFs.Engine

open System

/// An opened table: immutable. It holds filter, properties and index, and never a data block; whoever reads one verifies it before use.
[<Sealed>]
type Table
    internal
    (
        number: FileNumber,
        file: string,
        sizeBytes: int64,
        properties: TableProperties,
        metadata: byte[],
        filterLength: int,
        index: TableIndex
    ) =

    let contains (key: ReadOnlySpan<byte>) =
        key.SequenceCompareTo properties.SmallestKey >= 0
        && key.SequenceCompareTo properties.LargestKey <= 0

    /// The number in the file's name.
    member _.Number: FileNumber = number

    /// The file's name, as reports of corruption give it.
    member _.File: string = file

    /// Bytes of the file.
    member _.SizeBytes: int64 = sizeBytes

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

    /// The only block that can hold the key: range check, then bloom filter, then index. `hash` is `KeyHash.compute key`.
    /// O(log blocks), no allocation.
    member _.TryLocate(key: ReadOnlySpan<byte>, hash: uint64) : BlockHandle voption =
        if contains key && BloomFilter.mayContain metadata 0 filterLength hash then
            ValueSome(index.BlockHandle(index.Find key))
        else
            ValueNone

    /// Number of data blocks.
    member _.BlockCount: int = index.BlockCount

    /// Where a data block lies. Throws `ArgumentOutOfRangeException`.
    member _.BlockHandle(block: int) : BlockHandle = index.BlockHandle block

    /// The first block that can hold a key not smaller than `key`; `BlockCount` when there is none. O(log blocks).
    member _.FirstBlockAtOrAfter(key: ReadOnlySpan<byte>) : int =
        if key.SequenceCompareTo properties.SmallestKey <= 0 then
            0
        elif key.SequenceCompareTo properties.LargestKey > 0 then
            index.BlockCount
        else
            index.Find key

    /// Checks a data block that was read to `offset` in `buffer`: what `Block.verify` checks, and that its keys lie where the index says, so that
    /// the entries of the whole table ascend. O(length), no allocation unless it fails.
    member _.VerifyBlock(block: int, buffer: byte[], offset: int) : Result<unit, Corruption> =
        let handle = index.BlockHandle block

        match Block.verify file handle buffer offset with
        | Error corruption -> Error corruption
        | Ok() ->
            let firstEntry = Block.first buffer offset
            let lastEntry = Block.last buffer offset handle.LengthBytes
            let first = firstEntry.Key
            let last = lastEntry.Key

            let isAfterPrevious =
                if block = 0 then
                    first.SequenceEqual properties.SmallestKey
                else
                    first.SequenceCompareTo(index.Separator(block - 1)) > 0

            let isBeforeNext =
                if block = index.BlockCount - 1 then
                    last.SequenceEqual properties.LargestKey
                else
                    last.SequenceCompareTo(index.Separator block) <= 0

            if isAfterPrevious && isBeforeNext then
                Ok()
            else
                Corruption.at
                    file
                    handle.OffsetBytes
                    "a data block whose checksum is right has keys that do not fit the index"

/// Opening tables.
[<RequireQualifiedAccess>]
module TableReader =

    let private check
        (file: string)
        (what: string)
        (footer: TableFooter)
        (metadata: byte[])
        (start: int)
        (length: int)
        =
        let offset = footer.MetadataOffsetBytes + int64 start
        BlockTrailer.check file offset what (ReadOnlySpan<byte>(metadata, start, length))

    let private checkFilter (file: string) (footer: TableFooter) (metadata: byte[]) : Result<unit, Corruption> =
        match check file "filter" footer metadata 0 footer.FilterLengthBytes with
        | Ok() when not (BloomFilter.isWellFormed (footer.FilterLengthBytes - BlockTrailer.lengthBytes)) ->
            Corruption.at file footer.FilterOffsetBytes $"a filter cannot have %d{footer.FilterLengthBytes} bytes"
        | result -> result

    let private readProperties
        (file: string)
        (footer: TableFooter)
        (metadata: byte[])
        : Result<TableProperties, Corruption> =
        let start = footer.FilterLengthBytes

        match check file "properties block" footer metadata start footer.PropertiesLengthBytes with
        | Error corruption -> Error corruption
        | Ok() ->
            let contentLength = footer.PropertiesLengthBytes - BlockTrailer.lengthBytes

            match TableFormat.decodeProperties (ReadOnlySpan<byte>(metadata, start, contentLength)) with
            | Ok(struct (properties, length)) when length = contentLength -> Ok properties
            | Ok _ -> Corruption.at file footer.PropertiesOffsetBytes "bytes follow the table properties"
            | Error reason -> Corruption.at file footer.PropertiesOffsetBytes reason

    let private readIndex
        (file: string)
        (footer: TableFooter)
        (metadata: byte[])
        (properties: TableProperties)
        : Result<TableIndex, Corruption> =
        let start = footer.FilterLengthBytes + footer.PropertiesLengthBytes

        match check file "index" footer metadata start footer.IndexLengthBytes with
        | Error corruption -> Error corruption
        | Ok() ->
            let contentLength = footer.IndexLengthBytes - BlockTrailer.lengthBytes

            TableIndex.Open(metadata, start, contentLength, footer.FilterOffsetBytes, properties)
            |> Result.mapError (fun reason -> {
                File = file
                OffsetBytes = footer.IndexOffsetBytes
                Reason = $"in an index whose checksum is right, %s{reason}"
            })

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

        checkFilter file footer metadata
        |> Result.bind (fun () -> readProperties file footer metadata)
        |> Result.bind (fun properties ->
            readIndex file footer metadata properties
            |> Result.map (fun index ->
                let filterLength = footer.FilterLengthBytes - BlockTrailer.lengthBytes
                Table(number, file, fileSizeBytes, properties, metadata, filterLength, index)))
