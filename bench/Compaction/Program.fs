module LsmFs.CompactionBench.Program

open System
open System.Diagnostics
open LsmFs.Engine

/// A store whose memtable holds 500 values: the proportions of a memory budget, each byte of it a hundredth of a percent or less.
let private standard =
    let memtable = 500L * SortedRun.entryBytes SortedRun.lasting
    let real = Options.ofBudget (64L <<< 20)
    let scaled (bytes: int64) = bytes * memtable / real.MemtableSizeBytes

    {
        real with
            MemtableSizeBytes = memtable
            TableSizeBytes = scaled real.TableSizeBytes
            LevelOneSizeBytes = scaled real.LevelOneSizeBytes
    }

let private row (policy: Policy) (result: Measurement) : string =
    String.Join(
        " | ",
        [
            $"| {policy.Name, -24}"
            $"%5.1f{result.WriteAmplification}"
            $"%5.2f{result.SpaceMean}"
            $"%5.2f{result.SpacePeak}"
            $"%5.1f{result.TablesAsked}"
            $"%5.2f{result.TablesRead}"
            $"%5.1f{result.Runs}"
            $"%5.0f{result.LargestJob}"
            $"%4d{result.LevelZeroPeak}"
            $"%4.0f{result.StalledShare * 100.0}%% |"
        ]
    )

/// `dotnet run -c Release --project bench/Compaction -- [workload ...] [--only policy, or a part of names] [--keys count]`, `steady` for throughput
/// over time, or `grid [--triggers 8,12] [--memtables 84]` for the engine's own policy with other parameters. `--trigger count` and `--multiplier count`
/// are for all but `grid`.
[<EntryPoint>]
let main argv =
    let optional (name: string) (otherwise: string) =
        match argv |> Array.tryFindIndex ((=) name) with
        | Some index when index + 1 < argv.Length -> argv[index + 1]
        | _ -> otherwise

    let options = {
        standard with
            LevelZeroTableCountTrigger = int (optional "--trigger" $"%d{standard.LevelZeroTableCountTrigger}")
            LevelSizeMultiplier = int (optional "--multiplier" $"%d{standard.LevelSizeMultiplier}")
    }

    let only = optional "--only" ""
    let every = Workload.all (int (optional "--keys" "300000"))

    let workloads =
        match every |> List.filter (fun workload -> Array.contains workload.Name argv) with
        | [] -> every
        | named -> named

    let policies =
        match Policy.all options |> List.filter (fun policy -> policy.Name = only) with
        | [] -> Policy.all options |> List.filter (fun policy -> policy.Name.Contains only)
        | exact -> exact

    let isSteady = Array.contains "steady" argv

    let isGrid = Array.contains "grid" argv

    if isGrid then
        let triggers = (optional "--triggers" "4,8,12").Split ',' |> Array.map int |> List.ofArray
        Grid.report triggers (int (optional "--memtables" "84"))

    if isSteady then
        Steady.report options workloads.Head

    for workload in (if isSteady || isGrid then [] else workloads) do
        printfn $"\n{workload.Name}\n"
        printfn "| policy | write | space | peak | asked | read | runs | largest job | level 0 | stalled |"
        printfn "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"

        for policy in policies do
            let started = Stopwatch.GetTimestamp()
            printf $"{row policy (Simulation.run options policy workload)}"
            printfn $"   %.1f{Stopwatch.GetElapsedTime(started).TotalSeconds} s"

    0
