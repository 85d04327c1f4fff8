namespace LsmFs.Engine

// Leveled compaction, sized from the bottom. Level 0 is due by its number of tables, because every lookup may have to ask each of them. A deeper
// level is due by its size: each may hold a fraction of the one below it, so that what is old and hidden stays a fraction of the store, whatever
// the store's size (RocksDB's level_compaction_dynamic_level_bytes). From a deeper level one table moves at a time: the one that drags the least
// of the next level along, for each byte that it moves or will remove. docs/ARCHITECTURE.md has the numbers that this was chosen by.

/// All that a plan depends on, but for the options.
type PickingInput = {
    Version: Version
    /// What is flushed. A flush that waits for its time counts once a write or the background has turned it into a watermark.
    Flush: FlushState
    /// The Unix time in seconds.
    NowSeconds: uint32
    /// The plans that are being carried out.
    Running: CompactionPlan list
    /// Tables that cannot be read.
    Quarantined: FileNumber list
}

/// Inputs of `Picking.pick`.
[<RequireQualifiedAccess>]
module PickingInput =

    /// A version at a time, with nothing flushed, running or set aside.
    let ofVersion (nowSeconds: uint32) (version: Version) : PickingInput = {
        Version = version
        Flush = FlushState.none
        NowSeconds = nowSeconds
        Running = []
        Quarantined = []
    }

/// Deciding what to compact.
[<RequireQualifiedAccess>]
module Picking =

    /// The deepest level that has tables; 1 at least. All the store's data is there, but for what was written since.
    let bottomLevel (version: Version) : int =
        version.Levels |> Array.tryFindIndexBack (Array.isEmpty >> not) |> Option.defaultValue 1 |> max 1

    let private power (options: Options) (exponent: int) : float = float options.LevelSizeMultiplier ** float exponent

    /// The size in bytes at which a level below level 0 is due. The bottom level is due when there is room for another level above it.
    let levelTargetBytes (options: Options) (version: Version) (level: int) : float =
        let bottom = bottomLevel version

        if level >= bottom then
            float options.LevelOneSizeBytes * power options (level - 1)
        else
            // A level that may hold next to nothing would only pass on what comes, in pieces too small.
            let least = float options.LevelOneSizeBytes / float options.LevelSizeMultiplier
            max least (float (Version.levelSizeBytes version bottom) / power options (bottom - level))

    /// How due a level is: 1 and more means it should be compacted. The deepest level there can be has nowhere to go.
    let score (options: Options) (version: Version) (level: int) : float =
        if level = 0 then
            float version.Levels[0].Length / float options.LevelZeroTableCountTrigger
        elif level >= options.LevelCount - 1 then
            0.0
        else
            float (Version.levelSizeBytes version level) / levelTargetBytes options version level

    /// The tables of a level below level 0 that overlap the whole range of `tables`, in key order. O(tables + log of the level's tables + result).
    let private overlapping (version: Version) (level: int) (tables: TableMeta[]) : TableMeta[] =
        let struct (smallest, largest) = CompactionPlan.hull tables
        let candidates = version.Levels[level]

        /// The first table, of those from `low` to before `high`, for which `isBefore` no longer holds.
        let rec boundary (isBefore: TableMeta -> bool) (low: int) (high: int) : int =
            if low = high then
                low
            else
                let middle = (low + high) >>> 1

                if isBefore candidates[middle] then
                    boundary isBefore (middle + 1) high
                else
                    boundary isBefore low middle

        let first =
            boundary (fun table -> Version.compareKeys table.Properties.LargestKey smallest < 0) 0 candidates.Length

        let next =
            boundary
                (fun table -> Version.compareKeys table.Properties.SmallestKey largest <= 0)
                first
                candidates.Length

        Array.sub candidates first (next - first)

    /// Whether tables do not overlap each other.
    let private areDisjoint (tables: TableMeta[]) : bool =
        tables
        |> Array.sortWith (fun left right ->
            Version.compareKeys left.Properties.SmallestKey right.Properties.SmallestKey)
        |> Array.pairwise
        |> Array.forall (fun (left, right) -> not (Version.overlaps left right))

    /// Tables of a level with those of the next level that they overlap. They change their level as they are when they overlap nothing below, and not
    /// each other.
    let private planOf (version: Version) (reason: CompactionReason) (level: int) (tables: TableMeta[]) =
        let next = overlapping version (level + 1) tables

        {
            Reason = reason
            Kind =
                if next.Length = 0 && areDisjoint tables then
                    CompactionKind.Move
                else
                    CompactionKind.Merge
            Inputs =
                Array.append
                    (tables |> Array.map (fun table -> level, table))
                    (next |> Array.map (fun table -> level + 1, table))
            OutputLevel = level + 1
        }

    /// Bytes of an average entry of the store.
    let private entryBytes (version: Version) : float =
        let mutable bytes = 0L
        let mutable entries = 0L

        for _, table in Version.tables version do
            bytes <- bytes + table.SizeBytes
            entries <- entries + table.Properties.EntryCount

        float bytes / float (max 1L entries)

    /// What is rewritten for each byte that leaves the level, where a tombstone counts as the value it will remove: where much was deleted,
    /// compaction comes first.
    let private costOf (tombstoneBytes: float) (plan: CompactionPlan) : float =
        let mutable moved = 0.0
        let mutable dragged = 0.0

        for level, table in plan.Inputs do
            if level = plan.OutputLevel then
                dragged <- dragged + float table.SizeBytes
            else
                moved <- moved + float table.SizeBytes + tombstoneBytes * float table.Properties.TombstoneCount

        dragged / max 1.0 moved

    /// The oldest tables of level 0, newest first. Not all of a backlog, so that the length of a job is bounded; what stays is newer.
    let private oldestOfLevelZero (options: Options) (version: Version) : TableMeta[] =
        let countMax = max options.LevelZeroTableCountTrigger (options.LevelZeroTableCountMax / 2)
        let tables = version.Levels[0]
        Array.skip (max 0 (tables.Length - countMax)) tables

    /// The compaction that is most due, or `None` when none is. O(tables · log tables).
    let pick (options: Options) (input: PickingInput) : CompactionPlan option =
        let version = input.Version
        let bottom = bottomLevel version

        let level =
            if score options version bottom >= 1.0 then
                // Costs nothing, and makes room for everything else.
                bottom
            elif version.Levels[0].Length * 2 >= options.LevelZeroTableCountMax && score options version 0 >= 1.0 then
                // Half way to where writes have to wait.
                0
            else
                seq { 0 .. bottom - 1 } |> Seq.maxBy (score options version)

        if score options version level < 1.0 then
            None
        elif level = 0 then
            Some(planOf version CompactionReason.LevelZeroFull 0 (oldestOfLevelZero options version))
        elif level = bottom then
            Some(planOf version CompactionReason.BottomFull bottom version.Levels[bottom])
        else
            let tombstoneBytes = entryBytes version

            version.Levels[level]
            |> Array.map (fun table -> planOf version CompactionReason.LevelOverTarget level [| table |])
            |> Array.minBy (costOf tombstoneBytes)
            |> Some
