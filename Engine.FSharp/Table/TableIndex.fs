namespace LsmFs.Engine

// The index of a table, a stored block: which partition (Partition.fs) can hold a key. Small enough to stay in memory. Its content:
//
//   +-------------+-----+-------------+-----------------+--------------+-----+--------+
//   | separator 0 | ... | separator n | end of          | end of       | ... | n + 1  |
//   |             |     |             | separator 0     | partition 0  |     |        |
//   |             |     |             | u32, in here    | u64          |     | u32    |
//   +-------------+-----+-------------+-----------------+--------------+-----+--------+
//
// Separator i is the last one of partition i. Ends of partitions count from the start of partition 0. Only ends are stored, so the partitions and the
// separators leave no gaps by construction.

open System

/// The records of an index.
[<RequireQualifiedAccess>]
module internal IndexRecord =

    /// Bytes of the ends of a separator and a partition.
    [<Literal>]
    let lengthBytes = 12

/// Collects the index while a table is built. Mutable, one owner.
[<Sealed>]
type TableIndexBuilder() =
    let separators = ByteBuffer 4096
    let records = ByteBuffer 4096

    /// Adds a partition that ends `endBytes` behind the start of the first one.
    member _.Add(separator: ReadOnlySpan<byte>, endBytes: int64) : unit =
        separators.Append separator
        records.AppendU32(uint32 separators.Length)
        records.AppendU64(uint64 endBytes)

    /// Appends the index to `buffer`, without trailer.
    member _.AppendTo(buffer: ByteBuffer) : unit =
        buffer.Append separators.Written
        buffer.Append records.Written
        buffer.AppendU32(uint32 (records.Length / IndexRecord.lengthBytes))

    /// Forgets everything but the memory.
    member _.Clear() : unit =
        separators.Clear()
        records.Clear()

