namespace LsmFs.Engine

open System.Collections.Generic

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

/// Sets of tables, by number.
[<RequireQualifiedAccess>]
module internal TableSet =

    // Of numbers, because the wrapper's own comparison boxes.
    let ofNumbers (files: FileNumber seq) : HashSet<uint64> =
        HashSet(files |> Seq.map (fun (FileNumber number) -> number))

    let contains (numbers: HashSet<uint64>) (table: TableMeta) : bool =
        let (FileNumber number) = table.Number
        numbers.Contains number

/// How full the levels are, and what of them can move.
[<RequireQualifiedAccess>]
module LevelScore =

    /// The deepest level that has tables; 1 at least. All the store's data is there, but for what was written since.
    let bottomLevel (version: Version) : int =
        version.Levels |> Array.tryFindIndexBack (Array.isEmpty >> not) |> Option.defaultValue 1 |> max 1

    let private power (options: Options) (exponent: int) : float = float options.LevelSizeMultiplier ** float exponent

    /// A level that may hold next to nothing would only pass on what comes, in pieces too small.
    let private levelLeastBytes (options: Options) : float =
        float options.LevelOneSizeBytes / float options.LevelSizeMultiplier

    /// The size in bytes at which a level below level 0 is due. The bottom level is due when there is room for another level above it.
    let levelTargetBytes (options: Options) (version: Version) (level: int) : float =
        let bottom = bottomLevel version

        if level >= bottom then
            float options.LevelOneSizeBytes * power options (level - 1)
        else
            max
                (levelLeastBytes options)
                (float (Version.levelSizeBytes version bottom) / power options (bottom - level))

    /// The tables of level 0 that can go down, newest first: all of them, unless some table cannot be read.
    let internal movableLevelZero (version: Version) (quarantined: HashSet<uint64>) : TableMeta[] =
        if quarantined.Count = 0 then
            version.Levels[0]
        else
            let barred = version.Levels[1] |> Array.filter (TableSet.contains quarantined)

            /// Whether the tables as one run, in level 1, would overlap one there that cannot be merged with them.
            let areBarred (tables: TableMeta list) =
                let struct (smallest, largest) = Version.hull (Array.ofList tables)

                barred
                |> Array.exists (fun table ->
                    Version.compareKeys table.Properties.SmallestKey largest <= 0
                    && Version.compareKeys smallest table.Properties.LargestKey <= 0)

            (([], []), Array.rev version.Levels[0])
            ||> Array.fold (fun (movable, staying) table ->
                if
                    TableSet.contains quarantined table
                    || staying |> List.exists (Version.overlaps table)
                    || areBarred (table :: movable)
                then
                    movable, table :: staying
                else
                    table :: movable, staying)
            |> fst
            |> Array.ofList

    /// Bytes of an average value: of the bottom level, where there are hardly any tombstones.
    let internal valueBytes (version: Version) : float =
        let ofTables (tables: TableMeta[]) =
            let entries = tables |> Array.sumBy _.Properties.EntryCount
            float (tables |> Array.sumBy _.SizeBytes) / float (max 1L entries)

        let bottom = ofTables version.Levels[bottomLevel version]

        if bottom > 0.0 then
            bottom
        else
            ofTables (Array.concat version.Levels)

    /// How due a level is, 1 and more means it should be compacted, and why. The deepest level there can be has nowhere to go.
    let score (options: Options) (input: PickingInput) (level: int) : struct (float * CompactionReason) =
        let version = input.Version
        let bottom = bottomLevel version

        // What running plans take away is as good as gone.
        let leaving =
            input.Running
            |> Seq.collect (fun plan -> plan.Inputs |> Seq.filter (fun (from, _) -> from < plan.OutputLevel))
            |> Seq.map (fun (_, table) -> table.Number)
            |> TableSet.ofNumbers

        let candidates =
            if level = 0 then
                movableLevelZero version (TableSet.ofNumbers input.Quarantined)
            else
                version.Levels[level]

        let tables = candidates |> Array.filter (TableSet.contains leaving >> not)
        let bytes = float (tables |> Array.sumBy _.SizeBytes)
        let tombstones = tables |> Array.sumBy _.Properties.TombstoneCount
        let hiddenBytes = valueBytes version * float tombstones

        // What tombstones hide may be the same fraction of the store in any level.
        let hiding =
            let bottomBytes = float (Version.levelSizeBytes version bottom)
            hiddenBytes * float options.LevelSizeMultiplier / max (levelLeastBytes options) bottomBytes

        let withReason (reason: CompactionReason) (own: float) (withTombstones: float) =
            if own < 1.0 && withTombstones >= 1.0 then
                struct (withTombstones, CompactionReason.TombstonesDue)
            else
                struct (max own withTombstones, reason)

        if level >= options.LevelCount - 1 then
            struct (0.0, CompactionReason.LevelOverTarget)
        elif level = 0 then
            withReason
                CompactionReason.LevelZeroFull
                (float tables.Length / float options.LevelZeroTableCountTrigger)
                hiding
        elif level = bottom then
            struct (bytes / levelTargetBytes options version level, CompactionReason.BottomFull)
        else
            let target = levelTargetBytes options version level
            withReason CompactionReason.LevelOverTarget (bytes / target) (max hiding ((bytes + hiddenBytes) / target))
