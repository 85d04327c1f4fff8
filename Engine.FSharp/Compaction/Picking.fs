namespace LsmFs.Engine

// Leveled compaction, sized from the bottom. Level 0 is due by its number of tables, because every lookup may have to ask each of them. A deeper
// level is due by its size: each may hold a fraction of the one below it, so that what is old and hidden stays a fraction of the store, whatever
// the store's size (RocksDB's level_compaction_dynamic_level_bytes). From a deeper level one table moves at a time: the one that drags the least
// of the next level along, for each byte that it moves or will remove. docs/ARCHITECTURE.md has the numbers that this was chosen by.
//
// Tombstones and expired values make tables due as well, so that space comes back in a store that takes no more writes. It comes to an end:
//   1. Every plan takes something out of the store or moves something to a deeper level.
//   2. A plan that leaves its table in its level takes out one entry at least.
// Plans may be carried out at the same time when they do not conflict:
//   3. A plan shares no table with a running one, and their key ranges do not overlap in a level that both touch.
//   4. The most urgent plan that a running one is in the way of is waited for: nothing that would be in its way is begun.
// A table that cannot be read stays where it is, and so does all that would have to be merged with it or to pass below it:
//   5. For every key, what is in a deeper level, or later in level 0, is older, after any plan as before it.

open System.Collections.Generic

