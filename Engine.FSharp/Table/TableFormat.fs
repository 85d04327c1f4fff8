namespace LsmFs.Engine

// A table file is written once, front to back, and read from its end:
//
//   +--------------+-----+--------------+-------------+-----+-------------+------------+-------+--------+
//   | data block 0 | ... | data block n | partition 0 | ... | partition m | properties | index | footer |     no gaps: every byte belongs
//   +--------------+-----+--------------+-------------+-----+-------------+------------+-------+--------+     to a checksummed part
//                                                                         |<-- metadata ---->|
//
// Footer:
//   0         8            12           16       20        24         28        36
//   +---------+------------+------------+--------+---------+----------+---------+
//   | length  | length of  | length of  | length | format  | CRC-32C  | magic   |     the checksum covers bytes 0 to 23
//   | of data | partitions | properties | of     | version | of 0..23 | LsmFsTbl|
//   | blocks  |            |            | index  |         |          |         |
//   | u64     | u32        | u32        | u32    | u32     | u32      | 8 bytes |
//   +---------+------------+------------+--------+---------+----------+---------+
//
// Properties (a stored block, StoredBlock.fs); the manifest keeps them in the same bytes:
//   +---------+------------+-------+-------+----------+----------+----------+--------+----------+----------+----------+---------+
//   | entries | tombstones | key   | value | smallest | largest  | earliest | latest | smallest | smallest | largest  | largest |
//   |         |            | bytes | bytes | sequence | sequence | expiry   | expiry | key      | key      | key      | key     |
//   |         |            |       |       |          |          |          |        | length   |          | length   |         |
//   | u64     | u64        | u64   | u64   | u64      | u64      | u32      | u32    | u16      |          | u16      |         |
//   +---------+------------+-------+-------+----------+----------+----------+--------+----------+----------+----------+---------+
//
// Version rule: a reader refuses every version it does not know by name. The footer keeps its length, its checksum and the places of
// version and magic in all versions, so that an old reader can tell a newer file from a damaged one.

open System

/// What a table holds, as counted while it was built.
type TableProperties = {
    EntryCount: int64
    TombstoneCount: int64
    /// Bytes of all keys.
    KeyBytes: int64
    /// Bytes of all values.
    ValueBytes: int64
    SmallestKey: byte[]
    LargestKey: byte[]
    SmallestSequence: SequenceNumber
    LargestSequence: SequenceNumber
    /// The first Unix time in seconds at which a value expires; 0 when none ever does.
    EarliestExpirySeconds: uint32
    /// The Unix time in seconds at which everything in the table has expired; 0 when something never does (a tombstone never does).
    LatestExpirySeconds: uint32
}

/// What the manifest knows of a table.
type TableMeta = {
    Number: FileNumber
    /// Bytes of the file.
    SizeBytes: int64
    Properties: TableProperties
}

/// The footer of a table: how long the parts before it are, which follow each other without a gap.
[<Struct>]
type TableFooter = {
    /// Bytes of all data blocks.
    DataLengthBytes: int64
    /// Bytes of all partitions.
    PartitionsLengthBytes: int64
    PropertiesLengthBytes: int
    IndexLengthBytes: int
} with

    /// Where the metadata (properties and index) begins.
    member footer.MetadataOffsetBytes: int64 = footer.DataLengthBytes + footer.PartitionsLengthBytes

    /// Bytes of properties and index together.
    member footer.MetadataLengthBytes: int = footer.PropertiesLengthBytes + footer.IndexLengthBytes

    /// Where the properties begin.
    member footer.PropertiesOffsetBytes: int64 = footer.MetadataOffsetBytes

    /// Where the index begins.
    member footer.IndexOffsetBytes: int64 = footer.PropertiesOffsetBytes + int64 footer.PropertiesLengthBytes

