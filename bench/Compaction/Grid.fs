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

    /// `trigger`: tables that make level 0 due, as `Options` has it; `levelOne`: memtables in level 1; `share`: tables to a memtable.
    let private policy (trigger: int) (levelOne: int64) (multiplier: int) (share: int64) (aligned: float) : Policy =
        let adjust (options: Options) = {
            options with
                LevelZeroTableCountTrigger = trigger
                LevelZeroTableCountMax = max options.LevelZeroTableCountMax (trigger * 2)
                LevelOneSizeBytes = options.LevelOneSizeBytes * levelOne / 8L
                LevelSizeMultiplier = multiplier
                TableSizeBytes = options.TableSizeBytes / share
        }

        Policy.engine $"level 0 %d{trigger}, level 1 %d{levelOne}, x%d{multiplier}, 1/%d{share}, %.1f{aligned}" adjust options |> fun policy -> { policy with AlignedShare = aligned }

    /// A table of bytes written and space under uniform overwrites of a store of so many memtables.
    let report (triggers: int list) (memtables: int) : unit =
        let workload = Workload.all (memtables * int memtableEntries) |> List.head
        printfn "| policy | write | space | peak | asked | runs | largest job | stalled | s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"

        for trigger in triggers do
            for levelOne in [ 8L ] do
                for multiplier in [ 8; 10; 12; 16 ] do
                    for share, aligned in [ 1L, 1.0; 1L, 0.3; 1L, 0.5; 1L, 0.7; 2L, 1.0; 2L, 0.5 ] do
                        let started = Stopwatch.GetTimestamp()
                        let policy = policy trigger levelOne multiplier share aligned
                        let result = Simulation.run options policy workload

                        printfn
                            $"| {policy.Name} | %.2f{result.WriteAmplification} | %.3f{result.SpaceMean} | %.3f{result.SpacePeak} | %.1f{result.TablesAsked} | %.1f{result.Runs} | %.0f{result.LargestJob} | %.0f{result.StalledShare * 100.0}%% | %.1f{Stopwatch.GetElapsedTime(started).TotalSeconds} |"
