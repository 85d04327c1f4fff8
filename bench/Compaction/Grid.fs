namespace LsmFs.CompactionBench

open System.Diagnostics
open LsmFs.Engine

/// Parameters of the engine's own policy against each other, in a store as many memtables large as the one that is measured beside RocksDB.
[<RequireQualifiedAccess>]
module Grid =

    /// Entries of a memtable. In a real one each takes a third more than in a table, so tables and level 1 hold a third more of them.
    [<Literal>]
    let private memtableEntries = 1000L

    let private options =
        let real = Options.ofBudget (256L <<< 20)
        let entry = SortedRun.entryBytes SortedRun.lasting
        let scaled (bytes: int64) = bytes * memtableEntries * entry * 4L / 3L / real.MemtableSizeBytes

        {
            real with
                MemtableSizeBytes = memtableEntries * entry
                TableSizeBytes = scaled real.TableSizeBytes
                LevelOneSizeBytes = scaled real.LevelOneSizeBytes
        }

    /// `trigger`: tables that make level 0 due; `share`: tables to a memtable; `aligned`: from which part of a table's size on one ends at a border of the level below.
    let private policy (trigger: int) (multiplier: int) (share: int64) (aligned: float) : Policy =
        let adjust (options: Options) = {
            options with
                LevelZeroTableCountTrigger = trigger
                LevelZeroTableCountMax = max options.LevelZeroTableCountMax (trigger * 2)
                LevelSizeMultiplier = multiplier
                TableSizeBytes = options.TableSizeBytes / share
        }

        {
            Policy.engine $"level 0 %d{trigger}, x%d{multiplier}, 1/%d{share}, %.1f{aligned}" adjust options with
                AlignedShare = aligned
        }

    /// A table of bytes written and space under uniform overwrites of a store of so many memtables.
    let report (triggers: int list) (memtables: int) : unit =
        let workload = Workload.all (memtables * int memtableEntries) |> List.head

        printfn
            "| policy | write | space | peak | asked | runs | largest job | stalled | s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"

        for trigger in triggers do
            for multiplier in [ 8; 10; 12; 16 ] do
                for share, aligned in [ 1L, 1.0; 1L, 0.3; 1L, 0.5; 1L, 0.7; 2L, 1.0; 2L, 0.5 ] do
                    let started = Stopwatch.GetTimestamp()
                    let policy = policy trigger multiplier share aligned
                    let result = Simulation.run options policy workload
                    let stalled = result.StalledShare * 100.0
                    let seconds = Stopwatch.GetElapsedTime(started).TotalSeconds
                    printf $"| {policy.Name} | %.2f{result.WriteAmplification} | %.3f{result.SpaceMean} "
                    printf $"| %.3f{result.SpacePeak} | %.1f{result.TablesAsked} | %.1f{result.Runs} "
                    printfn $"| %.0f{result.LargestJob} | %.0f{stalled}%% | %.1f{seconds} |"
