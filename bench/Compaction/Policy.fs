namespace LsmFs.CompactionBench

open LsmFs.Engine

/// How a plan is carried out.
[<RequireQualifiedAccess>]
type PlanKind =
    | Merge
    /// The tables change their level as they are.
    | Move
    /// The tables go, unread.
    | Drop

/// What to compact, for any policy: tables of any levels into one level.
[<NoEquality; NoComparison>]
type MergePlan = {
    Kind: PlanKind
    /// Newest first, with their levels.
    Inputs: (int * TableMeta)[]
    OutputLevel: int
}

/// A compaction policy: a function from version to plan. One that takes turns remembers whose turn it is, so each run starts its own.
[<NoEquality; NoComparison>]
type Policy = {
    Name: string
    /// The options it works with, from those of the engine.
    Adjust: Options -> Options
    /// A new table ends at a border of the level below from this share of a table's size on.
    AlignedShare: float
    Start: unit -> (int -> Version -> MergePlan option)
}

/// Which table a level gives.
[<RequireQualifiedAccess>]
type Choice =
    /// The one that drags least along for each byte moved.
    | LeastOverlap
    /// The one after the last one.
    | RoundRobin
    /// As `LeastOverlap`, where a tombstone counts as the value it will remove.
    | LeastOverlapTombstones

/// What size a level may have.
[<RequireQualifiedAccess>]
type Targets =
    /// Each level `LevelSizeMultiplier` times the one above, from the top.
    | FromTop
    /// Each level a `LevelSizeMultiplier`-th of the one below, from the bottom as large as it is.
    | FromBottom

/// A leveled policy taken apart.
type LeveledSettings = {
    Targets: Targets
    Choice: Choice
    /// Whether tombstones make their level due sooner, as if they were what they will remove.
    CountsTombstones: bool
    /// Whether tables of level 0 that overlap nothing and not each other go down as they are.
    MovesLevelZero: bool
    /// The most tables of level 0 that one job takes.
    LevelZeroInputsMax: int
    DropsExpired: bool
}