/// Deciding what to compact.
[<RequireQualifiedAccess>]
module Picking =

    /// A table with values that expire one after the other is rewritten when half of them have, but not so soon that waiting a little would
    /// make all of them expire.
    [<Literal>]
    let private expiryDelaySeconds = 600u

    /// A table where some values expire and others do not tells only when the first one does. It is rewritten once this long after that, and
    /// so at most once in this time.
    [<Literal>]
    let private mixedExpiryDelaySeconds = 86_400u

    let private runningTables (input: PickingInput) : HashSet<uint64> =
        input.Running
        |> Seq.collect (fun plan -> plan.Inputs |> Seq.map (fun (_, table) -> table.Number))
        |> TableSet.ofNumbers

    // ---------------------------------------------------------------------------------------------- tombstones and expiry

    /// Whether so many of a table's entries are tombstones that it is worth rewriting only to be rid of them.
    let private isTombstoneHeavy (table: TableMeta) : bool =
        table.Properties.TombstoneCount > 0L
        && table.Properties.TombstoneCount * 4L >= table.Properties.EntryCount

    /// The Unix time in seconds at which a table is due for what has expired in it; none when nothing in it ever does.
    let private expiryDueAtSeconds (level: int) (table: TableMeta) : uint32 voption =
        let earliest = table.Properties.EarliestExpirySeconds
        let latest = table.Properties.LatestExpirySeconds
        let after (delay: uint32) = earliest + min delay (System.UInt32.MaxValue - earliest)

        if earliest = 0u then
            ValueNone
        elif level = 0 then
            // What level 0 holds goes down soon anyway; but a store may be idle when the last of it expires.
            if latest = 0u then ValueNone else ValueSome latest
        elif latest = 0u then
            ValueSome(after mixedExpiryDelaySeconds)
        else
            ValueSome(min latest (max (earliest + (latest - earliest) / 2u) (after expiryDelaySeconds)))

    /// The next Unix time in seconds at which `pick` may answer differently although nothing has happened; none: not before something does.
    /// A flush that waits for its time is to be turned into a watermark then. O(tables).
    let wakeAtSeconds (input: PickingInput) : uint32 voption =
        let running = runningTables input
        let mutable earliest = System.UInt32.MaxValue

        let consider (seconds: uint32) =
            if seconds > input.NowSeconds && seconds < earliest then
                earliest <- seconds

        consider input.Flush.PendingAtSeconds

        for level, table in Version.tables input.Version do
            if not (TableSet.contains running table) then
                expiryDueAtSeconds level table |> ValueOption.iter consider
                consider table.Properties.LatestExpirySeconds

        if earliest = System.UInt32.MaxValue then
            ValueNone
        else
            ValueSome earliest

    /// Tables that go unread: flushed, or hiding nothing while they hold nothing but what has expired, or nothing but tombstones.
    let private dropPlan (input: PickingInput) : CompactionPlan option =
        let running = runningTables input

        let plan (reason: CompactionReason) (isGone: TableMeta -> bool) =
            let inputs = Version.tables input.Version |> Seq.filter (fun (_, table) -> isGone table) |> Array.ofSeq

            if inputs.Length = 0 then
                None
            else
                Some {
                    Reason = reason
                    Kind = CompactionKind.Drop
                    Inputs = inputs
                    OutputLevel = inputs |> Array.map fst |> Array.max
                }

        let isFlushed (table: TableMeta) =
            table.Properties.LargestSequence.Value <= input.Flush.Through.Value
            && not (TableSet.contains running table)

        let isExpired (table: TableMeta) =
            table.Properties.LatestExpirySeconds <> 0u
            && table.Properties.LatestExpirySeconds <= input.NowSeconds

        let isTombstones (table: TableMeta) = table.Properties.TombstoneCount = table.Properties.EntryCount

        /// From the oldest to the newest, so that what goes is in nobody's way.
        let hidingNothing () =
            let gone = HashSet<uint64>()
            let mutable reason = CompactionReason.TombstonesOnly

            for level, table in Version.tables input.Version |> Seq.rev do
                if
                    (isExpired table || isTombstones table)
                    && not (TableSet.contains running table)
                    && not (Version.hasOlder input.Version (TableSet.contains gone) level table)
                then
                    gone.Add table.Number.Value |> ignore

                    if isExpired table then
                        reason <- CompactionReason.Expired

            plan reason (TableSet.contains gone)

        plan CompactionReason.Flushed isFlushed |> Option.orElseWith hidingNothing

    // ---------------------------------------------------------------------------------------------- what may go where

    /// Tables of a level go down. Not as they are when they are full of tombstones, or would make a job too long when they go on.
    let private planOf (version: Version) (reason: CompactionReason) (level: int) (tables: TableMeta[]) =
        let isLight (table: TableMeta) =
            level + 2 >= version.Levels.Length
            || (Version.overlapping version (level + 2) [| table |]).Length <= JobRules.grandparentCountMax

        let mayMove = tables |> Array.forall (fun table -> isLight table && not (isTombstoneHeavy table))

        CompactionPlan.down version reason mayMove level tables

    /// What can be planned for one table of a level below level 0: nothing when that would need a table that cannot be read.
    let private plansOfTable version (quarantined: HashSet<uint64>) reason level (table: TableMeta) =
        let plan = planOf version reason level [| table |]

        if plan.Inputs |> Array.exists (fun (_, input) -> TableSet.contains quarantined input) then
            None
        else
            Some plan

    /// The oldest of the tables that can leave level 0, newest first. Not all of a backlog, so that the length of a job is bounded.
    let private levelZeroPlan (options: Options) (version: Version) (quarantined: HashSet<uint64>) reason =
        let countMax = max options.LevelZeroTableCountTrigger (options.LevelZeroTableCountMax / 2)
        let tables = LevelScore.movableLevelZero version quarantined

        if tables.Length = 0 then
            None
        else
            Some(planOf version reason 0 (Array.skip (max 0 (tables.Length - countMax)) tables))

    /// The bottom level goes down whole, unread: even a table that cannot be read, since its order to others stays what it was.
    let private bottomPlan (version: Version) (bottom: int) : CompactionPlan = {
        Reason = CompactionReason.BottomFull
        Kind = CompactionKind.Move
        Inputs = version.Levels[bottom] |> Array.map (fun table -> bottom, table)
        OutputLevel = bottom + 1
    }

    // ---------------------------------------------------------------------------------------------- what is due

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

    /// Plans for single tables, whatever their level holds, because of what has expired in them, or because of tombstones that hide nothing.
    let private tablesDue (options: Options) (input: PickingInput) (quarantined: HashSet<uint64>) =
        let version = input.Version

        let isDue level table =
            match expiryDueAtSeconds level table with
            | ValueSome at -> at <= input.NowSeconds
            | ValueNone -> false

        let planFor (level: int, table: TableMeta) =
            if TableSet.contains quarantined table then
                None
            elif isDue level table then
                if level = 0 then
                    levelZeroPlan options version quarantined CompactionReason.ExpiredDue
                elif Version.hasOlder version (fun _ -> false) level table then
                    plansOfTable version quarantined CompactionReason.ExpiredDue level table
                else
                    Some(CompactionPlan.rewrite CompactionReason.ExpiredDue level table)
            elif level > 0 && isTombstoneHeavy table && not (Version.hasOlder version (fun _ -> false) level table) then
                Some(CompactionPlan.rewrite CompactionReason.TombstonesDue level table)
            else
                None

        Version.tables version |> Seq.choose planFor

    /// The compaction that is most due and can be begun, or `None`. O(tables · log tables).
    let pick (options: Options) (input: PickingInput) : CompactionPlan option =
        let version = input.Version
        let bottom = LevelScore.bottomLevel version
        let quarantined = TableSet.ofNumbers input.Quarantined
        let cost = costOf (LevelScore.valueBytes version)

        let scores = [
            for level in 0 .. bottom - 1 do
                let struct (score, reason) = LevelScore.score options input level

                if score >= 1.0 then
                    level, score, reason
        ]

        let plansOfLevel (level: int, _: float, reason: CompactionReason) : CompactionPlan[] =
            if level = 0 then
                levelZeroPlan options version quarantined reason |> Option.toArray
            else
                version.Levels[level] |> Array.choose (plansOfTable version quarantined reason level)

        /// Half way to where writes have to wait.
        let isUrgent (level: int, _, _) =
            level = 0
            && (LevelScore.movableLevelZero version quarantined).Length * 2 >= options.LevelZeroTableCountMax

        let struct (bottomScore, _) = LevelScore.score options input bottom

        // From the most urgent on; each is a choice of plans.
        let choices =
            seq {
                if bottomScore >= 1.0 then
                    // Costs nothing, and makes room for everything else.
                    [| bottomPlan version bottom |]

                let urgent, others = scores |> List.partition isUrgent
                yield! urgent |> Seq.map plansOfLevel
                yield! others |> Seq.sortByDescending (fun (_, score, _) -> score) |> Seq.map plansOfLevel
                yield! tablesDue options input quarantined |> Seq.map Array.singleton
            }

        let isFree (inTheWay: CompactionPlan list) (plan: CompactionPlan) =
            not (inTheWay |> List.exists (CompactionPlan.conflicts plan))

        let rec choose (inTheWay: CompactionPlan list) (choices: CompactionPlan[] list) =
            match choices with
            | [] -> None
            | plans :: others ->
                match Array.filter (isFree inTheWay) plans with
                | [||] when plans.Length = 0 -> choose inTheWay others
                | [||] -> choose (Array.minBy cost plans :: inTheWay) others
                | free -> Some(Array.minBy cost free)

        dropPlan input |> Option.orElseWith (fun () -> choose input.Running (List.ofSeq choices))
