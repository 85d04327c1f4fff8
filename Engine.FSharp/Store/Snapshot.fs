namespace LsmFs.Engine

// Invariants:
// 1. A snapshot never changes. Every transition returns another one; the host publishes it with one reference swap.
// 2. From newest to oldest: the active memtable, the frozen memtables in order, level 0 in order, level 1, and so on.
// 3. Every write-ahead log numbered `OldestLog snapshot` or larger holds nothing that is not in a memtable of the snapshot, and
//    everything in a memtable is in one of those logs.
// 4. `Tables` has for each table of `Version` its opened reader, at the same place.

/// A memtable that takes no more writes and waits to become a table.
[<Sealed>]
type FrozenMemtable(memtable: Memtable, firstLog: FileNumber) =
    /// What it holds.
    member _.Memtable = memtable
    /// The first of the logs its entries are in; they end before the first log of the next newer memtable.
    member _.FirstLog = firstLog

/// All that a reader needs: an immutable value.
[<Sealed>]
type Snapshot
    (
        active: Memtable,
        activeLog: FileNumber,
        frozen: FrozenMemtable[],
        version: Version,
        tables: Table[][],
        flush: FlushState,
        lastSequence: SequenceNumber
    ) =

    /// The memtable that takes writes.
    member _.Active = active

    /// The first of the logs that hold its entries.
    member _.ActiveLog = activeLog

    /// Memtables waiting to be flushed, newest first.
    member _.Frozen = frozen

    /// The levels as the manifest knows them.
    member _.Version = version

    /// The levels as lookups use them.
    member _.Tables = tables

    /// What `flush_all` has declared dead.
    member _.Flush = flush

    /// The newest write that readers may see.
    member _.LastSequence = lastSequence

/// The transitions from one snapshot to the next.
[<RequireQualifiedAccess>]
module Snapshot =

    let private openTables (version: Version) (readerOf: FileNumber -> Table) : Table[][] =
        version.Levels |> Array.map (Array.map (fun table -> readerOf table.Number))

    /// The snapshot of a store that was just recovered; frozen memtables newest first.
    let recovered
        (active: Memtable)
        (activeLog: FileNumber)
        (frozen: FrozenMemtable[])
        (version: Version)
        (readerOf: FileNumber -> Table)
        (flush: FlushState)
        (lastSequence: SequenceNumber)
        : Snapshot =
        Snapshot(active, activeLog, frozen, version, openTables version readerOf, flush, lastSequence)

    /// After a group of writes.
    let committed (active: Memtable) (flush: FlushState) (lastSequence: SequenceNumber) (before: Snapshot) : Snapshot =
        Snapshot(active, before.ActiveLog, before.Frozen, before.Version, before.Tables, flush, lastSequence)

    /// After the active memtable was frozen: `active` is the empty one in its place, and `activeLog` the log that its entries will be in.
    let frozen (active: Memtable) (activeLog: FileNumber) (before: Snapshot) : Snapshot =
        let waiting = FrozenMemtable(before.Active, before.ActiveLog)

        Snapshot(
            active,
            activeLog,
            Array.append [| waiting |] before.Frozen,
            before.Version,
            before.Tables,
            before.Flush,
            before.LastSequence
        )

    let private withVersion
        (edit: VersionEdit)
        (opened: Table list)
        (frozen: FrozenMemtable[])
        (before: Snapshot)
        : Snapshot =
        let version = Version.apply edit before.Version

        let readers =
            Seq.append (Seq.concat before.Tables) opened
            |> Seq.map (fun table -> table.Number, table)
            |> Map.ofSeq

        Snapshot(
            before.Active,
            before.ActiveLog,
            frozen,
            version,
            openTables version (fun number -> readers[number]),
            before.Flush,
            before.LastSequence
        )

    /// After the oldest frozen memtable became the tables of `edit`, opened as `opened`.
    let flushed (edit: VersionEdit) (opened: Table list) (before: Snapshot) : Snapshot =
        withVersion edit opened before.Frozen[.. before.Frozen.Length - 2] before

    /// After a compaction replaced tables as `edit` says; `opened` are the new ones.
    let compacted (edit: VersionEdit) (opened: Table list) (before: Snapshot) : Snapshot =
        withVersion edit opened before.Frozen before

    /// The first log that recovery would need: older ones hold nothing that is not in tables.
    let oldestLog (snapshot: Snapshot) : FileNumber =
        if snapshot.Frozen.Length = 0 then
            snapshot.ActiveLog
        else
            snapshot.Frozen[snapshot.Frozen.Length - 1].FirstLog

    /// `oldestLog` once the oldest frozen memtable is in tables.
    let oldestLogAfterFlush (snapshot: Snapshot) : FileNumber =
        match snapshot.Frozen.Length with
        | 0
        | 1 -> snapshot.ActiveLog
        | count -> snapshot.Frozen[count - 2].FirstLog
