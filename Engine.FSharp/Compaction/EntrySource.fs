namespace LsmFs.Engine

open System

/// What a source answers when it is moved on.
type SourceState =
    /// `Current` is the next entry.
    | Ready = 0
    /// Bytes are missing: `Wanted` says which; after `Supply` move on again.
    | NeedsBlock = 1
    /// There are no more entries.
    | Exhausted = 2

/// A read that the engine asks for: all of `Handle`, from the file of `Table`, to the start of `Destination`.
[<Struct; NoEquality; NoComparison>]
type BlockRead = {
    Table: Table
    /// One block, or several that follow each other.
    Handle: BlockHandle
    Destination: byte[]
}

/// Entries in ascending order of their keys, one for each key, from anywhere: a cursor with one owner that never waits and never reads.
[<AbstractClass>]
type EntrySource() =
    /// To the next entry. What `Current` was before is no longer valid.
    abstract MoveNext: unit -> SourceState

    /// The entry the source stands on.
    abstract Current: Entry

    /// The read that `NeedsBlock` asked for.
    abstract Wanted: BlockRead
    default _.Wanted: BlockRead = invalidOp "this source needs no block"

    /// Says that the wanted bytes are in their destination; they are verified here, before anything of them is believed.
    abstract Supply: unit -> Result<unit, Corruption>
    default _.Supply() : Result<unit, Corruption> = invalidOp "this source needs no block"

/// Part of the key space.
[<Struct; NoEquality; NoComparison>]
type KeyBounds = {
    /// The first key; none: from the smallest.
    From: byte[] voption
    /// The first key that is no longer part of it; none: to the largest.
    Until: byte[] voption
}

/// Parts of the key space with a name.
[<RequireQualifiedAccess>]
module KeyBounds =

    /// Every key.
    let all: KeyBounds = { From = ValueNone; Until = ValueNone }

    /// From `from` up to `until`, which is left out. An empty array is no bound: no key is empty.
    let between (from: byte[]) (until: byte[]) : KeyBounds =
        let bound (key: byte[]) = if key.Length = 0 then ValueNone else ValueSome key
        { From = bound from; Until = bound until }

    /// The keys that begin with `prefix`: up to the first key behind all of them, which there is unless the prefix is all 255. O(prefix).
    let ofPrefix (prefix: byte[]) : KeyBounds =
        match prefix |> Array.tryFindIndexBack ((<>) 255uy) with
        | Some last ->
            let until = Array.sub prefix 0 (last + 1)
            until[last] <- until[last] + 1uy
            between prefix until
        | None -> between prefix [||]

