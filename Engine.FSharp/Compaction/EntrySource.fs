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

/// One sorted run: tables whose key ranges do not overlap, in ascending order (`InvalidOperationException` otherwise). It asks for as many
/// blocks at once as follow each other within `readLengthBytesMax`, one at least, and keeps one buffer for them.
[<Sealed>]
type TableRunSource(tables: Table[], bounds: KeyBounds, readLengthBytesMax: int) =
    inherit EntrySource()

    do
        for table in 1 .. tables.Length - 1 do
            let previous = ReadOnlySpan<byte> tables[table - 1].Properties.LargestKey

            if previous.SequenceCompareTo tables[table].Properties.SmallestKey >= 0 then
                invalidOp $"the tables %O{tables[table - 1].Number} and %O{tables[table].Number} overlap in one run"

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

    let cursor = BlockCursor()
    let mutable buffer = Array.Empty<byte>()
    let mutable table = firstTable

    // The blocks in the buffer are `runFirst` to `nextBlock - 1`; those before `walkNext` were handed to the cursor.
    let mutable nextBlock =
        match bounds.From with
        | ValueSome from when firstTable < tables.Length -> tables[firstTable].FirstBlockAtOrAfter from
        | _ -> 0

    let mutable runFirst = 0
    let mutable walkNext = nextBlock
    let mutable walkOffset = 0
    let mutable runLength = 0
    let mutable isWaiting = false
    let mutable isEnded = false
    let mutable isAtStart = true

    /// The last block of the current table that can hold a key within the bounds.
    let lastBlock () =
        let last = tables[table].BlockCount - 1

        match bounds.Until with
        | ValueSome until -> min last (tables[table].FirstBlockAtOrAfter until)
        | ValueNone -> last

    /// Decides what to read next; false at the end of the run.
    let planRead () : bool =
        if table < tables.Length && nextBlock = tables[table].BlockCount then
            table <- table + 1
            nextBlock <- 0

        if table = tables.Length || nextBlock > lastBlock () then
            false
        elif nextBlock = 0 && isBeyond (ReadOnlySpan<byte> tables[table].Properties.SmallestKey) then
            false
        else
            let last = lastBlock ()
            runFirst <- nextBlock
            walkNext <- nextBlock
            walkOffset <- 0
            runLength <- tables[table].BlockHandle(nextBlock).LengthBytes
            nextBlock <- nextBlock + 1

            while nextBlock <= last
                  && tables[table].BlockHandle(nextBlock).LengthBytes <= readLengthBytesMax - runLength do
                runLength <- runLength + tables[table].BlockHandle(nextBlock).LengthBytes
                nextBlock <- nextBlock + 1

            if runLength > buffer.Length then
                let isMoreToCome = nextBlock <= last || table < tables.Length - 1

                let length =
                    if isMoreToCome then
                        max runLength readLengthBytesMax
                    else
                        runLength

                buffer <- GC.AllocateUninitializedArray<byte> length

            true

    let openNextBlock () =
        let length = tables[table].BlockHandle(walkNext).LengthBytes
        cursor.Open(buffer, walkOffset, length)
        walkNext <- walkNext + 1
        walkOffset <- walkOffset + length

        if isAtStart then
            isAtStart <- false

            match bounds.From with
            | ValueSome from -> cursor.Seek from
            | ValueNone -> ()

    let rec verify (block: int) (offset: int) : Result<unit, Corruption> =
        if block = nextBlock then
            Ok()
        else
            match tables[table].VerifyBlock(block, buffer, offset) with
            | Ok() -> verify (block + 1) (offset + tables[table].BlockHandle(block).LengthBytes)
            | Error corruption -> Error corruption

    override _.MoveNext() : SourceState =
        let mutable isSettled = false
        let mutable state = SourceState.Exhausted

        while not isSettled do
            if isWaiting then
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
                openNextBlock ()
            elif planRead () then
                isWaiting <- true
            else
                isEnded <- true

        state

    override _.Current: Entry = cursor.Current

    override _.Wanted: BlockRead =
        if not isWaiting then
            invalidOp "no block is wanted"

        {
            Table = tables[table]
            Handle = {
                OffsetBytes = tables[table].BlockHandle(runFirst).OffsetBytes
                LengthBytes = runLength
            }
            Destination = buffer
        }

    override _.Supply() : Result<unit, Corruption> =
        if not isWaiting then
            invalidOp "no block is wanted"

        match verify runFirst 0 with
        | Ok() ->
            isWaiting <- false
            Ok()
        | Error corruption -> Error corruption