/// The index of an opened table, searched where it lies: immutable.
[<Sealed>]
type TableIndex
    private (buffer: byte[], offset: int, records: int, heads: uint64[], prefixLength: int, baseBytes: int64) =

    /// What is wrong with an index of `length` bytes; nothing when all is well.
    static member private FindFault
        (buffer: byte[], offset: int, length: int, partitionsLengthBytes: int64, properties: TableProperties)
        : string voption =
        let count =
            if length < 4 then
                0L
            else
                int64 (Unchecked.readU32 buffer (offset + length - 4))

        let separatorsLength = int64 length - 4L - count * int64 IndexRecord.lengthBytes

        if count < 1L || separatorsLength < 0L then
            ValueSome $"%d{count} partitions cannot be in an index of %d{length} bytes"
        else
            let records = offset + int separatorsLength
            let mutable fault: string voption = ValueNone
            let mutable separatorStart = 0L
            let mutable partitionStart = 0L
            let mutable previous = ReadOnlySpan<byte> properties.SmallestKey
            let mutable index = 0

            while fault.IsNone && index < int count do
                let separatorEnd = int64 (Unchecked.readU32 buffer (records + IndexRecord.lengthBytes * index))
                let partitionEnd = int64 (Unchecked.readU64 buffer (records + IndexRecord.lengthBytes * index + 4))

                if separatorEnd < separatorStart || separatorEnd > separatorsLength then
                    fault <- ValueSome $"separator %d{index} ends at %d{separatorEnd}, outside of its place"
                elif
                    partitionEnd <= partitionStart
                    || partitionEnd > partitionsLengthBytes
                    || partitionEnd - partitionStart > int64 Array.MaxLength
                then
                    fault <-
                        ValueSome
                            $"partition %d{index} goes from %d{partitionStart} to %d{partitionEnd}, and they end at %d{partitionsLengthBytes}"
                else
                    let separator =
                        ReadOnlySpan<byte>(buffer, offset + int separatorStart, int (separatorEnd - separatorStart))

                    let order = separator.SequenceCompareTo previous

                    if order < 0 || (order = 0 && index > 0) then
                        fault <- ValueSome $"separator %d{index} is not larger than the key before it"
                    else
                        previous <- separator
                        separatorStart <- separatorEnd
                        partitionStart <- partitionEnd
                        index <- index + 1

            if fault.IsSome then
                fault
            elif separatorStart <> separatorsLength || partitionStart <> partitionsLengthBytes then
                ValueSome
                    $"the last partition ends at %d{partitionStart}, and the properties begin at %d{partitionsLengthBytes}"
            elif not (previous.SequenceEqual properties.LargestKey) then
                ValueSome "the last separator is not the largest key"
            else
                ValueNone

    /// Opens the index that lies in `buffer` from `offset` on, `length` bytes, whose checksum was found right: its partitions must tile
    /// `partitionsLengthBytes` from `baseBytes` in the file on, and it must fit the properties. Otherwise what is wrong with it. O(partitions).
    static member Open
        (
            buffer: byte[],
            offset: int,
            length: int,
            baseBytes: int64,
            partitionsLengthBytes: int64,
            properties: TableProperties
        ) : Result<TableIndex, string> =
        match TableIndex.FindFault(buffer, offset, length, partitionsLengthBytes, properties) with
        | ValueNone ->
            let count = int (Unchecked.readU32 buffer (offset + length - 4))
            let records = offset + length - 4 - count * IndexRecord.lengthBytes

            // Every separator lies between the smallest and the largest key, so it begins with what these two share.
            let prefixLength =
                MemoryExtensions.CommonPrefixLength(
                    ReadOnlySpan<byte> properties.SmallestKey,
                    ReadOnlySpan<byte> properties.LargestKey
                )

            let heads = Array.zeroCreate<uint64> count
            let index = TableIndex(buffer, offset, records, heads, prefixLength, baseBytes)

            for partition in 0 .. count - 1 do
                heads[partition] <- KeyHead.compute (index.Separator partition) prefixLength

            Ok index
        | ValueSome fault -> Error fault

    /// Number of partitions.
    member _.PartitionCount: int = heads.Length

    /// Memory beside the buffer.
    member _.MemoryBytes: int64 = 8L * int64 heads.Length

    /// The last separator of a partition: a key not smaller than any in it and smaller than those of the next.
    member _.Separator(partition: int) : ReadOnlySpan<byte> =
        let start =
            if partition = 0 then
                0
            else
                int (Unchecked.readU32 buffer (records + IndexRecord.lengthBytes * (partition - 1)))

        let stop = int (Unchecked.readU32 buffer (records + IndexRecord.lengthBytes * partition))
        ReadOnlySpan<byte>(buffer, offset + start, stop - start)

    /// Where a partition lies. Throws `ArgumentOutOfRangeException`.
    member _.PartitionHandle(partition: int) : BlockHandle =
        if uint32 partition >= uint32 heads.Length then
            raise (ArgumentOutOfRangeException(nameof partition))

        let start =
            if partition = 0 then
                0L
            else
                int64 (Unchecked.readU64 buffer (records + IndexRecord.lengthBytes * (partition - 1) + 4))

        let stop = int64 (Unchecked.readU64 buffer (records + IndexRecord.lengthBytes * partition + 4))

        { OffsetBytes = baseBytes + start; LengthBytes = int (stop - start) }

    /// The first partition whose separator is not smaller than `key`, the only one that can hold it. The key must lie between the
    /// table's smallest and largest key. O(log partitions), no allocation.
    member index.Find(key: ReadOnlySpan<byte>) : int =
        let head = KeyHead.compute key prefixLength
        let mutable low = 0
        let mutable high = heads.Length - 1

        while low < high do
            let middle = (low + high) >>> 1
            let middleHead = heads[middle]

            if middleHead < head || (middleHead = head && (index.Separator middle).SequenceCompareTo key < 0) then
                low <- middle + 1
            else
                high <- middle

        low
