namespace LsmFs.Engine

// Mutable, one owner. Invariants between calls:
//   1. `output` holds whole stored blocks (and what follows them, after Finish): what was sealed and not yet taken by the caller.
//   2. `block` holds the entries of the block in progress, `offsets` where they begin, `fingerprints` a byte of their keys' hashes; all are empty only before the first Add.
//   3. Every sealed block is in `partition`, or in a partition in `partitions`, which `index` has; a block is sealed when the key that follows it is known.
//   4. A block whose content is larger than `BlockSizeBytes` has a single entry.

open System

/// How the bytes of a table are handed out.
[<RequireQualifiedAccess>]
module internal TableOutput =

    /// Output is taken in pieces of about this size.
    [<Literal>]
    let pieceLengthBytes = 262144

/// Builds one table after the other, each in one pass from front to back, in memory that it may share with builders before and after it.
[<Sealed>]
type TableBuilder(options: Options, memory: JobMemory) =
    do
        if options.BlockSizeBytes < 1 || options.BlockSizeBytes > Block.sizeBytesMax then
            invalidOp $"a block size of %d{options.BlockSizeBytes} bytes"

    // A piece, and the block that passes its end.
    let output = memory.Take(JobBuffer.Output, TableOutput.pieceLengthBytes + Block.sizeBytesMax)

    let block = ByteBuffer(options.BlockSizeBytes + 1024)
    let offsets = ByteBuffer 1024
    let fingerprints = ByteBuffer 512
    let encoder = BlockEncoder options.Compression
    let partition = PartitionBuilder(options.BloomBitsPerKey, memory)
    let partitions = memory.Take(JobBuffer.Partitions, 65536)
    let separator = ByteBuffer 256
    let encoded = ByteBuffer 1024
    let index = TableIndexBuilder()
    let smallestKey = ByteBuffer 256
    let largestKey = ByteBuffer 256
    let mutable entryCount = 0L
    let mutable tombstoneCount = 0L
    let mutable keyBytes = 0L
    let mutable valueBytes = 0L
    let mutable smallestSequence = UInt64.MaxValue
    let mutable largestSequence = 0UL
    let mutable earliestExpiry = UInt32.MaxValue
    let mutable latestExpiry = 0u
    let mutable hasUnexpiring = false
    let mutable sealedBytes = 0L
    let mutable isFinished = false

    /// Moves the block in progress to the output.
    let sealBlock () =
        let start = output.Length
        block.Append offsets.Written
        block.Append fingerprints.Written
        block.AppendU16(uint16 fingerprints.Length)
        encoder.Append(output, block.Written)
        sealedBytes <- sealedBytes + int64 (output.Length - start)
        block.Clear()
        offsets.Clear()
        fingerprints.Clear()

    /// Closes the partition in progress, whose last separator is `last`.
    let sealPartition (last: ReadOnlySpan<byte>) =
        encoder.Append(partitions, partition.Finish())
        index.Add(last, int64 partitions.Length)
        partition.Reset sealedBytes

    let countExpiry (entry: Entry) =
        let expiry =
            if entry.Kind = EntryKind.Tombstone then
                0u
            else
                entry.ExpirySeconds

        if expiry = 0u then
            hasUnexpiring <- true
        else
            earliestExpiry <- min earliestExpiry expiry
            latestExpiry <- max latestExpiry expiry

    let properties () : TableProperties = {
        EntryCount = entryCount
        TombstoneCount = tombstoneCount
        KeyBytes = keyBytes
        ValueBytes = valueBytes
        SmallestKey = smallestKey.ToArray()
        LargestKey = largestKey.ToArray()
        SmallestSequence = SequenceNumber smallestSequence
        LargestSequence = SequenceNumber largestSequence
        EarliestExpirySeconds = (if latestExpiry = 0u then 0u else earliestExpiry)
        LatestExpirySeconds = (if hasUnexpiring then 0u else latestExpiry)
    }

    /// A builder with memory of its own.
    new(options: Options) = TableBuilder(options, JobMemory())

    /// Finished bytes, in the order of the file. The caller writes them out and clears them whenever it likes.
    member _.Output: ByteBuffer = output

    /// Bytes of the file so far: data blocks, the one in progress included, and after `Finish` the whole file.
    member _.SizeBytes: int64 = sealedBytes + int64 (block.Length + offsets.Length + fingerprints.Length)

    /// Entries so far.
    member _.EntryCount: int64 = entryCount

    /// Adds an encoded entry. Its key must be larger than all before (`InvalidOperationException`; the builder is of no use after that).
    member _.Add(entry: ReadOnlySpan<byte>) : unit =
        if isFinished then
            invalidOp "the table is finished"

        if EntryFormat.measure entry 0 <> entry.Length || entry[6] = byte EntryKind.FlushAll then
            invalidOp "this is no entry for a table"

        let isBlockFull =
            block.Length > 0
            && (block.Length
                + entry.Length
                + Block.slotLengthBytes * (fingerprints.Length + 1)
                + Block.tailLengthBytes)
                >
                options.BlockSizeBytes

        if isBlockFull then
            sealBlock ()

        offsets.AppendU16(uint16 block.Length)
        let start = block.Length
        block.Append entry
        let added: Entry = { Buffer = block.Bytes; Offset = start }
        let key = added.Key

        if entryCount = 0L then
            smallestKey.Append key
        elif key.SequenceCompareTo largestKey.Written <= 0 then
            invalidOp "the keys of a table must ascend"

        if isBlockFull then
            partition.AddBlock(largestKey.Written, key, sealedBytes)

            if partition.SizeBytes >= options.PartitionSizeBytes then
                separator.Clear()
                Separator.append separator largestKey.Written key
                sealPartition separator.Written

        largestKey.Clear()
        largestKey.Append key
        let hash = KeyHash.compute key
        partition.AddKey hash
        fingerprints.AppendU8(Block.fingerprint hash)
        entryCount <- entryCount + 1L
        keyBytes <- keyBytes + int64 key.Length
        valueBytes <- valueBytes + int64 added.ValueLength
        let (SequenceNumber sequence) = added.Sequence
        smallestSequence <- min smallestSequence sequence
        largestSequence <- max largestSequence sequence
        countExpiry added

        if added.Kind = EntryKind.Tombstone then
            tombstoneCount <- tombstoneCount + 1L

    /// Appends what follows the data blocks to `Output`. A table must have an entry.
    member _.Finish() : TableProperties =
        if entryCount = 0L || isFinished then
            invalidOp "only a table with entries can be finished, and only once"

        sealBlock ()
        partition.AddLastBlock(largestKey.Written, sealedBytes)
        sealPartition largestKey.Written
        let dataLengthBytes = sealedBytes
        let start = output.Length
        output.Append partitions.Written
        let properties = properties ()
        let propertiesStart = output.Length
        encoded.Clear()
        TableFormat.appendProperties encoded properties
        StoredBlock.appendRaw output encoded.Written
        let indexStart = output.Length
        encoded.Clear()
        index.AppendTo encoded
        StoredBlock.appendRaw output encoded.Written

        TableFormat.appendFooter output {
            DataLengthBytes = dataLengthBytes
            PartitionsLengthBytes = int64 partitions.Length
            PropertiesLengthBytes = indexStart - propertiesStart
            IndexLengthBytes = output.Length - indexStart
        }

        sealedBytes <- sealedBytes + int64 (output.Length - start)
        isFinished <- true
        properties

    /// Ready for the next table, with the memory of this one; `Output` is emptied.
    member _.Reset() : unit =
        output.ClearAndTrim(1024 * 1024)
        block.ClearAndTrim(Block.sizeBytesMax)
        offsets.Clear()
        fingerprints.Clear()
        partition.Reset 0L
        partitions.ClearAndTrim(1024 * 1024)
        index.Clear()
        smallestKey.Clear()
        largestKey.Clear()
        entryCount <- 0L
        tombstoneCount <- 0L
        keyBytes <- 0L
        valueBytes <- 0L
        smallestSequence <- UInt64.MaxValue
        largestSequence <- 0UL
        earliestExpiry <- UInt32.MaxValue
        latestExpiry <- 0u
        hasUnexpiring <- false
        sealedBytes <- 0L
        isFinished <- false
