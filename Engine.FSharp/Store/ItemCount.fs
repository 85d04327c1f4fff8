namespace LsmFs.Engine

/// How many items a store has: not exactly, since only a scan could tell.
[<RequireQualifiedAccess>]
module ItemCount =

    /// What entries of a table are likely to be items: a tombstone is none, and hides one.
    let private ofTable (flushedThrough: uint64) (nowSeconds: uint32) (table: TableMeta) : int64 =
        let properties = table.Properties
        let isFlushed = properties.LargestSequence.Value <= flushedThrough

        let isExpired = properties.LatestExpirySeconds <> 0u && properties.LatestExpirySeconds <= nowSeconds

        if isFlushed || isExpired then
            0L
        else
            properties.EntryCount - 2L * properties.TombstoneCount

    /// An estimate from the manifest's counts at a Unix time: entries of tables without what is flushed, without tables that have expired whole, and without
    /// tombstones and what they hide; and every write that is in no table yet, be it of a key that was there or a deletion. So it is too high by
    /// what tables shadow (an eighth or so once compaction has settled), by expired values among living ones, and by overwrites and deletions in
    /// the memtables. O(tables).
    let estimate (snapshot: Snapshot) (nowSeconds: uint32) : int64 =
        let flush = snapshot.Flush

        if flush.IsDue nowSeconds then
            0L
        else
            let flushedThrough = flush.Through.Value
            let tables = snapshot.Version.Levels |> Array.concat
            let inTables = tables |> Array.sumBy (ofTable flushedThrough nowSeconds)

            let settled =
                (flushedThrough, tables)
                ||> Array.fold (fun largest table -> max largest table.Properties.LargestSequence.Value)

            let (SequenceNumber last) = snapshot.LastSequence
            max 0L inTables + int64 (last - settled)
