namespace LsmFs.Engine

// Mutable, one owner. Invariants:
// 1. When `IsWhole`, the count is exact: every key of the snapshot is looked at once.
// 2. Otherwise the walks begin at places that are evenly spaced among all entries, run by run, and each goes on for as many entries:
//    so a part of the key space is looked at in proportion to the entries that lie there.

open System

/// How many items a snapshot has at a Unix time: not deleted, not expired, not flushed. A small store is counted item by item. Of a large one the
/// entries are known, each run by itself; which part of them are items, neither shadowed nor dead, is seen at samples of it.
///
/// It asks for blocks as a scan does, and never reads. The snapshot must be kept alive as long.
[<Sealed>]
type ItemCount(snapshot: Snapshot, nowSeconds: uint32, wholeEntryCountMax: int64, walkCount: int) =

    /// Entries that a walk goes on for.
    static let walkEntryCount = 128L

    /// Leaves of a memtable that are looked at. A memtable with more of them has some 25,000 keys at least.
    static let leafCountMax = 1024

    /// Bytes of tables that are read to be counted whole.
    static let wholeTableBytesMax = 16L <<< 20

    static let readLengthBytesMax = 64 * 1024

    let flush = snapshot.Flush

    // What is flushed to the last entry hides nothing but what is flushed, too. What has expired does hide.
    let memtables =
        Array.append [| snapshot.Active |] (snapshot.Frozen |> Array.map _.Memtable)
        |> Array.filter (fun memtable -> not (flush.Covers(memtable.LastSequence, nowSeconds)))

    let levels =
        snapshot.Tables
        |> Array.map (Array.filter (fun table -> not (flush.Covers(table.Properties.LargestSequence, nowSeconds))))

    let tables = Array.concat levels
    let keys = memtables |> Array.map (fun memtable -> MemtableKeys.look memtable leafCountMax)

    let entryCount = (keys |> Array.sumBy _.Count) + (tables |> Array.sumBy _.Properties.EntryCount)

    let isWhole =
        entryCount <= wholeEntryCountMax && tables |> Array.sumBy _.SizeBytes <= wholeTableBytesMax

    /// Where walks may begin: for each memtable and table its entries, how many places there are, and what key is at one.
    let places: struct (int64 * int * (int -> byte[]))[] = [|
        for sample in keys do
            struct (sample.Count, sample.Sample.Length, Array.get sample.Sample)

        for table in tables do
            struct (table.Properties.EntryCount, table.PartitionCount, table.PartitionStart)
    |]

    /// The place at which the walk with this number begins: of which run, and which of its places.
    let placeOf (walk: int) : struct (int * int) =
        let mutable position = int64 (float entryCount * (float walk + 0.5) / float walkCount)

        let mutable run = 0
        let mutable struct (entries, count, _) = places[0]

        while position >= entries && run < places.Length - 1 do
            position <- position - entries
            run <- run + 1
            let struct (nextEntries, nextCount, _) = places[run]
            entries <- nextEntries
            count <- nextCount

        struct (run, min (count - 1) (int (float position * float count / float entries)))

    /// Walks that would begin at the same place are one that is longer.
    let walks: (KeyBounds * int64)[] =
        if entryCount = 0L then
            [||]
        elif isWhole then
            [| KeyBounds.all, Int64.MaxValue |]
        else
            Array.init walkCount placeOf
            |> Array.countBy id
            |> Array.map (fun (struct (run, place), count) ->
                let struct (_, _, keyAt) = places[run]
                KeyBounds.between (keyAt place) [||], int64 count * walkEntryCount)

    let mergeFrom (bounds: KeyBounds) : Merge =
        let run (tables: Table[]) : EntrySource = TableRunSource(tables, bounds, readLengthBytesMax)

        Merge [|
            for memtable in memtables do
                MemtableSource(memtable, bounds) :> EntrySource

            for table in levels[0] do
                run [| table |]

            for level in Array.skip 1 levels do
                if level.Length > 0 then
                    run level
        |]

    let isItem (entry: Entry) : bool =
        entry.Kind = EntryKind.Value
        && not (entry.IsExpired nowSeconds)
        && not (flush.Covers(entry.Sequence, nowSeconds))

    let mutable merge: Merge = Unchecked.defaultof<Merge>
    let mutable isWalking = false
    let mutable nextWalk = 0
    // Of the walk: keys so far. Of all walks: entries of those that ended, and items.
    let mutable keyCount = 0L
    let mutable seenCount = 0L
    let mutable itemCount = 0L

    let endWalk () =
        seenCount <- seenCount + keyCount + merge.ShadowedCount
        isWalking <- false

    /// For a store of any size: 2^18 entries in 16 MiB of tables are counted whole, more by 128 walks.
    new(snapshot: Snapshot, nowSeconds: uint32) = ItemCount(snapshot, nowSeconds, 1L <<< 18, 128)

    /// Goes on until a block is needed (`NeedsBlock`) or all is counted (`Exhausted`).
    member _.Advance() : SourceState =
        let mutable state = SourceState.Ready

        while state = SourceState.Ready do
            if isWalking then
                match merge.MoveNext() with
                | SourceState.NeedsBlock -> state <- SourceState.NeedsBlock
                | SourceState.Ready when keyCount + merge.ShadowedCount < snd walks[nextWalk - 1] ->
                    keyCount <- keyCount + 1L
                    itemCount <- itemCount + (if isItem merge.Current then 1L else 0L)
                // At the end, or at the first key that is no longer part of the walk: what those before it shadow is counted.
                | _ -> endWalk ()
            elif nextWalk < walks.Length then
                merge <- mergeFrom (fst walks[nextWalk])
                nextWalk <- nextWalk + 1
                keyCount <- 0L
                isWalking <- true
            else
                state <- SourceState.Exhausted

        state

    /// The read that `NeedsBlock` asked for.
    member _.Wanted: BlockRead = merge.Wanted

    /// Says that the wanted bytes are in their destination. After an error the count is of no use.
    member _.Supply() : Result<unit, Corruption> = merge.Supply()

    /// The number of items, once `Advance` answered `Exhausted`.
    member _.Result: int64 =
        if isWhole then
            itemCount
        elif seenCount = 0L then
            0L
        else
            int64 (Math.Round(float entryCount * float itemCount / float seenCount))

    /// Whether the result is exact, not projected from samples.
    member _.IsWhole: bool = isWhole

    /// Whether no block will be needed, and counting takes milliseconds at most.
    member _.IsQuick: bool = isWhole && tables.Length = 0 && entryCount <= (1L <<< 15)

    /// More items than this there are not, as is known without a look at any table. O(tables).
    member _.AtMost: int64 = entryCount - (tables |> Array.sumBy _.Properties.TombstoneCount)
