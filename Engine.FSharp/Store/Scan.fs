namespace LsmFs.Engine

/// The live items of a snapshot whose keys are within bounds, in ascending order of their keys: not deleted, not expired at `nowSeconds` (Unix time),
/// not flushed. Asks for blocks as a source of a merge does, only for those that may hold such a key, and never reads; it holds one buffer of about
/// `readLengthBytesMax` for each sorted run. One owner; the snapshot must be kept alive as long.
[<Sealed>]
type Scan(snapshot: Snapshot, nowSeconds: uint32, bounds: KeyBounds, readLengthBytesMax: int) =
    let run (tables: Table[]) : EntrySource = TableRunSource(tables, bounds, readLengthBytesMax)

    let sources: EntrySource[] = [|
        MemtableSource(snapshot.Active, bounds)

        for frozen in snapshot.Frozen do
            MemtableSource(frozen.Memtable, bounds)

        for table in snapshot.Tables[0] do
            run [| table |]

        for level in Array.skip 1 snapshot.Tables do
            if level.Length > 0 then
                run level
    |]

    let merge = Merge sources
    let flush = snapshot.Flush

    let isLive (entry: Entry) : bool =
        entry.Kind = EntryKind.Value
        && not (entry.IsExpired nowSeconds)
        && not (flush.Covers(entry.Sequence, nowSeconds))

    /// To the next live item. What `Current` was before is no longer valid.
    member _.MoveNext() : SourceState =
        let mutable state = merge.MoveNext()

        while state = SourceState.Ready && not (isLive merge.Current) do
            state <- merge.MoveNext()

        state

    /// The item that `MoveNext` came to.
    member _.Current: Entry = merge.Current

    /// The read that `NeedsBlock` asked for.
    member _.Wanted: BlockRead = merge.Wanted

    /// Says that the wanted bytes are in their destination. After an error the scan is of no use.
    member _.Supply() : Result<unit, Corruption> = merge.Supply()
