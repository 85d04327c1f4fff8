namespace LsmFs.Engine

/// Why a plan was chosen.
type CompactionReason =
    /// All that the tables hold was declared dead by a flush.
    | Flushed = 0
    /// All that the tables hold has expired, and they hide nothing older.
    | Expired = 1
    /// The tables hold nothing but tombstones, and nothing older for them to hide.
    | TombstonesOnly = 2
    /// Level 0 has so many tables that reads suffer.
    | LevelZeroFull = 3
    /// A level holds more than its share.
    | LevelOverTarget = 4
    /// The bottom level is full: there is room for another level above it.
    | BottomFull = 5
    /// Tombstones hide too much of what lies below them, or are too large a part of a table.
    | TombstonesDue = 6
    /// Too much of a table has expired.
    | ExpiredDue = 7

/// How a plan is carried out.
type CompactionKind =
    /// Its tables are read, merged and written again.
    | Merge = 0
    /// Its tables change their level as they are.
    | Move = 1
    /// Its tables go, unread.
    | Drop = 2

/// What to do with tables. A value: it can be logged, printed and replayed.
type CompactionPlan = {
    Reason: CompactionReason
    Kind: CompactionKind
    /// The tables with their levels, newest first: by level, level 0 in its order, deeper levels by key.
    Inputs: (int * TableMeta)[]
    /// Where the result goes. For a `Drop` the deepest level of its tables.
    OutputLevel: int
}

/// What the plans of a store have in common, however they were chosen.
[<RequireQualifiedAccess>]
module CompactionPlan =

    /// The shallowest level it takes tables from.
    let level (plan: CompactionPlan) : int = fst plan.Inputs[0]

    /// Bytes of the tables it takes.
    let inputBytes (plan: CompactionPlan) : int64 = plan.Inputs |> Array.sumBy (fun (_, table) -> table.SizeBytes)

    /// Whether two plans may not be carried out at the same time: both touch a level there where their key ranges overlap, or both touch level 0,
    /// whose order both would change. Plans that share a table do.
    let conflicts (left: CompactionPlan) (right: CompactionPlan) : bool =
        let haveLevelInCommon = level left <= right.OutputLevel && level right <= left.OutputLevel

        let overlap () =
            let struct (leftSmallest, leftLargest) = Version.hull (Array.map snd left.Inputs)
            let struct (rightSmallest, rightLargest) = Version.hull (Array.map snd right.Inputs)

            Version.compareKeys leftSmallest rightLargest <= 0
            && Version.compareKeys rightSmallest leftLargest <= 0

        haveLevelInCommon && ((level left = 0 && level right = 0) || overlap ())

    /// Tables of a level go down, together with those of the next level that they overlap. They change their level as they are when they overlap nothing there,
    /// and not each other, if they may at all. O(tables + log of the next level's tables).
    let down (version: Version) (reason: CompactionReason) (mayMove: bool) (level: int) (tables: TableMeta[]) =
        let next = Version.overlapping version (level + 1) tables

        {
            Reason = reason
            Kind =
                if mayMove && next.Length = 0 && Version.areDisjoint tables then
                    CompactionKind.Move
                else
                    CompactionKind.Merge
            Inputs =
                Array.append
                    (tables |> Array.map (fun table -> level, table))
                    (next |> Array.map (fun table -> level + 1, table))
            OutputLevel = level + 1
        }

    /// A table alone, rewritten where it is.
    let rewrite (reason: CompactionReason) (level: int) (table: TableMeta) : CompactionPlan = {
        Reason = reason
        Kind = CompactionKind.Merge
        Inputs = [| level, table |]
        OutputLevel = level
    }

    /// The edit of a plan that was carried out; `outputs` are the tables that a merge has made, in key order.
    let edit (plan: CompactionPlan) (outputs: TableMeta list) : VersionEdit = {
        VersionEdit.empty with
            Removed = [
                for level, table in plan.Inputs do
                    level, table.Number
            ]
            Added =
                match plan.Kind with
                | CompactionKind.Move -> [
                    for _, table in plan.Inputs do
                        plan.OutputLevel, table
                  ]
                | CompactionKind.Merge -> outputs |> List.map (fun table -> plan.OutputLevel, table)
                | _ -> []
    }

    /// A plan as text, which `parse` reads: `LevelZeroFull: merge L0 6 5 L1 2 3 to L1`.
    let print (plan: CompactionPlan) : string =
        let inputs =
            plan.Inputs
            |> Array.groupBy fst
            |> Array.map (fun (level, tables) ->
                let numbers = tables |> Array.map (fun (_, table) -> string table.Number.Value)
                $"""L{level} {System.String.Join(' ', numbers)}""")

        let inputs = System.String.Join(' ', inputs)

        match plan.Kind with
        | CompactionKind.Drop -> $"{plan.Reason}: drop {inputs}"
        | CompactionKind.Move -> $"{plan.Reason}: move {inputs} to L{plan.OutputLevel}"
        | _ -> $"{plan.Reason}: merge {inputs} to L{plan.OutputLevel}"

    /// The plan that `print` has printed, made from this version; `None` when it is not one, or names tables that are not there.
    let parse (version: Version) (text: string) : CompactionPlan option =
        let levelOf (word: string) : int option =
            match word.StartsWith 'L', System.Int32.TryParse(word.Substring(min 1 word.Length)) with
            | true, (true, level) when level >= 0 && level < version.Levels.Length -> Some level
            | _ -> None

        /// Words like `L0 6 5 L1 2` as tables with their levels.
        let rec inputs (level: int) (found: (int * TableMeta) list) (words: string list) =
            match words with
            | [] -> Some(Array.ofList (List.rev found))
            | word :: rest when word.StartsWith 'L' ->
                levelOf word |> Option.bind (fun level -> inputs level found rest)
            | word :: rest ->
                match System.UInt64.TryParse word with
                | true, number when level >= 0 ->
                    version.Levels[level]
                    |> Array.tryFind (fun table -> table.Number.Value = number)
                    |> Option.bind (fun table -> inputs level ((level, table) :: found) rest)
                | _ -> None

        let plan (reason: CompactionReason) (kind: CompactionKind) (words: string list) (output: int voption) =
            match inputs -1 [] words with
            | Some tables when tables.Length > 0 ->
                Some {
                    Reason = reason
                    Kind = kind
                    Inputs = tables
                    OutputLevel = output |> ValueOption.defaultValue (tables |> Array.map fst |> Array.max)
                }
            | _ -> None

        match List.ofArray (text.Split(' ', System.StringSplitOptions.RemoveEmptyEntries)) with
        | reason :: kind :: words when reason.EndsWith ':' ->
            match System.Enum.TryParse<CompactionReason>(reason.TrimEnd ':'), kind, List.rev words with
            | (true, reason), "drop", _ -> plan reason CompactionKind.Drop words ValueNone
            | (true, reason), ("move" | "merge"), output :: "to" :: inputs ->
                let kind =
                    if kind = "move" then
                        CompactionKind.Move
                    else
                        CompactionKind.Merge

                levelOf output |> Option.bind (fun level -> plan reason kind (List.rev inputs) (ValueSome level))
            | _ -> None
        | _ -> None
