namespace LsmFs.Engine

// Mutable, one owner. Invariants between calls:
// 1. What was read last is in `stored`. Of it, the blocks `walkNext` to `nextBlock - 1` of the open partition, or the bytes `regionNext` to
//    `regionEnd - 1` of a region, are not yet looked at. A region is what the data blocks of damaged partitions take up; it is read before the blocks of
//    the next whole partition, which may be open already.
// 2. `lastKey` is the last key of the last whole block before those; nothing when there is none.
// 3. `pending` is what was lost since then: the next whole block, or the end of the table, says how far its keys may reach.
// 4. `dataEnd` is where the data blocks of the last whole partition end. The partitions from `firstDamaged` to the next one are damaged, if that is not -1.
//
// A stored block does not say how long it is. Without its partition it is found by its checksum: the first length at which that is right. So blocks are
// found one behind the other, and what follows a damaged one is lost until the next whole partition. To look for blocks anywhere would find those that
// somebody has put into a value.

open System

/// A part of the key space in which entries were lost.
[<NoEquality; NoComparison>]
type LostKeys = {
    From: byte[]
    /// Whether `From` itself may be lost; otherwise it is the last key before.
    IncludesFrom: bool
    To: byte[]
    /// Whether `To` itself may be lost; otherwise it is the first key behind.
    IncludesTo: bool
    /// What was lost there has at most this sequence number.
    Newest: SequenceNumber
}

/// What could not be saved of a file.
[<NoEquality; NoComparison>]
type Loss = {
    /// Where, and what is wrong.
    Damage: Corruption
    LengthBytes: int64
    /// Which keys may be concerned; nothing when nobody can say.
    Keys: LostKeys voption
}

/// What a source that salvages has asked for.
[<RequireQualifiedAccess; Struct>]
type private Wanted =
    | Partition
    | Blocks
    | Region

