namespace LsmFs.Engine

// Leveled compaction. Level 0 is due by its number of tables, because every lookup may have to ask each of them; a deeper level is due by its size.
// From a deeper level one table moves at a time: the one that drags the least of the next level along, for each byte moved.

/// What to merge: tables of a level with the tables of the next level that they overlap. A value: it can be logged, printed and replayed.
type CompactionPlan = {
    /// The level that gives.
    Level: int
    /// Tables of `Level`.
    Inputs: TableMeta[]
    /// Tables of `Level + 1` that overlap them, in key order.
    NextInputs: TableMeta[]
}

/// Deciding what to compact.
[<RequireQualifiedAccess>]
module Picking =

    /// The size in bytes at which a level below level 0 is due.
    let levelTargetBytes (options: Options) (level: int) : int64 =
        let rec grow (target: int64) (steps: int) =
            if steps = 0 then
                target
            else
                grow (target * int64 options.LevelSizeMultiplier) (steps - 1)

        grow options.LevelOneSizeBytes (level - 1)

    /// How due a level is: 1 and more means it should be compacted. The deepest level has nowhere to go.
    let score (options: Options) (version: Version) (level: int) : float =
        if level = 0 then
            float version.Levels[0].Length / float options.LevelZeroTableCountTrigger
        elif level >= options.LevelCount - 1 then
            0.0
        else
            float (Version.levelSizeBytes version level) / float (levelTargetBytes options level)

    /// The tables of a level whose key ranges overlap any of `tables`' whole range, in the level's order.
    let private overlapping (version: Version) (level: int) (tables: TableMeta[]) : TableMeta[] =
        let smallest =
            tables
            |> Array.map _.Properties.SmallestKey
            |> Array.reduce (fun left right -> if Version.compareKeys left right <= 0 then left else right)

        let largest =
            tables
            |> Array.map _.Properties.LargestKey
            |> Array.reduce (fun left right -> if Version.compareKeys left right >= 0 then left else right)

        version.Levels[level]
        |> Array.filter (fun table ->
            Version.compareKeys table.Properties.SmallestKey largest <= 0
            && Version.compareKeys table.Properties.LargestKey smallest >= 0)

    let private planOf (version: Version) (level: int) (inputs: TableMeta[]) : CompactionPlan = {
        Level = level
        Inputs = inputs
        NextInputs = overlapping version (level + 1) inputs
    }

    let private costOf (plan: CompactionPlan) : float =
        let moved = plan.Inputs |> Array.sumBy _.SizeBytes
        let dragged = plan.NextInputs |> Array.sumBy _.SizeBytes
        float dragged / float (max 1L moved)

    /// The compaction that is most due, or `None` when no level is. O(tables of the level · tables of the next).
    let pick (options: Options) (version: Version) : CompactionPlan option =
        let level = seq { 0 .. options.LevelCount - 2 } |> Seq.maxBy (score options version)

        if score options version level < 1.0 then
            None
        elif level = 0 then
            Some(planOf version 0 version.Levels[0])
        else
            version.Levels[level]
            |> Array.map (fun table -> planOf version level [| table |])
            |> Array.minBy costOf
            |> Some

    /// Whether the tables can change their level without being rewritten: one table that overlaps nothing below. From level 0 only
    /// when it is the only one there, since the others could overlap it.
    let isTrivialMove (plan: CompactionPlan) : bool = plan.Inputs.Length = 1 && plan.NextInputs.Length = 0

    /// The edit that moves the tables of a trivial plan down one level.
    let moveEdit (plan: CompactionPlan) : VersionEdit = {
        VersionEdit.empty with
            Removed = plan.Inputs |> Array.map (fun table -> plan.Level, table.Number) |> List.ofArray
            Added = plan.Inputs |> Array.map (fun table -> plan.Level + 1, table) |> List.ofArray
    }

    /// The edit that replaces the inputs of a plan by the tables made of them.
    let replaceEdit (plan: CompactionPlan) (outputs: TableMeta list) : VersionEdit = {
        VersionEdit.empty with
            Removed = [
                for table in plan.Inputs do
                    plan.Level, table.Number
                for table in plan.NextInputs do
                    plan.Level + 1, table.Number
            ]
            Added = outputs |> List.map (fun table -> plan.Level + 1, table)
    }
