namespace LsmFs.Engine

/// Why writes must wait, or go on.
type WritePressure =
    | None = 0
    /// Frozen memtables wait to be flushed.
    | Memtables = 1
    /// Level 0 waits to be compacted.
    | LevelZero = 2

/// What has to be done next, decided from a snapshot alone.
[<RequireQualifiedAccess>]
module Work =

    /// Whether the active memtable is full.
    let shouldFreeze (options: Options) (active: Memtable) : bool = active.SizeBytes >= options.MemtableSizeBytes

    /// Whether writes must wait for background work, so that memory and level 0 stay bounded.
    let pressure (options: Options) (snapshot: Snapshot) : WritePressure =
        if snapshot.Frozen.Length >= options.FrozenMemtableCountMax && shouldFreeze options snapshot.Active then
            WritePressure.Memtables
        elif snapshot.Version.Levels[0].Length >= options.LevelZeroTableCountMax then
            WritePressure.LevelZero
        else
            WritePressure.None

    /// The memtable to flush next: the oldest, so that level 0 stays in order. Null when there is none.
    let flushNext (snapshot: Snapshot) : FrozenMemtable =
        if snapshot.Frozen.Length = 0 then null else snapshot.Frozen[snapshot.Frozen.Length - 1]

    /// The edit that puts the tables made of the oldest frozen memtable in level 0.
    let flushEdit (snapshot: Snapshot) (outputs: TableMeta list) : VersionEdit = {
        VersionEdit.empty with
            OldestLog = ValueSome(Snapshot.oldestLogAfterFlush snapshot)
            LastSequence = ValueSome snapshot.LastSequence
            Flush = ValueSome snapshot.Flush
            Added = outputs |> List.map (fun table -> 0, table)
    }
