namespace LsmFs.Engine

// Invariants:
// 1. A snapshot never changes. Every transition returns another one; the host publishes it with one reference swap.
// 2. From newest to oldest: the active memtable, the frozen memtables in order, level 0 in order, level 1, and so on.
// 3. Every write-ahead log numbered `OldestLog snapshot` or larger holds nothing that is not in a memtable of the snapshot, and
//    everything in a memtable is in one of those logs.
// 4. `Tables` has for each table of `Version` its opened reader, at the same place.


open System.Collections.Generic

/// A memtable that takes no more writes and waits to become a table.
[<Sealed>]
type FrozenMemtable =
    /// What it holds.
    val Memtable: Memtable
    /// The first of the logs its entries are in; they end before the first log of the next newer memtable.
    val FirstLog: FileNumber

    new(memtable: Memtable, firstLog: FileNumber) = { Memtable = memtable; FirstLog = firstLog }

/// What a commit leaves as it is, unless there is a flush in it. Snapshots share it, so that all that a commit makes is a small object.
[<Sealed>]
type internal SnapshotShape
    (
        activeLog: FileNumber,
        frozen: FrozenMemtable[],
        version: Version,
        tables: Table[][],
        flush: FlushState,
        sequence: SequenceNumber
    ) =
    member _.ActiveLog = activeLog
    member _.Frozen = frozen
    member _.Version = version
    member _.Tables = tables
    member _.Flush = flush
    /// The newest write there was, for snapshots whose active memtable has no newer one: it may be empty, and does not have flushes.
    member _.Sequence = sequence

    /// What a group of writes leaves when it may have a flush in it.
    member shape.With(newFlush: FlushState, newSequence: SequenceNumber) : SnapshotShape =
        SnapshotShape(activeLog, frozen, version, tables, newFlush, newSequence)

/// All that a reader needs: an immutable value.
[<Sealed>]
type Snapshot =
    /// The memtable that takes writes.
    val Active: Memtable

    val internal Shape: SnapshotShape

    internal new(active: Memtable, shape: SnapshotShape) = { Active = active; Shape = shape }

    new
        (
            active: Memtable,
            activeLog: FileNumber,
            frozen: FrozenMemtable[],
            version: Version,
            tables: Table[][],
            flush: FlushState,
            lastSequence: SequenceNumber
        ) =
        Snapshot(active, SnapshotShape(activeLog, frozen, version, tables, flush, lastSequence))

    /// The first of the logs that hold its entries.
    member snapshot.ActiveLog = snapshot.Shape.ActiveLog

    /// Memtables waiting to be flushed, newest first.
    member snapshot.Frozen = snapshot.Shape.Frozen

    /// The levels as the manifest knows them.
    member snapshot.Version = snapshot.Shape.Version

    /// The levels as lookups use them.
    member snapshot.Tables = snapshot.Shape.Tables

    /// What `flush_all` has declared dead.
    member snapshot.Flush = snapshot.Shape.Flush

    /// The newest write that readers may see.
    member snapshot.LastSequence =
        let (SequenceNumber newest) = snapshot.Active.LastSequence
        let (SequenceNumber other) = snapshot.Shape.Sequence
        SequenceNumber(max newest other)

/// The levels of a snapshot to be.
[<NoEquality; NoComparison>]
type SnapshotLevels = { Version: Version; Tables: Table[][] }

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
        let (SequenceNumber newest) = active.LastSequence
        let flushBefore = before.Flush

        // Of the numbers inside: comparing the wrappers would box both.
        let hasNoFlush =
            lastSequence.Value = newest
            && flush.Through.Value = flushBefore.Through.Value
            && flush.PendingAtSeconds = flushBefore.PendingAtSeconds

        Snapshot(
            active,
            (if hasNoFlush then
                 before.Shape
             else
                 before.Shape.With(flush, lastSequence))
        )

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

    /// The levels after an edit whose new tables are opened as `opened`. This is the part of `flushed` and `compacted` that takes time, and
    /// commits do not make it stale: only another edit would. O(tables of the levels that the edit names).
    let levelsAfter (edit: VersionEdit) (opened: Table list) (before: Snapshot) : SnapshotLevels =
        let version = Version.apply edit before.Version

        let isTouched (level: int) = not (obj.ReferenceEquals(version.Levels[level], before.Version.Levels[level]))

        let numberOf (FileNumber number) = number
        let readers = Dictionary<uint64, Table>()

        for table in opened do
            readers[numberOf table.Number] <- table

        for level, _ in edit.Removed do
            for table in before.Tables[level] do
                readers[numberOf table.Number] <- table

        for level, _ in edit.Added do
            for table in before.Tables[level] do
                readers[numberOf table.Number] <- table

        {
            Version = version
            Tables =
                version.Levels
                |> Array.mapi (fun level tables ->
                    if isTouched level then
                        tables |> Array.map (fun table -> readers[numberOf table.Number])
                    else
                        before.Tables[level])
        }

    let private withLevels (levels: SnapshotLevels) (frozen: FrozenMemtable[]) (before: Snapshot) : Snapshot =
        Snapshot(
            before.Active,
            before.ActiveLog,
            frozen,
            levels.Version,
            levels.Tables,
            before.Flush,
            before.LastSequence
        )

    /// After the oldest frozen memtable became tables. O(frozen memtables), so that it can be tried again when a commit came first.
    let flushed (levels: SnapshotLevels) (before: Snapshot) : Snapshot =
        withLevels levels before.Frozen[.. before.Frozen.Length - 2] before

    /// After a compaction replaced tables. O(1).
    let compacted (levels: SnapshotLevels) (before: Snapshot) : Snapshot = withLevels levels before.Frozen before

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

    /// Whether entries of the snapshot lie in the memory of this memtable, be it another version of it. O(frozen memtables).
    let holdsMemtable (memtable: Memtable) (snapshot: Snapshot) : bool =
        memtable.SharesArena snapshot.Active
        || snapshot.Frozen |> Array.exists (fun frozen -> memtable.SharesArena frozen.Memtable)

    /// Whether the table is one of the snapshot's. O(tables).
    let holdsTable (table: FileNumber) (snapshot: Snapshot) : bool =
        let (FileNumber number) = table

        let isSought (held: Table) =
            let (FileNumber heldNumber) = held.Number
            heldNumber = number

        snapshot.Tables |> Array.exists (Array.exists isSought)
