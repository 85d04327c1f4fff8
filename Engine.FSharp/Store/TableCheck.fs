namespace LsmFs.Engine

// Mutable, one owner. Invariants between calls:
// 1. While `isWhole`, the counts are those of all blocks checked so far, in order from the first.
// 2. After the first block that could not be believed nothing is counted any more: a part says nothing of the whole.

open System

/// Checks the data blocks of an opened table, front to back, and counts what it holds.
[<Sealed>]
type TableCheck(table: Table) =
    let cursor = BlockCursor()
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

    /// Whether a lookup of the entry's key comes to the entry: filter, index and fingerprints are as they must be.
    let isFound (handle: BlockHandle) (buffer: byte[]) (offset: int) (entry: Entry) : bool =
        let hash = KeyHash.compute entry.Key

        match table.TryLocate(entry.Key, hash) with
        | ValueSome located when located.OffsetBytes = handle.OffsetBytes ->
            match Block.tryFind buffer offset handle.LengthBytes entry.Key hash with
            | ValueSome found -> found.Offset = entry.Offset
            | ValueNone -> false
        | _ -> false

    /// Checks a block that was read to `offset` in `buffer`: checksum, structure, the order of its keys, that they lie where the index says,
    /// and that a lookup finds each of them. O(length).
    member _.Block(block: int, buffer: byte[], offset: int) : Result<unit, Corruption> =
        let handle = table.BlockHandle block

        match table.VerifyBlock(block, buffer, offset) with
        | Error corruption ->
            isWhole <- false
            Error corruption
        | Ok() ->
            cursor.Open(buffer, offset, handle.LengthBytes)
            let mutable hidden: Corruption voption = ValueNone

            while cursor.MoveNext() do
                let entry = cursor.Current
                count entry

                if hidden.IsNone && not (isFound handle buffer offset entry) then
                    hidden <-
                        ValueSome {
                            File = table.File
                            OffsetBytes = handle.OffsetBytes + int64 (entry.Offset - offset)
                            Reason =
                                "a lookup does not find the key of this entry: filter, index or fingerprint is wrong"
                        }

            match hidden with
            | ValueSome corruption -> Error corruption
            | ValueNone -> Ok()

    /// Says that a block could not be read.
    member _.Skip() : unit = isWhole <- false

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
