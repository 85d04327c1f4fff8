namespace LsmFs.Engine

// Invariants:
// 1. Level 0 is ordered newest first: by descending largest sequence number. Its tables may overlap.
// 2. Tables of a deeper level are ordered by key and do not overlap.
// 3. No table is in a version twice.
// 4. For any key, an entry in a shallower level is newer than one in a deeper level.

open System
open System.Collections.Generic

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

    let private smaller (left: byte[]) (right: byte[]) = if compareKeys left right <= 0 then left else right

    let private larger (left: byte[]) (right: byte[]) = if compareKeys left right >= 0 then left else right

    /// The smallest and the largest key of tables. O(tables).
    let hull (tables: TableMeta[]) : struct (byte[] * byte[]) =
        let smallest = tables |> Array.map _.Properties.SmallestKey |> Array.reduce smaller
        let largest = tables |> Array.map _.Properties.LargestKey |> Array.reduce larger
        struct (smallest, largest)

    /// The tables of a level below level 0 that overlap the whole range of `tables`, in key order. O(tables + log of the level's tables + result).
    let overlapping (version: Version) (level: int) (tables: TableMeta[]) : TableMeta[] =
        let struct (smallest, largest) = hull tables
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
            boundary (fun table -> compareKeys table.Properties.LargestKey smallest < 0) 0 candidates.Length

        let next =
            boundary (fun table -> compareKeys table.Properties.SmallestKey largest <= 0) first candidates.Length

        Array.sub candidates first (next - first)

    /// Whether a table may hide something older, in a table that is not `isGone`.
    let hasOlder (version: Version) (isGone: TableMeta -> bool) (level: int) (table: TableMeta) : bool =
        let isThere (older: TableMeta) = not (isGone older)

        let hasInLevelZero () =
            version.Levels[0]
            |> Seq.skipWhile (fun other -> other.Number <> table.Number)
            |> Seq.skip 1
            |> Seq.exists (fun older -> isThere older && overlaps older table)

        let hasDeeper () =
            seq { level + 1 .. version.Levels.Length - 1 }
            |> Seq.exists (fun deeper -> overlapping version deeper [| table |] |> Array.exists isThere)

        (level = 0 && hasInLevelZero ()) || hasDeeper ()

    /// Whether tables do not overlap each other.
    let areDisjoint (tables: TableMeta[]) : bool =
        tables
        |> Array.sortWith (fun left right -> compareKeys left.Properties.SmallestKey right.Properties.SmallestKey)
        |> Array.pairwise
        |> Array.forall (fun (left, right) -> not (overlaps left right))

    let private newestFirst (left: TableMeta) (right: TableMeta) : int =
        match compare right.Properties.LargestSequence left.Properties.LargestSequence with
        | 0 -> compare right.Number left.Number
        | order -> order

    let private orderOf (level: int) : TableMeta -> TableMeta -> int =
        if level = 0 then
            newestFirst
        else
            fun left right -> compareKeys left.Properties.SmallestKey right.Properties.SmallestKey

    // Of numbers, because the wrapper's own comparison boxes.
    let private numbersOf (files: FileNumber list) : HashSet<uint64> =
        HashSet(files |> List.map (fun (FileNumber number) -> number))

    let private isIn (numbers: HashSet<uint64>) (table: TableMeta) : bool =
        let (FileNumber number) = table.Number
        numbers.Contains number

    let private atLevel (level: int) (changes: (int * 'change) list) : 'change list =
        changes |> List.filter (fst >> (=) level) |> List.map snd

    /// Two ascending arrays as one.
    let private merge (order: TableMeta -> TableMeta -> int) (left: TableMeta[]) (right: TableMeta[]) : TableMeta[] =
        let merged = Array.zeroCreate (left.Length + right.Length)
        let mutable leftIndex = 0
        let mutable rightIndex = 0

        for index in 0 .. merged.Length - 1 do
            if
                rightIndex = right.Length
                || (leftIndex < left.Length && order left[leftIndex] right[rightIndex] <= 0)
            then
                merged[index] <- left[leftIndex]
                leftIndex <- leftIndex + 1
            else
                merged[index] <- right[rightIndex]
                rightIndex <- rightIndex + 1

        merged

    let private applyToLevel (edit: VersionEdit) (level: int) (tables: TableMeta[]) : TableMeta[] =
        match atLevel level edit.Removed, atLevel level edit.Added with
        | [], [] -> tables
        | removed, added ->
            let removed = numbersOf removed
            let kept = tables |> Array.filter (fun table -> not (isIn removed table))
            added |> Array.ofList |> Array.sortWith (orderOf level) |> merge (orderOf level) kept

    /// The first two tables of a level that would overlap after an edit. Tables that were neighbours before cannot.
    let private newOverlap (edit: VersionEdit) (level: int) (tables: TableMeta[]) : (TableMeta * TableMeta) option =
        match atLevel level edit.Added with
        | [] -> None
        | added ->
            let added = numbersOf (added |> List.map _.Number)

            applyToLevel edit level tables
            |> Seq.pairwise
            |> Seq.tryFind (fun (left, right) -> (isIn added left || isIn added right) && overlaps left right)

    /// Why an edit cannot follow a version, or `None`: it names a level that is not there, removes a table that is not there,
    /// adds one twice, or makes tables of a deeper level overlap.
    /// O(tables), with few comparisons of keys: a manifest may hold thousands of edits of thousands of tables.
    let refusal (edit: VersionEdit) (version: Version) : string option =
        let levelOutside =
            List.map fst edit.Removed @ List.map fst edit.Added
            |> List.tryFind (fun level -> level < 0 || level >= version.Levels.Length)

        let isMissing (level: int, file: FileNumber) =
            let sought = numbersOf [ file ]
            not (version.Levels[level] |> Array.exists (isIn sought))

        let isAddedTwice () =
            let added = numbersOf (edit.Added |> List.map (fun (_, table) -> table.Number))

            let isThere (level: int) (tables: TableMeta[]) =
                let removed = numbersOf (atLevel level edit.Removed)
                tables |> Array.exists (fun table -> isIn added table && not (isIn removed table))

            added.Count < edit.Added.Length
            || (added.Count > 0 && version.Levels |> Seq.mapi isThere |> Seq.contains true)

        match levelOutside with
        | Some level -> Some $"it names level {level}"
        | None ->
            match List.tryFind isMissing edit.Removed with
            | Some(level, number) -> Some $"it removes table {number}, which is not in level {level}"
            | None when isAddedTwice () -> Some "it adds a table that is already there"
            | None ->
                version.Levels
                |> Seq.indexed
                |> Seq.skip 1
                |> Seq.tryPick (fun (level, tables) -> newOverlap edit level tables)
                |> Option.map (fun (left, right) ->
                    let level =
                        edit.Added
                        |> List.find (fun (_, table) -> table.Number = left.Number || table.Number = right.Number)
                        |> fst

                    $"tables {left.Number} and {right.Number} of level {level} overlap")

    /// The version after an edit. The edit must be one that `refusal` has nothing against. O(tables) for the levels it touches; the others stay the same arrays.
    let apply (edit: VersionEdit) (version: Version) : Version = {
        Levels = version.Levels |> Array.mapi (applyToLevel edit)
    }