/// One sorted run: tables whose key ranges do not overlap, in ascending order (`InvalidOperationException` otherwise). It asks for a partition,
/// and then for as many of its data blocks at once as follow each other within `readLengthBytesMax`, one at least; it keeps one buffer for what is read.
/// When `bounds` has a first key it may be left after a few entries: it begins with one block, and each read may be twice as long as the one before.
[<Sealed>]
type TableRunSource(tables: Table[], bounds: KeyBounds, readLengthBytesMax: int, memory: JobMemory) =
    inherit EntrySource()

    do
        for table in 1 .. tables.Length - 1 do
            let previous = ReadOnlySpan<byte> tables[table - 1].Properties.LargestKey

            if previous.SequenceCompareTo tables[table].Properties.SmallestKey >= 0 then
                invalidOp $"the tables %O{tables[table - 1].Number} and %O{tables[table].Number} overlap in one run"

    /// What the second read of a walk from a key may be twice as long as: a block as they are built.
    let firstReadLengthBytes = 4096

    let isBeyond (key: ReadOnlySpan<byte>) =
        match bounds.Until with
        | ValueSome until -> key.SequenceCompareTo until >= 0
        | ValueNone -> false

    let firstTable =
        match bounds.From with
        | ValueNone -> 0
        | ValueSome from ->
            tables
            |> Array.tryFindIndex (fun table ->
                ReadOnlySpan<byte>(table.Properties.LargestKey).SequenceCompareTo from >= 0)
            |> Option.defaultValue tables.Length

    let decoder = BlockDecoder()
    let cursor = BlockCursor()
    let partitionBytes = memory.Take(JobBuffer.Partition, 16)
    let decompressed = memory.Take(JobBuffer.Decompressed, 16)
    let storedBytes = memory.Take(JobBuffer.Stored, 16)
    let mutable stored = storedBytes.Bytes
    let mutable table = firstTable

    // The partition to be read next, or, when `isPartitionOpen`, the one whose content is `content`, in `partitionBytes`.
    let mutable partition =
        match bounds.From with
        | ValueSome from when firstTable < tables.Length -> tables[firstTable].FirstPartitionAtOrAfter from
        | _ -> 0

    let mutable isPartitionOpen = false
    let mutable content = BlockContent.empty

    // Of the open partition: the blocks that were read last are `runFirst` to `nextBlock - 1`; those before `walkNext` were handed to the cursor.
    let mutable runFirst = 0
    let mutable nextBlock = 0
    let mutable lastBlock = -1
    let mutable walkNext = 0
    // Where the opened blocks of the run lie: in `stored`, or, when decompressed, in `decompressed`.
    let mutable opened: struct (bool * int * int)[] = Array.zeroCreate 64
    let mutable wanted: BlockHandle voption = ValueNone
    let mutable readLengthBytes = if bounds.From.IsSome then 0 else readLengthBytesMax
    let mutable isEnded = false
    let mutable isAtStart = true

    let want (handle: BlockHandle) =
        if handle.LengthBytes > stored.Length then
            let soon = min (int64 readLengthBytes) (tables |> Array.sumBy _.SizeBytes)
            storedBytes.Clear()
            storedBytes.Skip(max handle.LengthBytes (int soon))
            stored <- storedBytes.Bytes

        wanted <- ValueSome handle

    /// Whether a partition, or all that follow, can only hold keys beyond the bounds.
    let isPartitionBeyond () =
        (partition = 0 && isBeyond (ReadOnlySpan<byte> tables[table].Properties.SmallestKey))
        || (match bounds.Until with
            | ValueSome until -> partition > tables[table].FirstPartitionAtOrAfter until
            | ValueNone -> false)

    let planRun () =
        let struct (handle, next) = Partition.run content nextBlock (lastBlock + 1) readLengthBytes
        runFirst <- nextBlock
        walkNext <- nextBlock
        nextBlock <- next
        want handle
        // A large block of its own must not make the next read long.
        readLengthBytes <- min readLengthBytesMax (2 * max firstReadLengthBytes readLengthBytes)

    /// Decides what to read next; false at the end of the run.
    let rec planRead () : bool =
        if table = tables.Length then
            false
        elif isPartitionOpen && nextBlock <= lastBlock then
            planRun ()
            true
        elif isPartitionOpen && lastBlock < Partition.blockCount content - 1 then
            false
        elif isPartitionOpen then
            isPartitionOpen <- false
            partition <- partition + 1
            planRead ()
        elif partition = tables[table].PartitionCount then
            table <- table + 1
            partition <- 0
            planRead ()
        elif isPartitionBeyond () then
            false
        else
            want (tables[table].PartitionHandle partition)
            true

    let openPartition () : Result<unit, Corruption> =
        match tables[table].OpenPartition(decoder, partition, stored, 0) with
        | Error corruption -> Error corruption
        | Ok opened ->
            content <- BlockContent.copyTo partitionBytes opened
            isPartitionOpen <- true
            lastBlock <- Partition.blockCount content - 1

            match bounds.Until with
            | ValueSome until -> lastBlock <- min lastBlock (Partition.find content until)
            | ValueNone -> ()

            match bounds.From with
            | ValueSome from when isAtStart -> nextBlock <- Partition.find content from
            | _ -> nextBlock <- 0

            runFirst <- nextBlock
            walkNext <- nextBlock
            Ok()

    let rec openRun (block: int) (offset: int) : Result<unit, Corruption> =
        if block = nextBlock then
            Ok()
        else
            let handle = Partition.handle content block

            match tables[table].OpenData(decoder, handle, stored, offset) with
            | Error corruption -> Error corruption
            | Ok data ->
                match tables[table].CheckPlace(partition, content, block, data) with
                | Error corruption -> Error corruption
                | Ok() ->
                    if block - runFirst = opened.Length then
                        Array.Resize(&opened, opened.Length * 2)

                    if obj.ReferenceEquals(data.Bytes, stored) then
                        opened[block - runFirst] <- struct (true, data.Start, data.Length)
                    else
                        opened[block - runFirst] <- struct (false, decompressed.Length, data.Length)
                        decompressed.Append(ReadOnlySpan<byte>(data.Bytes, data.Start, data.Length))

                    openRun (block + 1) (offset + handle.LengthBytes)

    let walkToNextBlock () =
        let struct (isStored, start, length) = opened[walkNext - runFirst]
        cursor.Open((if isStored then stored else decompressed.Bytes), start, length)
        walkNext <- walkNext + 1

        if isAtStart then
            isAtStart <- false

            match bounds.From with
            | ValueSome from -> cursor.Seek from
            | ValueNone -> ()

    /// A source with memory of its own.
    new(tables: Table[], bounds: KeyBounds, readLengthBytesMax: int) =
        TableRunSource(tables, bounds, readLengthBytesMax, JobMemory())

    override _.MoveNext() : SourceState =
        let mutable isSettled = false
        let mutable state = SourceState.Exhausted

        while not isSettled do
            if wanted.IsSome then
                state <- SourceState.NeedsBlock
                isSettled <- true
            elif isEnded then
                isSettled <- true
            elif cursor.MoveNext() then
                let entry = cursor.Current

                if bounds.Until.IsSome && isBeyond entry.Key then
                    isEnded <- true
                else
                    state <- SourceState.Ready
                    isSettled <- true
            elif walkNext < nextBlock then
                walkToNextBlock ()
            else
                isEnded <- not (planRead ())

        state

    override _.Current: Entry = cursor.Current

    override _.Wanted: BlockRead =
        match wanted with
        | ValueSome handle -> { Table = tables[table]; Handle = handle; Destination = stored }
        | ValueNone -> invalidOp "no block is wanted"

    override _.Supply() : Result<unit, Corruption> =
        if wanted.IsNone then
            invalidOp "no block is wanted"

        let opening =
            if isPartitionOpen then
                decompressed.Clear()
                openRun runFirst 0
            else
                openPartition ()

        match opening with
        | Ok() ->
            wanted <- ValueNone
            Ok()
        | Error corruption -> Error corruption