/// Those entries of a table that lie in whole blocks. Damaged blocks are passed over, and told in `Losses`. `endDamage` is what is wrong with a table
/// without end (`TableReader.withoutEnd`), of which the whole file is one region.
[<Sealed>]
type SalvageSource(table: Table, endDamage: Corruption voption, readLengthBytesMax: int) =
    inherit EntrySource()

    let decoder = BlockDecoder()
    let cursor = BlockCursor()
    let partitionBytes = ByteBuffer 8192
    let losses = ResizeArray<Loss>()
    let notes = ResizeArray<Corruption>(ValueOption.toArray endDamage)
    let pending = ResizeArray<struct (Corruption * int64)>()
    let mutable lastKey: byte[] voption = ValueNone
    let mutable stored = Array.Empty<byte>()
    let mutable isOpen = false
    let mutable isEnded = false

    let mutable nextPartition = if endDamage.IsSome then table.PartitionCount else 0
    let mutable firstDamaged = if endDamage.IsSome then 0 else -1
    let mutable dataEnd = 0L

    // Of the open partition, whose content is in `partitionBytes`.
    let mutable partition = -1
    let mutable content = BlockContent.empty
    let mutable blockCount = 0
    let mutable runFirst = 0
    let mutable nextBlock = 0
    let mutable walkNext = 0

    // Of a region, and the damaged partitions that it belongs to.
    let mutable region: BlockHandle voption = ValueNone
    let mutable regionOffset = 0L
    let mutable regionFirstPartition = 0
    let mutable regionLastPartition = 0
    let mutable regionNext = 0
    let mutable regionEnd = 0

    let mutable wanted: struct (BlockHandle * Wanted) voption = ValueNone

    let lose (offsetBytes: int64) (lengthBytes: int64) (reason: string) =
        let damage = { File = table.File; OffsetBytes = offsetBytes; Reason = reason }
        pending.Add(struct (damage, lengthBytes))

    /// Says how far the keys of what is pending may reach: to before a key, or to the table's last.
    let settle (next: byte[] voption) =
        for struct (damage, lengthBytes) in pending do
            losses.Add {
                Damage = damage
                LengthBytes = lengthBytes
                Keys =
                    ValueSome {
                        From = lastKey |> ValueOption.defaultValue table.Properties.SmallestKey
                        IncludesFrom = lastKey.IsNone
                        To = next |> ValueOption.defaultValue table.Properties.LargestKey
                        IncludesTo = next.IsNone
                        Newest = table.Properties.LargestSequence
                    }
            }

        pending.Clear()

    let walk (data: BlockContent) =
        let first = Block.first data.Bytes data.Start
        settle (ValueSome(first.Key.ToArray()))
        let last = Block.last data.Bytes data.Start data.Length
        lastKey <- ValueSome(last.Key.ToArray())
        cursor.Open(data.Bytes, data.Start, data.Length)
        isOpen <- true

    let walkBlock () =
        let block = walkNext
        let handle = Partition.handle content block
        let offset = int (handle.OffsetBytes - (Partition.handle content runFirst).OffsetBytes)
        walkNext <- walkNext + 1

        let opening =
            table.OpenData(decoder, handle, stored, offset)
            |> Result.bind (fun data ->
                table.CheckPlace(partition, content, block, data) |> Result.map (fun () -> data))

        match opening with
        | Ok data -> walk data
        | Error damage -> pending.Add(struct (damage, int64 handle.LengthBytes))

    /// Whether a block that was found in a region is one of the damaged partitions', and behind those before it.
    let isInPlace (data: BlockContent) =
        let first = Block.first data.Bytes data.Start

        table.IsWithin(regionFirstPartition, regionLastPartition, data)
        && (match lastKey with
            | ValueSome last -> first.Key.SequenceCompareTo last > 0
            | ValueNone -> true)

    /// The data block at `regionNext`, and its length. O(length of the block), or of the region when there is none.
    let findBlock () : struct (BlockContent * int) voption =
        let mutable found = ValueNone
        let mutable checksum = 0u
        let mutable covered = 0

        while found.IsNone && regionNext + covered + 4 < regionEnd do
            checksum <- Checksum.extend checksum (ReadOnlySpan<byte>(stored, regionNext + covered, 1))
            covered <- covered + 1

            if Coding.readU32 (ReadOnlySpan<byte>(stored, regionNext + covered, 4)) 0 = checksum then
                let handle = { OffsetBytes = regionOffset + int64 regionNext; LengthBytes = covered + 4 }

                match table.OpenData(decoder, handle, stored, regionNext) with
                | Ok data when isInPlace data -> found <- ValueSome(struct (data, handle.LengthBytes))
                | _ -> ()

        found

    /// Whether the last block of the table was the last whole one.
    let isLast () =
        match lastKey with
        | ValueSome last -> ReadOnlySpan<byte>(last).SequenceEqual table.Properties.LargestKey
        | ValueNone -> false

    let walkRegion () =
        match findBlock () with
        | ValueSome(struct (data, length)) ->
            regionNext <- regionNext + length
            walk data
        | ValueNone when endDamage.IsSome && isLast () ->
            // Here the partitions begin.
            regionNext <- regionEnd
        | ValueNone ->
            lose
                (regionOffset + int64 regionNext)
                (int64 (regionEnd - regionNext))
                (if endDamage.IsSome then
                     "no whole data block begins here, and the end of the table, which says where the next one does, is damaged"
                 else
                     "no whole data block begins here, and the partition that says where the next one does is damaged")

            regionNext <- regionEnd

    let want (handle: BlockHandle) (what: Wanted) =
        if stored.Length < handle.LengthBytes then
            stored <- GC.AllocateUninitializedArray<byte> handle.LengthBytes

        wanted <- ValueSome(struct (handle, what))

    /// Plans to look for the data blocks of damaged partitions, which end at `stop`.
    let planRegion (stop: int64) =
        if firstDamaged >= 0 then
            let length = stop - dataEnd
            regionFirstPartition <- firstDamaged
            regionLastPartition <- nextPartition - 1
            firstDamaged <- -1

            if length > int64 Array.MaxLength then
                lose
                    dataEnd
                    length
                    "these data blocks cannot be found, because the partitions that say where they lie are damaged"
            elif length > 0L then
                region <- ValueSome { OffsetBytes = dataEnd; LengthBytes = int length }

    let openPartition () =
        let opening = table.OpenPartition(decoder, nextPartition, stored, 0)

        match opening with
        | Error damage ->
            notes.Add damage

            if firstDamaged < 0 then
                firstDamaged <- nextPartition
        | Ok opened ->
            planRegion (Partition.dataOffsetBytes opened)
            content <- BlockContent.copyTo partitionBytes opened
            partition <- nextPartition
            blockCount <- Partition.blockCount content
            dataEnd <- Partition.dataEndBytes content
            nextBlock <- 0
            walkNext <- 0

        nextPartition <- nextPartition + 1

    let planRun () =
        let struct (handle, next) = Partition.run content nextBlock blockCount readLengthBytesMax
        runFirst <- nextBlock
        nextBlock <- next
        want handle Wanted.Blocks

    /// Decides what to read next; false at the end of the table.
    let planRead () : bool =
        if nextPartition = table.PartitionCount && region.IsNone && nextBlock = blockCount then
            planRegion table.DataLengthBytes

        match region with
        | ValueSome handle ->
            region <- ValueNone
            want handle Wanted.Region
            true
        | ValueNone when nextBlock < blockCount ->
            planRun ()
            true
        | ValueNone when nextPartition < table.PartitionCount ->
            want (table.PartitionHandle nextPartition) Wanted.Partition
            true
        | ValueNone -> false

    /// Tells what was lost last. A file may have been cut off between two blocks.
    let endTable () =
        if endDamage.IsSome && not isEnded && pending.Count = 0 && not (isLast ()) then
            lose table.DataLengthBytes 0L "the file ends here, and more data blocks should follow"

        isEnded <- true
        settle ValueNone

    /// Bytes of the table's file.
    member _.SizeBytes: int64 = table.SizeBytes

    /// What was lost, once the source is exhausted.
    member _.Losses: Loss seq = losses

    /// A damaged end, and damaged partitions. These hold no entries: their data blocks were looked for without them, and are in `Losses` if they were not found.
    member _.Notes: Corruption seq = notes

    override _.MoveNext() : SourceState =
        if wanted.IsSome then
            invalidOp "the bytes that were asked for are missing"

        let mutable state = ValueNone

        while state.IsNone do
            if isOpen && cursor.MoveNext() then
                state <- ValueSome SourceState.Ready
            else
                isOpen <- false

                if regionNext < regionEnd then
                    walkRegion ()
                elif walkNext < nextBlock then
                    walkBlock ()
                elif planRead () then
                    state <- ValueSome SourceState.NeedsBlock
                else
                    endTable ()
                    state <- ValueSome SourceState.Exhausted

        state.Value

    override _.Current: Entry = cursor.Current

    override _.Wanted: BlockRead =
        match wanted with
        | ValueSome(struct (handle, _)) -> { Table = table; Handle = handle; Destination = stored }
        | ValueNone -> invalidOp "no block is wanted"

    /// Says that the wanted bytes are in their destination; of what the disk did not give, anything may stand there.
    override _.Supply() : Result<unit, Corruption> =
        match wanted with
        | ValueNone -> invalidOp "no block is wanted"
        | ValueSome(struct (_, Wanted.Partition)) -> openPartition ()
        | ValueSome(struct (handle, Wanted.Region)) ->
            regionOffset <- handle.OffsetBytes
            regionNext <- 0
            regionEnd <- handle.LengthBytes
        | ValueSome _ -> ()

        wanted <- ValueNone
        Ok()
