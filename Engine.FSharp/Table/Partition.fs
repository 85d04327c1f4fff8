namespace LsmFs.Engine

// A partition is the index and the filter of some data blocks that follow each other, as one block: a lookup needs both or neither, and a big store
// need not have all of them in memory. Its content:
//
//   +-------------+-----+-------------+----------+-----------+-----+--------+-----------+-----------+-------+
//   | separator 0 | ... | separator n | end of   | end of    | ... | filter | start of  | length of | n + 1 |
//   |             |     |             | separator| block 0   |     |        | block 0   | filter    |       |
//   |             |     |             | 0   u32  | u32       |     |        | u64, file | u32       | u32   |
//   +-------------+-----+-------------+----------+-----------+-----+--------+-----------+-----------+-------+
//
// Ends of separators count from the start of the content, ends of blocks from the start of block 0. Separator i is not smaller than any key of block i
// and smaller than every key of block i + 1, in the next partition too; the last one of a table is its largest key. Only ends are stored, so separators
// and blocks leave no gaps by construction. The filter (BloomFilter.fs) is over the keys of these blocks.

open System
open System.Runtime.InteropServices

/// Searching partitions where they lie. All but `findFault` are for content it found nothing wrong with.
[<RequireQualifiedAccess>]
module Partition =

    [<Literal>]
    let internal recordLengthBytes = 8

    [<Literal>]
    let private tailLengthBytes = 16

    let inline private tail (content: BlockContent) : int = content.Start + content.Length - tailLengthBytes

    let inline private filterLength (content: BlockContent) : int =
        int (Unchecked.readU32 content.Bytes (tail content + 8))

    /// Number of data blocks.
    let blockCount (content: BlockContent) : int = int (Unchecked.readU32 content.Bytes (tail content + 12))

    let inline private records (content: BlockContent) : int =
        tail content - filterLength content - recordLengthBytes * blockCount content

    let inline private separatorEnd (content: BlockContent) (records: int) (block: int) : int =
        if block < 0 then
            0
        else
            int (Unchecked.readU32 content.Bytes (records + recordLengthBytes * block))

    let inline private blockEnd (content: BlockContent) (records: int) (block: int) : int64 =
        if block < 0 then
            0L
        else
            int64 (Unchecked.readU32 content.Bytes (records + recordLengthBytes * block + 4))

    let inline private separatorAt (content: BlockContent) (records: int) (block: int) : ReadOnlySpan<byte> =
        let start = separatorEnd content records (block - 1)
        ReadOnlySpan<byte>(content.Bytes, content.Start + start, separatorEnd content records block - start)

    /// Where the first data block begins in the file.
    let dataOffsetBytes (content: BlockContent) : int64 = int64 (Unchecked.readU64 content.Bytes (tail content))

    /// Where the last data block ends in the file.
    let dataEndBytes (content: BlockContent) : int64 =
        dataOffsetBytes content + blockEnd content (records content) (blockCount content - 1)

    /// A key not smaller than those of the block and smaller than those of the next.
    let separator (content: BlockContent) (block: int) : ReadOnlySpan<byte> =
        separatorAt content (records content) block

    /// Where a data block lies. Throws `ArgumentOutOfRangeException`.
    let handle (content: BlockContent) (block: int) : BlockHandle =
        if uint32 block >= uint32 (blockCount content) then
            raise (ArgumentOutOfRangeException(nameof block))

        let records = records content
        let start = blockEnd content records (block - 1)

        {
            OffsetBytes = dataOffsetBytes content + start
            LengthBytes = int (blockEnd content records block - start)
        }

    /// The blocks from `first` on, and before `stop`, that can be read at once: those that follow each other within `lengthBytesMax`, one at least. They
    /// lie where the handle says, and the number is that of the block behind them.
    let run (content: BlockContent) (first: int) (stop: int) (lengthBytesMax: int) : struct (BlockHandle * int) =
        let start = handle content first
        let mutable length = start.LengthBytes
        let mutable next = first + 1

        while next < stop && (handle content next).LengthBytes <= lengthBytesMax - length do
            length <- length + (handle content next).LengthBytes
            next <- next + 1

        struct ({ start with LengthBytes = length }, next)

    /// Whether a key with this hash may be in one of the blocks. One cache line.
    let mayContain (content: BlockContent) (hash: uint64) : bool =
        let length = filterLength content
        BloomFilter.mayContain content.Bytes (tail content - length) length hash

    /// The first block whose separator is not smaller than `key`, the only one that can hold it; the number of blocks when there is none.
    /// O(log blocks), no allocation.
    let find (content: BlockContent) (key: ReadOnlySpan<byte>) : int =
        let records = records content
        let mutable low = 0
        let mutable high = blockCount content

        while low < high do
            let middle = (low + high) >>> 1

            if (separatorAt content records middle).SequenceCompareTo key < 0 then
                low <- middle + 1
            else
                high <- middle

        low

    /// What is wrong with a partition whose checksum is right; nothing when all is well. `before` is smaller than all of its separators, or, of the first
    /// partition, the table's smallest key; `last` is its last separator. O(blocks).
    let findFault
        (content: BlockContent)
        (isFirst: bool)
        (before: ReadOnlySpan<byte>)
        (last: ReadOnlySpan<byte>)
        (dataLengthBytes: int64)
        : string voption =
        let count =
            if content.Length < tailLengthBytes then
                0L
            else
                int64 (Unchecked.readU32 content.Bytes (tail content + 12))

        let filterLength =
            if content.Length < tailLengthBytes then
                0L
            else
                int64 (Unchecked.readU32 content.Bytes (tail content + 8))

        let separatorsLength =
            int64 content.Length - int64 tailLengthBytes - filterLength - count * int64 recordLengthBytes

        if count < 1L || separatorsLength < 0L then
            ValueSome
                $"%d{count} blocks and a filter of %d{filterLength} bytes cannot be in a partition of %d{content.Length} bytes"
        elif not (BloomFilter.isWellFormed (int filterLength)) then
            ValueSome $"a filter cannot have %d{filterLength} bytes"
        else
            let offset = Unchecked.readU64 content.Bytes (tail content)
            let records = records content
            let mutable fault: string voption = ValueNone
            let mutable separatorStart = 0L
            let mutable blockStart = 0L
            let mutable previous = before
            let mutable block = 0

            while fault.IsNone && block < int count do
                let separatorEnd = int64 (Unchecked.readU32 content.Bytes (records + recordLengthBytes * block))
                let blockEnd = int64 (Unchecked.readU32 content.Bytes (records + recordLengthBytes * block + 4))

                if separatorEnd < separatorStart || separatorEnd > separatorsLength then
                    fault <- ValueSome $"separator %d{block} ends at %d{separatorEnd}, outside of its place"
                elif blockEnd <= blockStart || blockEnd - blockStart > int64 Array.MaxLength then
                    fault <- ValueSome $"block %d{block} goes from %d{blockStart} to %d{blockEnd}"
                else
                    let separator =
                        ReadOnlySpan<byte>(
                            content.Bytes,
                            content.Start + int separatorStart,
                            int (separatorEnd - separatorStart)
                        )

                    let order = separator.SequenceCompareTo previous

                    if order < 0 || (order = 0 && not (isFirst && block = 0)) then
                        fault <- ValueSome $"separator %d{block} is not larger than the key before it"
                    else
                        previous <- separator
                        separatorStart <- separatorEnd
                        blockStart <- blockEnd
                        block <- block + 1

            if fault.IsSome then
                fault
            elif separatorStart <> separatorsLength then
                ValueSome $"the separators end at %d{separatorStart}, and their ends begin at %d{separatorsLength}"
            elif offset > uint64 dataLengthBytes || int64 offset + blockStart > dataLengthBytes then
                ValueSome
                    $"the blocks go from %d{offset} on for %d{blockStart} bytes, and the data ends at %d{dataLengthBytes}"
            elif not (previous.SequenceEqual last) then
                ValueSome "the last separator is not the one that the index has"
            else
                ValueNone

