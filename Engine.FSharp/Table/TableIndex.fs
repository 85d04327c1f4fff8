namespace LsmFs.Engine

// The index of a table, without the trailer that every stored block has (Block.fs):
//
//   +-------------+-----+-------------+-----------------+-----------+-----+--------+
//   | separator 0 | ... | separator n | end of          | end of    | ... | n + 1  |
//   |             |     |             | separator 0     | block 0   |     |        |
//   |             |     |             | u32, in here    | u64, file |     | u32    |
//   +-------------+-----+-------------+-----------------+-----------+-----+--------+
//
// Separator i is not smaller than any key of block i and smaller than every key of block i + 1; the last one is the table's largest key.
// Only ends are stored, so the blocks tile the file from offset 0 up to the filter, and the separators the index, by construction.

open System

/// The records of an index.
[<RequireQualifiedAccess>]
module internal IndexRecord =

    /// Bytes of the ends of a separator and a block.
    [<Literal>]
    let lengthBytes = 12

/// Keys that part blocks.
[<RequireQualifiedAccess>]
module Separator =

    /// Appends the shortest key that is not smaller than `last` and smaller than `next`, for `last` smaller than `next`.
    let append (buffer: ByteBuffer) (last: ReadOnlySpan<byte>) (next: ReadOnlySpan<byte>) : unit =
        let shared = MemoryExtensions.CommonPrefixLength(last, next)

        if last.Length <= shared + 1 then
            // A prefix of `next`, or no longer than any separator must be.
            buffer.Append last
        elif next.Length > shared + 1 then
            buffer.Append(next.Slice(0, shared + 1))
        else
            // `next` ends where it differs, so the separator must be smaller there: raise the first byte of `last` that can be raised.
            let mutable at =
                if last[shared] + 1uy < next[shared] then
                    shared
                else
                    shared + 1

            while at < last.Length && last[at] = 255uy do
                at <- at + 1

            if at >= last.Length then
                buffer.Append last
            else
                let start = buffer.Length
                buffer.Append(last.Slice(0, at + 1))
                buffer.Patch(start + at, 1)[0] <- last[at] + 1uy

/// Collects the index while a table is built. Mutable, one owner.
[<Sealed>]
type TableIndexBuilder() =
    let separators = ByteBuffer 4096
    let records = ByteBuffer 4096

    /// Bytes of the index so far, without trailer.
    member _.SizeBytes: int = separators.Length + records.Length + 4

    /// Adds a block that ends at `blockEndBytes` in the file and is followed by one that begins with `next`.
    member _.Add(last: ReadOnlySpan<byte>, next: ReadOnlySpan<byte>, blockEndBytes: int64) : unit =
        Separator.append separators last next
        records.AppendU32(uint32 separators.Length)
        records.AppendU64(uint64 blockEndBytes)

    /// Adds the last block.
    member _.AddLast(last: ReadOnlySpan<byte>, blockEndBytes: int64) : unit =
        separators.Append last
        records.AppendU32(uint32 separators.Length)
        records.AppendU64(uint64 blockEndBytes)

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
type TableIndex private (buffer: byte[], offset: int, records: int, heads: uint64[], prefixLength: int) =

    /// What is wrong with an index of `length` bytes; nothing when all is well.
    static member private FindFault
        (buffer: byte[], offset: int, length: int, dataLengthBytes: int64, properties: TableProperties)
        : string voption =
        let count =
            if length < 4 then
                0L
            else
                int64 (Unchecked.readU32 buffer (offset + length - 4))

        let separatorsLength = int64 length - 4L - count * int64 IndexRecord.lengthBytes

        if count < 1L || separatorsLength < 0L then
            ValueSome $"%d{count} blocks cannot be in an index of %d{length} bytes"
        else
            let records = offset + int separatorsLength
            let mutable fault: string voption = ValueNone
            let mutable separatorStart = 0L
            let mutable blockStart = 0L
            let mutable previous = ReadOnlySpan<byte> properties.SmallestKey
            let mutable index = 0

            while fault.IsNone && index < int count do
                let separatorEnd = int64 (Unchecked.readU32 buffer (records + IndexRecord.lengthBytes * index))
                let blockEnd = int64 (Unchecked.readU64 buffer (records + IndexRecord.lengthBytes * index + 4))

                if separatorEnd < separatorStart || separatorEnd > separatorsLength then
                    fault <- ValueSome $"separator %d{index} ends at %d{separatorEnd}, outside of its place"
                elif
                    blockEnd <= blockStart
                    || blockEnd > dataLengthBytes
                    || blockEnd - blockStart > int64 Array.MaxLength
                then
                    fault <-
                        ValueSome
                            $"block %d{index} goes from %d{blockStart} to %d{blockEnd}, and the blocks end at %d{dataLengthBytes}"
                else
                    let separator =
                        ReadOnlySpan<byte>(buffer, offset + int separatorStart, int (separatorEnd - separatorStart))

                    let order = separator.SequenceCompareTo previous

                    if order < 0 || (order = 0 && index > 0) then
                        fault <- ValueSome $"separator %d{index} is not larger than the key before it"
                    else
                        previous <- separator
                        separatorStart <- separatorEnd
                        blockStart <- blockEnd
                        index <- index + 1

            if fault.IsSome then
                fault
            elif separatorStart <> separatorsLength || blockStart <> dataLengthBytes then
                ValueSome $"the last block ends at %d{blockStart}, and the filter begins at %d{dataLengthBytes}"
            elif not (previous.SequenceEqual properties.LargestKey) then
                ValueSome "the last separator is not the largest key"
            else
                ValueNone

    /// Opens the index that lies in `buffer` from `offset` on, `length` bytes without its trailer, whose checksum was found right: it must
    /// tile `dataLengthBytes` of blocks and fit the properties. Otherwise what is wrong with it. O(blocks).
    static member Open
        (buffer: byte[], offset: int, length: int, dataLengthBytes: int64, properties: TableProperties)
        : Result<TableIndex, string> =
        match TableIndex.FindFault(buffer, offset, length, dataLengthBytes, properties) with
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
            let index = TableIndex(buffer, offset, records, heads, prefixLength)

            for block in 0 .. count - 1 do
                heads[block] <- KeyHead.compute (index.Separator block) prefixLength

            Ok index
        | ValueSome fault -> Error fault

    /// Number of blocks.
    member _.BlockCount: int = heads.Length

    /// Memory beside the buffer.
    member _.MemoryBytes: int64 = 8L * int64 heads.Length

    /// A key not smaller than those of the block and smaller than those of the next.
    member _.Separator(block: int) : ReadOnlySpan<byte> =
        let start =
            if block = 0 then
                0
            else
                int (Unchecked.readU32 buffer (records + IndexRecord.lengthBytes * (block - 1)))

        let stop = int (Unchecked.readU32 buffer (records + IndexRecord.lengthBytes * block))
        ReadOnlySpan<byte>(buffer, offset + start, stop - start)

    /// Where a block lies.
    member _.BlockHandle(block: int) : BlockHandle =
        if uint32 block >= uint32 heads.Length then
            raise (ArgumentOutOfRangeException(nameof block))

        let start =
            if block = 0 then
                0L
            else
                int64 (Unchecked.readU64 buffer (records + IndexRecord.lengthBytes * (block - 1) + 4))

        let stop = int64 (Unchecked.readU64 buffer (records + IndexRecord.lengthBytes * block + 4))

        { OffsetBytes = start; LengthBytes = int (stop - start) }

    /// The first block whose separator is not smaller than `key`, the only one that can hold it. The key must lie between the
    /// table's smallest and largest key. O(log blocks), no allocation.
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