/// The bytes of footer and properties.
[<RequireQualifiedAccess>]
module TableFormat =

    /// The newest version of the format, and the one that is written.
    [<Literal>]
    let version = 2u

    /// Bytes of the footer, in every version.
    [<Literal>]
    let footerLengthBytes = 36

    /// "LsmFsTbl", the last eight bytes of every table.
    [<Literal>]
    let magic = 0x4C736D467354626CUL

    [<Literal>]
    let private propertiesLengthMin = 60

    /// Appends a footer.
    let appendFooter (buffer: ByteBuffer) (footer: TableFooter) : unit =
        let start = buffer.Length
        buffer.AppendU64(uint64 footer.DataLengthBytes)
        buffer.AppendU32(uint32 footer.PartitionsLengthBytes)
        buffer.AppendU32(uint32 footer.PropertiesLengthBytes)
        buffer.AppendU32(uint32 footer.IndexLengthBytes)
        buffer.AppendU32 version
        buffer.AppendU32(Checksum.compute (buffer.Written.Slice start))
        buffer.AppendU64 magic

    /// Reads the last `footerLengthBytes` bytes of a file of `fileSizeBytes` bytes (all of it, when it is shorter).
    let decodeFooter
        (file: string)
        (fileSizeBytes: int64)
        (footer: ReadOnlySpan<byte>)
        : Result<TableFooter, Corruption> =
        if footer.Length < footerLengthBytes || fileSizeBytes < int64 footerLengthBytes then
            Corruption.at
                file
                0L
                $"the file has %d{fileSizeBytes} bytes, fewer than the %d{footerLengthBytes} of a table's footer: it was cut off"
        else
            let footerOffset = fileSizeBytes - int64 footerLengthBytes
            let footer = footer.Slice(footer.Length - footerLengthBytes)
            let stored = Coding.readU32 footer 24
            let computed = Checksum.compute (footer.Slice(0, 24))
            let foundVersion = Coding.readU32 footer 20
            let dataLength = Coding.readU64 footer 0
            let partitionsLength = int64 (Coding.readU32 footer 8)
            let propertiesLength = int64 (Coding.readU32 footer 12)
            let indexLength = int64 (Coding.readU32 footer 16)
            let metadataLength = propertiesLength + indexLength

            if Coding.readU64 footer 28 <> magic then
                Corruption.at
                    file
                    footerOffset
                    "the file does not end in LsmFsTbl: it was cut off, overwritten, or is no table"
            elif stored <> computed then
                Corruption.at
                    file
                    footerOffset
                    $"the footer has the checksum %08x{stored}, but its bytes give %08x{computed}"
            elif foundVersion <> version then
                Corruption.at
                    file
                    footerOffset
                    $"the table has format version %d{foundVersion}, and this program knows only version %d{version}"
            elif
                dataLength > uint64 footerOffset
                || int64 dataLength + partitionsLength + metadataLength <> footerOffset
                || metadataLength > int64 Array.MaxLength
            then
                Corruption.at
                    file
                    footerOffset
                    $"the footer speaks of %d{dataLength}, %d{partitionsLength} and %d{metadataLength} bytes before it, and it begins at %d{footerOffset}"
            else
                Ok {
                    DataLengthBytes = int64 dataLength
                    PartitionsLengthBytes = partitionsLength
                    PropertiesLengthBytes = int propertiesLength
                    IndexLengthBytes = int indexLength
                }

    /// Appends properties, without trailer.
    let appendProperties (buffer: ByteBuffer) (properties: TableProperties) : unit =
        buffer.AppendU64(uint64 properties.EntryCount)
        buffer.AppendU64(uint64 properties.TombstoneCount)
        buffer.AppendU64(uint64 properties.KeyBytes)
        buffer.AppendU64(uint64 properties.ValueBytes)
        buffer.AppendU64 properties.SmallestSequence.Value
        buffer.AppendU64 properties.LargestSequence.Value
        buffer.AppendU32 properties.EarliestExpirySeconds
        buffer.AppendU32 properties.LatestExpirySeconds
        buffer.AppendU16(uint16 properties.SmallestKey.Length)
        buffer.Append properties.SmallestKey
        buffer.AppendU16(uint16 properties.LargestKey.Length)
        buffer.Append properties.LargestKey

    /// What contradicts itself in properties; nothing when all is well.
    let private findFault (properties: TableProperties) : string voption =
        let smallest, largest = properties.SmallestKey, properties.LargestKey
        let earliest, latest = properties.EarliestExpirySeconds, properties.LatestExpirySeconds

        if properties.EntryCount < 1L then
            ValueSome $"a table of %d{properties.EntryCount} entries"
        elif properties.TombstoneCount < 0L || properties.TombstoneCount > properties.EntryCount then
            ValueSome $"%d{properties.TombstoneCount} tombstones among %d{properties.EntryCount} entries"
        elif properties.KeyBytes < 0L || properties.ValueBytes < 0L then
            ValueSome "a negative number of bytes"
        elif ReadOnlySpan<byte>(smallest).SequenceCompareTo(ReadOnlySpan<byte> largest) > 0 then
            ValueSome "a smallest key larger than the largest"
        elif properties.SmallestSequence > properties.LargestSequence then
            ValueSome "a smallest sequence number larger than the largest"
        elif latest <> 0u && (earliest = 0u || earliest > latest) then
            ValueSome "an earliest expiry later than the latest"
        else
            ValueNone

    /// Reads properties from the start of `bytes`: they and their length, or what is wrong with them.
    let decodeProperties (bytes: ReadOnlySpan<byte>) : Result<struct (TableProperties * int), string> =
        let smallestLength =
            if bytes.Length < propertiesLengthMin then
                0
            else
                int (Coding.readU16 bytes 56)

        if bytes.Length < propertiesLengthMin + smallestLength then
            Error $"%d{bytes.Length} bytes are too few for table properties"
        else
            let largestLength = int (Coding.readU16 bytes (58 + smallestLength))
            let length = propertiesLengthMin + smallestLength + largestLength

            if bytes.Length < length then
                Error $"%d{bytes.Length} bytes are too few for table properties of %d{length}"
            else
                let properties = {
                    EntryCount = int64 (Coding.readU64 bytes 0)
                    TombstoneCount = int64 (Coding.readU64 bytes 8)
                    KeyBytes = int64 (Coding.readU64 bytes 16)
                    ValueBytes = int64 (Coding.readU64 bytes 24)
                    SmallestSequence = SequenceNumber(Coding.readU64 bytes 32)
                    LargestSequence = SequenceNumber(Coding.readU64 bytes 40)
                    EarliestExpirySeconds = Coding.readU32 bytes 48
                    LatestExpirySeconds = Coding.readU32 bytes 52
                    SmallestKey = bytes.Slice(58, smallestLength).ToArray()
                    LargestKey = bytes.Slice(60 + smallestLength, largestLength).ToArray()
                }

                match findFault properties with
                | ValueNone -> Ok(struct (properties, length))
                | ValueSome fault -> Error $"table properties that cannot be: %s{fault}"
