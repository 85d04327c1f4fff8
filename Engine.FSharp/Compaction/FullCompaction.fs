namespace LsmFs.Engine

// What `lsmfs compact` does instead of `Picking.pick`: plans until everything is in the bottom level, and nothing there that nobody can see. Each plan is as
// bounded as one of `Picking`, so the work may be given up after any of them. It comes to an end:
// 1. A plan takes tables one level down, and none ever goes up.
// 2. A table of the bottom level is rewritten only for what its rewriting leaves out.

open System.Collections.Generic

/// Deciding what to compact when everything is to be.
[<RequireQualifiedAccess>]
module FullCompaction =

    let private holdsGarbage (input: PickingInput) (table: TableMeta) : bool =
        let properties = table.Properties

        properties.TombstoneCount > 0L
        || (properties.EarliestExpirySeconds <> 0u && properties.EarliestExpirySeconds <= input.NowSeconds)
        || properties.SmallestSequence.Value <= input.Flush.Through.Value

    let private downPlan (version: Version) : int -> TableMeta[] -> CompactionPlan =
        CompactionPlan.down version CompactionReason.LevelOverTarget true

    /// The plans that are left for a level above the bottom, as far as its tables can be read.
    let private plansDown (options: Options) (version: Version) (quarantined: HashSet<uint64>) (level: int) =
        if level = 0 then
            let tables = LevelScore.movableLevelZero version quarantined
            let oldest = tables |> Array.skip (max 0 (tables.Length - options.LevelZeroTableCountMax))

            if oldest.Length = 0 then
                [||]
            else
                [| downPlan version 0 oldest |]
        else
            version.Levels[level]
            |> Array.map (fun table -> downPlan version level [| table |])
            |> Array.filter (fun plan ->
                plan.Inputs |> Array.forall (fun (_, table) -> not (TableSet.contains quarantined table)))

    let private remaining (options: Options) (input: PickingInput) : CompactionPlan list =
        let version = input.Version
        let bottom = LevelScore.bottomLevel version
        let quarantined = TableSet.ofNumbers input.Quarantined

        let down =
            seq { 0 .. bottom - 1 }
            |> Seq.map (plansDown options version quarantined)
            |> Seq.tryFind (Array.isEmpty >> not)

        match down with
        | Some plans -> List.ofArray plans
        | None ->
            version.Levels[bottom]
            |> Seq.filter (fun table -> holdsGarbage input table && not (TableSet.contains quarantined table))
            |> Seq.map (CompactionPlan.rewrite CompactionReason.TombstonesDue bottom)
            |> List.ofSeq

    /// The next plan: from the shallowest level that has tables, and at last for tables of the bottom level that hold what nobody can see. None while the
    /// running ones are in the way, and when nothing is left to do. O(tables · log tables).
    let pick (options: Options) (input: PickingInput) : CompactionPlan option =
        remaining options input
        |> List.tryFind (fun plan -> not (input.Running |> List.exists (CompactionPlan.conflicts plan)))

    /// Whether nothing is left to do, as far as tables can be read.
    let isDone (options: Options) (input: PickingInput) : bool =
        input.Running.IsEmpty && (remaining options input).IsEmpty

    /// Bytes to be moved yet: those of every table once for each level it has to go, and once more when it holds what nobody can see.
    let remainingBytes (input: PickingInput) : int64 =
        let bottom = LevelScore.bottomLevel input.Version

        Version.tables input.Version
        |> Seq.sumBy (fun (level, table) ->
            let rewriting = if holdsGarbage input table then 1 else 0
            int64 (bottom - level + rewriting) * table.SizeBytes)
