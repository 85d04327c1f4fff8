namespace LsmFs.Engine

// Invariants:
// 1. Level 0 is ordered newest first: by descending largest sequence number. Its tables may overlap.
// 2. Tables of a deeper level are ordered by key and do not overlap.
// 3. No table is in a version twice.
// 4. For any key, an entry in a shallower level is newer than one in a deeper level.

open System

/// Which tables make up the store, level by level. Immutable; `Version.apply` makes the next one.
type Version = {
    /// Level 0 first.
    Levels: TableMeta[][]
}

/// Folding version edits.
[<RequireQualifiedAccess>]
module Version =

    /// Compares keys as the store orders them.
    let compareKeys (left: byte[]) (right: byte[]) : int =
        ReadOnlySpan<byte>(left).SequenceCompareTo(ReadOnlySpan<byte>(right))

    /// A store without tables.
    let empty (levelCount: int) : Version = { Levels = Array.create levelCount [||] }

    /// Whether two tables have keys in common ranges.
    let overlaps (left: TableMeta) (right: TableMeta) : bool =
        compareKeys left.Properties.SmallestKey right.Properties.LargestKey <= 0
        && compareKeys right.Properties.SmallestKey left.Properties.LargestKey <= 0

    /// All tables with their levels.
    let tables (version: Version) : (int * TableMeta) seq =
        version.Levels
        |> Seq.indexed
        |> Seq.collect (fun (level, tables) -> tables |> Seq.map (fun table -> level, table))

    /// Bytes of all tables of a level.
    let levelSizeBytes (version: Version) (level: int) : int64 = version.Levels[level] |> Array.sumBy _.SizeBytes

    let private newestFirst (left: TableMeta) (right: TableMeta) : int =
        match compare right.Properties.LargestSequence left.Properties.LargestSequence with
        | 0 -> compare right.Number left.Number
        | order -> order

    let private orderOf (level: int) : TableMeta -> TableMeta -> int =
        if level = 0 then
            newestFirst
        else
            fun left right -> compareKeys left.Properties.SmallestKey right.Properties.SmallestKey

    let private applyToLevel (edit: VersionEdit) (level: int) (tables: TableMeta[]) : TableMeta[] =
        let removed = edit.Removed |> List.filter (fst >> (=) level) |> List.map snd |> Set.ofList
        let added = edit.Added |> List.filter (fst >> (=) level) |> List.map snd

        if removed.IsEmpty && added.IsEmpty then
            tables
        else
            let kept = tables |> Array.filter (fun table -> not (removed.Contains table.Number))
            Array.append kept (Array.ofList added) |> Array.sortWith (orderOf level)

    /// Why an edit cannot follow a version, or `None`: it names a level that is not there, removes a table that is not there,
    /// adds one twice, or makes tables of a deeper level overlap.
    let refusal (edit: VersionEdit) (version: Version) : string option =
        let levelOutside =
            List.map fst edit.Removed @ List.map fst edit.Added
            |> List.tryFind (fun level -> level < 0 || level >= version.Levels.Length)

        let present = tables version |> Seq.map (fun (level, table) -> level, table.Number) |> Set.ofSeq
        let missing = edit.Removed |> List.tryFind (fun removed -> not (present.Contains removed))

        let after =
            (present
             |> Set.filter (fun table -> not (List.contains table edit.Removed))
             |> Seq.map snd
             |> List.ofSeq)
            @ (edit.Added |> List.map (fun (_, table) -> table.Number))

        match levelOutside, missing with
        | Some level, _ -> Some $"it names level {level}"
        | _, Some(level, number) -> Some $"it removes table {number}, which is not in level {level}"
        | None, None when (List.distinct after).Length <> after.Length -> Some "it adds a table that is already there"
        | None, None ->
            version.Levels
            |> Seq.indexed
            |> Seq.skip 1
            |> Seq.tryPick (fun (level, tables) ->
                applyToLevel edit level tables
                |> Array.pairwise
                |> Array.tryFind (fun (left, right) -> overlaps left right)
                |> Option.map (fun (left, right) ->
                    $"tables {left.Number} and {right.Number} of level {level} overlap"))

    /// The version after an edit. The edit must be one that `refusal` has nothing against. O(tables · log tables) for the levels it touches.
    let apply (edit: VersionEdit) (version: Version) : Version = {
        Levels = version.Levels |> Array.mapi (applyToLevel edit)
    }
