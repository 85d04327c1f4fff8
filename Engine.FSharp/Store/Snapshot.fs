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
type FrozenMemtable(memtable: Memtable, firstLog: FileNumber) =
    /// What it holds.
    member _.Memtable = memtable
    /// The first of the logs its entries are in; they end before the first log of the next newer memtable.
    member _.FirstLog = firstLog

/// What a commit leaves as it is. Snapshots share it, so that a commit makes a small object.
[<Sealed>]
type internal SnapshotShape(activeLog: FileNumber, frozen: FrozenMemtable[], version: Version, tables: Table[][]) =
    member _.ActiveLog = activeLog
    member _.Frozen = frozen
    member _.Version = version
    member _.Tables = tables

/// All that a reader needs: an immutable value.
[<Sealed>]
type Snapshot internal (active: Memtable, shape: SnapshotShape, flush: FlushState, lastSequence: SequenceNumber) =

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
        Snapshot(active, SnapshotShape(activeLog, frozen, version, tables), flush, lastSequence)

    member internal _.Shape: SnapshotShape = shape

    /// The memtable that takes writes.
    member _.Active = active

    /// The first of the logs that hold its entries.
    member _.ActiveLog = shape.ActiveLog

    /// Memtables waiting to be flushed, newest first.
    member _.Frozen = shape.Frozen

    /// The levels as the manifest knows them.
    member _.Version = shape.Version

    /// The levels as lookups use them.
    member _.Tables = shape.Tables

    /// What `flush_all` has declared dead.
    member _.Flush = flush

    /// The newest write that readers may see.
    member _.LastSequence = lastSequence

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
        Snapshot(active, before.Shape, flush, lastSequence)

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
