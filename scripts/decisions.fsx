// Shows why a server compacted what it did: dotnet fsi scripts/decisions.fsx FOLDER
//
// A running store records each plan with all that it was chosen from. Planning is a pure function, so this script replays the records, decides
// again, and says whether today's engine decides the same. It works on the folder of a running server, or on a copy of the .decisions files alone.

#load "engine.fsx"

open System
open System.IO
open LsmFs.Engine
open Engine

let folder =
    match arguments with
    | [ folder ] -> folder
    | _ -> fail "usage: dotnet fsi scripts/decisions.fsx FOLDER"

let logs =
    storeFiles folder
    |> List.choose (function
        | StoreFile.Decisions number -> Some number
        | _ -> None)
    |> List.sort

if logs.IsEmpty then
    fail $"there is no decision log in {folder}: a store begins one with its first flush"

let because (reason: CompactionReason) : string =
    match reason with
    | CompactionReason.Flushed -> "all of it was declared dead by flush_all"
    | CompactionReason.Expired -> "all of it has expired and hides nothing"
    | CompactionReason.TombstonesOnly -> "nothing but tombstones, with nothing left to hide"
    | CompactionReason.LevelZeroFull -> "level 0 has so many tables that reads suffer"
    | CompactionReason.LevelOverTarget -> "the level holds more than its share"
    | CompactionReason.BottomFull -> "the bottom level is full, there is room for another one above it"
    | CompactionReason.TombstonesDue -> "tombstones hide too much"
    | CompactionReason.ExpiredDue -> "too much of a table has expired"
    | other -> string other

let clock (record: DecisionRecord) =
    DateTimeOffset.FromUnixTimeMilliseconds(record.TimeMilliseconds).ToString "yyyy-MM-dd HH:mm:ss.fff"

/// How full the levels were, from level 0 to the bottom: 1 and more is due.
let scores (options: Options) (input: PickingInput) : string =
    String.Join(
        ", ",
        [
            for level in 0 .. LevelScore.bottomLevel input.Version do
                let struct (score, _) = LevelScore.score options input level
                let tables = input.Version.Levels[level]
                $"L{level} %.2f{score} ({tables.Length} tables, {size (Version.levelSizeBytes input.Version level)})"
        ]
    )

let tableText (level: int, table: TableMeta) =
    let properties = table.Properties
    $"L{level} {table.Number}: {size table.SizeBytes}, {keyText properties.SmallestKey} to {keyText properties.LargestKey}"

let jobOf (step: ReplayStep) =
    match step.Record.Event with
    | Planned decision -> decision.Job
    | _ -> 0UL

let print (before: ReplayState) (step: ReplayStep) : unit =
    match step.Record.Event, step.Decision with
    | Opened(_, version, running), _ ->
        printfn
            $"{clock step.Record}  the log begins: {Seq.length (Version.tables version)} tables, {running.Length} jobs running"
    | Flushed(memtableBytes, _, writtenBytes, elapsed), _ ->
        printfn
            $"{clock step.Record}  flushed a memtable of {size memtableBytes} to a table of {size writtenBytes} in {elapsed} ms"
    | Planned _, ValueSome decision ->
        printfn $"{clock step.Record}  job {jobOf step}: {CompactionPlan.print decision.Plan}"
        printfn $"    why: {because decision.Plan.Reason}; scores: {scores before.Options decision.Input}"

        for input in Array.truncate 6 decision.Plan.Inputs do
            printfn $"    from {tableText input}"

        if decision.Plan.Inputs.Length > 6 then
            printfn $"    and {decision.Plan.Inputs.Length - 6} more tables"

        match decision.Verdict with
        | Same -> printfn "    today's engine decides the same"
        | Different None -> printfn "    DIFFERENT: today's engine would do nothing"
        | Different(Some today) -> printfn $"    DIFFERENT: today's engine would {CompactionPlan.print today}"
    | Ended job, _ when job.Outcome = JobOutcome.GivenUp ->
        printfn $"{clock step.Record}  job {job.Job} was given up; its tables are as they were"
    | Ended job, _ ->
        printfn
            $"{clock step.Record}  job {job.Job} done in {job.ElapsedMilliseconds} ms: read {size job.ReadBytes}, wrote {size job.WrittenBytes} in {job.TableCount} tables"
    | _ -> ()

let mutable planCount = 0
let mutable differentCount = 0

for number in logs do
    let name = FileName.ofFile (StoreFile.Decisions number)
    let steps = readFile (Path.Combine(folder, name)) |> DecisionReplay.replay number name |> sound
    printfn $"{name}: {steps.Length} records"
    // Each step with the state before it.
    for before, step in Seq.zip (Seq.append (Seq.truncate 1 steps) steps) steps do
        print before.State step

        match step.Decision with
        | ValueSome decision ->
            planCount <- planCount + 1

            if decision.Verdict <> Same then
                differentCount <- differentCount + 1
        | ValueNone -> ()

printfn
    $"{planCount} plans replayed, {planCount - differentCount} decided the same by today's engine, {differentCount} not"

exit (if differentCount = 0 then 0 else 2)