[<RequireQualifiedAccess>]
module Policy =

    let private levelsOf (level: int) (tables: TableMeta[]) = tables |> Array.map (fun table -> level, table)

    /// The engine's own planner, with some options changed.
    let engine (name: string) (adjust: Options -> Options) (options: Options) : Policy =
        let options = adjust options

        {
            Name = name
            Adjust = adjust
            // As `JobRules.alignedSizeBytes` has it.
            AlignedShare = 0.5
            Start =
                fun () now version ->
                    Picking.pick options (PickingInput.ofVersion (uint32 now) version)
                    |> Option.map (fun plan -> {
                        Kind =
                            match plan.Kind with
                            | CompactionKind.Drop -> PlanKind.Drop
                            | CompactionKind.Move -> PlanKind.Move
                            | _ -> PlanKind.Merge
                        Inputs = plan.Inputs
                        OutputLevel = plan.OutputLevel
                    })
        }

    // ------------------------------------------------------------------------------------------------ leveled, in parts

    let private overlapping (version: Version) (level: int) (inputs: TableMeta[]) : TableMeta[] =
        let smallest =
            inputs |> Array.map (fun table -> SortedRun.keyOf table.Properties.SmallestKey) |> Array.min

        let largest =
            inputs |> Array.map (fun table -> SortedRun.keyOf table.Properties.LargestKey) |> Array.max

        version.Levels[level]
        |> Array.filter (fun table ->
            SortedRun.keyOf table.Properties.SmallestKey <= largest
            && SortedRun.keyOf table.Properties.LargestKey >= smallest)

    let private bottomOf (version: Version) : int =
        version.Levels |> Array.tryFindIndexBack (Array.isEmpty >> not) |> Option.defaultValue 0 |> max 1

    /// A table wholly expired that hides nothing.
    let private expired (now: int) (version: Version) : MergePlan option =
        seq {
            for level in 1 .. version.Levels.Length - 1 do
                for table in version.Levels[level] do
                    let latest = table.Properties.LatestExpirySeconds

                    if latest <> 0u && latest <= uint32 now then
                        let hidden =
                            seq { level + 1 .. version.Levels.Length - 1 }
                            |> Seq.exists (fun deeper -> (overlapping version deeper [| table |]).Length > 0)

                        if not hidden then
                            { Kind = PlanKind.Drop; Inputs = [| level, table |]; OutputLevel = level }
        }
        |> Seq.tryHead

    /// Bytes of a table, with the bytes that its tombstones will remove if they count.
    let private weight (tombstonesCount: bool) (table: TableMeta) : float =
        if tombstonesCount then
            float table.SizeBytes
            + float (SortedRun.entryBytes SortedRun.lasting) * float table.Properties.TombstoneCount
        else
            float table.SizeBytes

    let leveled (name: string) (adjust: Options -> Options) (settings: LeveledSettings) (options: Options) : Policy =
        let options = adjust options
        let multiplier = float options.LevelSizeMultiplier
        let sizeOf version level = float (Version.levelSizeBytes version level)

        let targetOf (version: Version) (bottom: int) (level: int) : float =
            match settings.Targets with
            | Targets.FromTop -> float options.LevelOneSizeBytes * multiplier ** float (level - 1)
            | _ when level = bottom -> infinity
            | _ ->
                max
                    (float options.LevelOneSizeBytes / multiplier)
                    (sizeOf version bottom / multiplier ** float (bottom - level))

        /// The bottom level goes down as it is when there is room for a level between.
        let growth (version: Version) (bottom: int) : MergePlan option =
            let isFull = sizeOf version bottom > float options.LevelOneSizeBytes * multiplier ** float (bottom - 1)

            if settings.Targets = Targets.FromBottom && isFull && bottom < options.LevelCount - 1 then
                Some {
                    Kind = PlanKind.Move
                    Inputs = levelsOf bottom version.Levels[bottom]
                    OutputLevel = bottom + 1
                }
            else
                None

        let merge (version: Version) (level: int) (inputs: TableMeta[]) : MergePlan =
            let next = overlapping version (level + 1) inputs

            let areDisjoint =
                inputs.Length = 1
                || (settings.MovesLevelZero
                    && Seq.allPairs inputs inputs
                       |> Seq.forall (fun (left, right) ->
                           left.Number = right.Number || not (Version.overlaps left right)))

            {
                Kind =
                    if next.Length = 0 && areDisjoint then
                        PlanKind.Move
                    else
                        PlanKind.Merge
                Inputs = Array.append (levelsOf level inputs) (levelsOf (level + 1) next)
                OutputLevel = level + 1
            }

        let start () =
            let turns: byte[][] = Array.create options.LevelCount [||]

            let choose (version: Version) (level: int) : TableMeta =
                let tables = version.Levels[level]

                if settings.Choice = Choice.RoundRobin then
                    let table =
                        tables
                        |> Array.tryFind (fun table ->
                            Version.compareKeys table.Properties.SmallestKey turns[level] > 0)
                        |> Option.defaultValue tables[0]

                    turns[level] <- table.Properties.LargestKey
                    table
                else
                    tables
                    |> Array.minBy (fun table ->
                        let dragged = overlapping version (level + 1) [| table |] |> Array.sumBy _.SizeBytes
                        float dragged / weight (settings.Choice = Choice.LeastOverlapTombstones) table)

            fun now version ->
                let bottom = bottomOf version

                let score level =
                    let tables = version.Levels[level]

                    if level = 0 then
                        float tables.Length / float options.LevelZeroTableCountTrigger
                    else
                        (tables |> Array.sumBy (weight settings.CountsTombstones)) / targetOf version bottom level

                let due () =
                    // Half way to the bound where writes wait nothing is more urgent than level 0.
                    let level =
                        if version.Levels[0].Length * 2 >= options.LevelZeroTableCountMax then
                            0
                        else
                            seq { 0..bottom } |> Seq.maxBy score

                    if score level < 1.0 || level = options.LevelCount - 1 then
                        None
                    elif level = 0 then
                        let oldest = version.Levels[0] |> Array.rev |> Array.truncate settings.LevelZeroInputsMax
                        Some(merge version 0 (Array.rev oldest))
                    else
                        Some(merge version level [| choose version level |])

                let dropped = if settings.DropsExpired then expired now version else None
                dropped |> Option.orElseWith (fun () -> growth version bottom) |> Option.orElseWith due

        { Name = name; Adjust = adjust; AlignedShare = 1.0; Start = start }

    // --------------------------------------------------------------------------------- tiered: each level of the version is a run

    /// Runs in classes of a size each, `ratio` runs to a class: level 1 + class * ratio and those that follow, older runs deeper. A full
    /// class becomes one run of the next class. With `isLazy` the deepest level holds the one run of all that is old (Dostoevsky).
    let private tieredBy (name: string) (ratio: int) (isLazy: bool) (options: Options) : Policy =
        let bottom = ratio * 8 + 1

        let adjust (options: Options) = {
            options with
                LevelZeroTableCountTrigger = ratio
                LevelZeroTableCountMax = max options.LevelZeroTableCountMax (ratio * 2)
                LevelCount = bottom + 1
        }

        let isEmpty (version: Version) (level: int) = version.Levels[level].Length = 0
        let slots (tier: int) = [| 1 + tier * ratio .. (tier + 1) * ratio |]

        /// How many classes there are above the one run at the bottom: so many that it is `ratio` times as large as a run of the last one.
        let classCount (version: Version) : int =
            if isLazy then
                let size = float (Version.levelSizeBytes version bottom)
                let runs = size / float options.MemtableSizeBytes
                System.Math.Clamp(int (System.Math.Log(max 1.0 runs, float ratio)) - 1, 0, 8)
            else
                8

        let merge (version: Version) (levels: int[]) (output: int) : MergePlan =
            let inputs =
                Array.append levels [|
                    if output = bottom then
                        output
                |]
                |> Array.collect (fun level -> levelsOf level version.Levels[level])

            {
                Kind = if inputs.Length = 1 then PlanKind.Move else PlanKind.Merge
                Inputs = inputs
                OutputLevel = output
            }

        /// Where a run that leaves the tier before goes: the deepest free slot of this one, or the bottom.
        let place (version: Version) (tier: int) : int option =
            if tier >= classCount version then
                // Runs of classes that are no longer used have to go first.
                Some bottom
            else
                slots tier |> Array.tryFindBack (isEmpty version)

        let isFull (version: Version) (tier: int) = slots tier |> Array.forall (isEmpty version >> not)

        let pick (_: int) (version: Version) : MergePlan option =
            let full = seq { 7..-1..0 } |> Seq.tryFind (isFull version)

            match full with
            | Some tier ->
                // Whatever goes to the bottom takes with it all that is older.
                match place version (tier + 1) with
                | Some output when output = bottom -> Some(merge version [| 1 + tier * ratio .. bottom - 1 |] bottom)
                | Some output -> Some(merge version (slots tier) output)
                | None -> None
            | None when version.Levels[0].Length >= ratio ->
                place version 0
                |> Option.map (fun output ->
                    if output = bottom then
                        merge version [| 0 .. bottom - 1 |] bottom
                    else
                        merge version [| 0 |] output)
            | None -> None

        { Name = name; Adjust = adjust; AlignedShare = 1.0; Start = fun () -> pick }

    let tiered (ratio: int) (options: Options) : Policy = tieredBy $"tiered {ratio}" ratio false options
    let lazyLeveled (ratio: int) (options: Options) : Policy = tieredBy $"lazy-leveled {ratio}" ratio true options

    let all (options: Options) : Policy list =
        let own = id
        let multiplier count (options: Options) = { options with LevelSizeMultiplier = count }

        let parts = {
            Targets = Targets.FromTop
            Choice = Choice.LeastOverlap
            LevelZeroInputsMax = System.Int32.MaxValue
            DropsExpired = false
            CountsTombstones = false
            MovesLevelZero = false
        }

        let fromBottom = { parts with Targets = Targets.FromBottom }

        [
            engine "Picking.pick" own
            engine "Picking.pick, 6" (multiplier 6)
            engine "Picking.pick, 8" (multiplier 8)
            engine "Picking.pick, trigger 2" (fun options -> { options with LevelZeroTableCountTrigger = 2 })
            engine "Picking.pick, trigger 4" (fun options -> { options with LevelZeroTableCountTrigger = 4 })
            engine "Picking.pick, L1 doubled" (fun options -> {
                options with
                    LevelOneSizeBytes = options.LevelOneSizeBytes * 2L
            })
            engine "Picking.pick, tables x2" (fun options -> {
                options with
                    TableSizeBytes = options.TableSizeBytes * 2L
            })
            leveled "from the top, 10" (multiplier 10) parts
            leveled "from the top, 8" (multiplier 8) parts
            leveled "from the top, 4" (multiplier 4) parts
            leveled "from the top, 10, turns" (multiplier 10) { parts with Choice = Choice.RoundRobin }
            leveled "from the bottom, 8" (multiplier 8) fromBottom
            leveled "tombstones make due" (multiplier 8) {
                fromBottom with
                    Choice = Choice.LeastOverlapTombstones
                    CountsTombstones = true
                    MovesLevelZero = true
                    LevelZeroInputsMax = 6
            }
            leveled "expired are dropped" (multiplier 8) {
                fromBottom with
                    Choice = Choice.LeastOverlapTombstones
                    MovesLevelZero = true
                    LevelZeroInputsMax = 6
                    DropsExpired = true
            }
            tiered 4
            tiered 8
            lazyLeveled 4
            lazyLeveled 8
        ]
        |> List.map (fun policy -> policy options)
