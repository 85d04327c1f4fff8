namespace LsmFs.Engine

// Mutable, one owner. Invariants between calls:
// 1. While `isWhole`, the counts are those of all blocks checked so far, in order from the first.
// 2. After the first block that could not be believed nothing is counted any more: a part says nothing of the whole.
// 3. `dataEndBytes` is where the blocks of the last partition end; none after one that could not be believed.

open System

/// Checks the partitions of an opened table, front to back, and behind each its data blocks, and counts what it holds.
[<Sealed>]
type TableCheck(table: Table) =
    let decoder = BlockDecoder()
    let cursor = BlockCursor()
    let partitionBytes = ByteBuffer 8192
    let mutable partitionNumber = 0
    // Of that partition, in `partitionBytes`; empty when it could not be believed.
    let mutable partition = BlockContent.empty
    let mutable dataEndBytes = ValueSome 0L
    let mutable isWhole = true
    let mutable entryCount = 0L
    let mutable tombstoneCount = 0L
    let mutable keyBytes = 0L
    let mutable valueBytes = 0L
    let mutable smallestSequence = UInt64.MaxValue
    let mutable largestSequence = 0UL
    let mutable expiringCount = 0L
    let mutable earliestExpiry = UInt32.MaxValue
    let mutable latestExpiry = 0u

    let count (entry: Entry) =
        let (SequenceNumber sequence) = entry.Sequence
        entryCount <- entryCount + 1L
        keyBytes <- keyBytes + int64 entry.KeyLength
        valueBytes <- valueBytes + int64 entry.ValueLength
        smallestSequence <- min smallestSequence sequence
        largestSequence <- max largestSequence sequence

        if entry.Kind = EntryKind.Tombstone then
            tombstoneCount <- tombstoneCount + 1L
        elif entry.ExpirySeconds <> 0u then
            expiringCount <- expiringCount + 1L
            earliestExpiry <- min earliestExpiry entry.ExpirySeconds
            latestExpiry <- max latestExpiry entry.ExpirySeconds

    /// Whether a lookup of the entry's key comes to the entry: index, filter and fingerprints are as they must be.
    let isFound (block: int) (data: BlockContent) (entry: Entry) : bool =
        let hash = KeyHash.compute entry.Key

        table.TryLocate entry.Key = ValueSome partitionNumber
        && Partition.mayContain partition hash
        && Partition.find partition entry.Key = block
        && (match Block.tryFind data.Bytes data.Start data.Length entry.Key hash with
            | ValueSome found -> found.Offset = entry.Offset
            | ValueNone -> false)

    /// Checks that the data blocks of a partition begin where those of the one before it end, and the last ones where the partitions begin.
    let checkTiling (content: BlockContent) : Result<unit, Corruption> =
        let start = Partition.dataOffsetBytes content
        let stop = Partition.dataEndBytes content
        let handle = table.PartitionHandle partitionNumber

        match dataEndBytes with
        | ValueSome expected when start <> expected ->
            Corruption.at
                table.File
                handle.OffsetBytes
                $"the partition's data blocks begin at %d{start} and not at %d{expected}, where those before them end"
        | _ when partitionNumber = table.PartitionCount - 1 && stop <> table.DataLengthBytes ->
            Corruption.at
                table.File
                handle.OffsetBytes
                $"the last data block ends at %d{stop} and not at %d{table.DataLengthBytes}, where the partitions begin"
        | _ -> Ok()

    /// Opens a partition that was read to `offset` in `stored`: its data blocks are what `Block` checks from here on. All partitions, in order. O(length).
    member _.Partition(number: int, stored: byte[], offset: int) : Result<unit, Corruption> =
        partitionNumber <- number
        partition <- BlockContent.empty

        let opening =
            table.OpenPartition(decoder, number, stored, offset)
            |> Result.bind (fun content -> checkTiling content |> Result.map (fun () -> content))

        match opening with
        | Error corruption ->
            isWhole <- false
            dataEndBytes <- ValueNone
            Error corruption
        | Ok content ->
            partition <- BlockContent.copyTo partitionBytes content
            dataEndBytes <- ValueSome(Partition.dataEndBytes content)
            Ok()

    /// Number of data blocks of the partition that was opened last; 0 when it could not be believed.
    member _.BlockCount: int =
        if partition.Length = 0 then
            0
        else
            Partition.blockCount (partition)

    /// The data blocks of that partition from `first` on that can be read at once (`Partition.run`).
    member _.Run(first: int, lengthBytesMax: int) : struct (BlockHandle * int) =
        Partition.run partition first (Partition.blockCount partition) lengthBytesMax

    /// Where a data block of that partition lies.
    member _.BlockHandle(block: int) : BlockHandle = Partition.handle (partition) block

    /// Checks a data block of the partition that was opened last, read to `offset` in `stored`: checksum, structure, the order of its keys, that they lie
    /// where the index says, and that a lookup finds each of them. O(length).
    member _.Block(block: int, stored: byte[], offset: int) : Result<unit, Corruption> =
        let handle = Partition.handle (partition) block

        let opening =
            table.OpenData(decoder, handle, stored, offset)
            |> Result.bind (fun data ->
                table.CheckPlace(partitionNumber, partition, block, data) |> Result.map (fun () -> data))

        match opening with
        | Error corruption ->
            isWhole <- false
            Error corruption
        | Ok data ->
            cursor.Open(data.Bytes, data.Start, data.Length)
            let mutable hidden: Corruption voption = ValueNone

            while cursor.MoveNext() do
                let entry = cursor.Current
                count entry

                if hidden.IsNone && not (isFound block data entry) then
                    hidden <-
                        ValueSome {
                            File = table.File
                            OffsetBytes = handle.OffsetBytes
                            Reason =
                                $"a lookup does not find the key of the entry at %d{entry.Offset - data.Start} in this data block: filter, index or fingerprint is wrong"
                        }

            match hidden with
            | ValueSome corruption -> Error corruption
            | ValueNone -> Ok()

    /// Says that a data block, or a partition, could not be read.
    member _.Skip() : unit = isWhole <- false

    /// Says that the partition with this number could not be read: its data blocks are unknown.
    member check.SkipPartition(number: int) : unit =
        partitionNumber <- number
        partition <- BlockContent.empty
        dataEndBytes <- ValueNone
        check.Skip()

    /// Entries of the blocks that could be believed.
    member _.EntryCount: int64 = entryCount

    /// What the blocks add up to; nothing when one of them could not be believed. All blocks must have been checked or skipped.
    member _.Recount: TableProperties voption =
        if not isWhole then
            ValueNone
        else
            ValueSome {
                EntryCount = entryCount
                TombstoneCount = tombstoneCount
                KeyBytes = keyBytes
                ValueBytes = valueBytes
                // Of these two every block was held against the properties.
                SmallestKey = table.Properties.SmallestKey
                LargestKey = table.Properties.LargestKey
                SmallestSequence = SequenceNumber smallestSequence
                LargestSequence = SequenceNumber largestSequence
                EarliestExpirySeconds = (if expiringCount = 0L then 0u else earliestExpiry)
                LatestExpirySeconds = (if expiringCount < entryCount then 0u else latestExpiry)
            }