/// Collects a partition while a table is built. Mutable, one owner.
[<Sealed>]
type PartitionBuilder(bitsPerKey: int, memory: JobMemory) =
    let separators = ByteBuffer 4096
    let records = ByteBuffer 2048
    let content = memory.Take(JobBuffer.Content, 8192)
    // In the machine's byte order.
    let hashes = memory.Take(JobBuffer.Hashes, 8192)
    let mutable dataOffsetBytes = 0L

    let endBlock (blockEndBytes: int64) =
        records.AppendU32(uint32 separators.Length)
        records.AppendU32(uint32 (blockEndBytes - dataOffsetBytes))

    /// About how long the content will be.
    member _.SizeBytes: int =
        separators.Length + records.Length + int (int64 (hashes.Length / 8) * int64 bitsPerKey / 8L)

    /// Adds the hash of a key of the next block.
    member _.AddKey(hash: uint64) : unit =
        let mutable hash = hash
        MemoryMarshal.Write(hashes.Reserve 8, &hash)

    /// Adds a block that ends at `blockEndBytes` in the file and with the key `last`, and is followed by one that begins with `next`.
    member _.AddBlock(last: ReadOnlySpan<byte>, next: ReadOnlySpan<byte>, blockEndBytes: int64) : unit =
        Separator.append separators last next
        endBlock blockEndBytes

    /// Adds the last block of the table.
    member _.AddLastBlock(last: ReadOnlySpan<byte>, blockEndBytes: int64) : unit =
        separators.Append last
        endBlock blockEndBytes

    /// The content. Valid until the next use of the builder. O(keys).
    member _.Finish() : ReadOnlySpan<byte> =
        content.Clear()
        content.Append separators.Written
        content.Append records.Written
        let filterStart = content.Length
        BloomFilter.append content bitsPerKey (MemoryMarshal.Cast<byte, uint64> hashes.Written)
        let filterLength = content.Length - filterStart
        content.AppendU64(uint64 dataOffsetBytes)
        content.AppendU32(uint32 filterLength)
        content.AppendU32(uint32 (records.Length / Partition.recordLengthBytes))
        content.Written

    /// Ready for the next partition, whose first block begins at `blockStartBytes`.
    member _.Reset(blockStartBytes: int64) : unit =
        separators.Clear()
        records.Clear()
        hashes.Clear()
        dataOffsetBytes <- blockStartBytes
