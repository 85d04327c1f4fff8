namespace LsmFs.CompactionBench

open System
open System.Collections.Generic
open LsmFs.Engine

/// Throughput over simulated time, when more is offered than compaction can take.
type Steadiness = {
    /// Bytes a second that clients offer, and that a compaction reads and writes.
    OfferedBytes: float
    CompactedBytes: float
    /// Of the throughput of each second, in bytes.
    Median: float
    Slowest: float
    /// The longest time between two writes, in milliseconds.
    LongestPauseMilliseconds: float
    /// Bytes in tables for each live byte, at the most.
    SpacePeak: float
    LevelZeroPeak: int
    /// The part of the time in which writes stood still at a bound.
    StoppedShare: float
}

/// Writes as fast as the engine's `Pacing` lets them go, beside one compaction at a time, on a clock of bytes.
[<RequireQualifiedAccess>]
module Steady =

    /// A written byte here stands for so many of the store that is simulated.
    let private scale (options: Options) : float =
        float (Options.ofBudget (64L <<< 20)).MemtableSizeBytes / float options.MemtableSizeBytes

    /// Writes between two looks at the debt, as in a group commit.
    [<Literal>]
    let private groupSize = 8

    let run (options: Options) (isPaced: bool) (offered: float) (compacted: float) (workload: Workload) : Steadiness =
        let scale = scale options
        let store = SimulatedStore(options, Policy.engine "steady" id options, options.LevelCount)
        let next = workload.Make()
        let memtable = SortedDictionary<int, int>()
        let seconds = List<float>()
        let live = HashSet<int>()
        let mutable spacePeak = 0.0
        let mutable memtableBytes = 0L
        let mutable clock = 0.0
        let mutable stopped = 0.0
        let mutable longestPause = 0.0
        let mutable owedBytes = 0.0
        let mutable measuredFrom = 0.0
        let mutable known = struct (Version.empty 1, Unchecked.defaultof<CompactionDebt>)

        let debt () =
            let struct (version, debt) = known

            if obj.ReferenceEquals(version, store.Version) then
                debt
            else
                let debt = Pacing.debtOf options store.Version []
                known <- struct (store.Version, debt)
                debt

        let fill () = float memtableBytes / float options.MemtableSizeBytes

        /// Time passes, and compaction goes on meanwhile.
        let pass (elapsed: float) =
            clock <- clock + elapsed
            owedBytes <- owedBytes + elapsed * compacted / scale

            if owedBytes >= 1.0 then
                let left = store.Compact (int clock) (int64 owedBytes)
                // What compaction has not used it cannot use later.
                owedBytes <- if left > 0L then 0.0 else owedBytes - Math.Floor owedBytes

        for write in 0 .. workload.WriteCount - 1 do
            if write = workload.WarmUpCount then
                measuredFrom <- Math.Ceiling clock
                stopped <- 0.0
                longestPause <- 0.0
                spacePeak <- 0.0
                store.ForgetCounters()

            let struct (key, mark) = next write (int clock)
            memtable[key] <- mark
            live.Add key |> ignore
            let bytes = SortedRun.entryBytes mark
            memtableBytes <- memtableBytes + bytes

            if write % groupSize = 0 then
                let before = clock
                let group = float bytes * float groupSize * scale
                pass (group / offered)

                if isPaced then
                    let pace = Pacing.pace options (debt ()) 0 (fill ())
                    pass (Pacing.pauseNanoseconds pace (int64 group) / 1e9)

                while Pacing.pressure options (debt ()) 0 (fill ()) <> WritePressure.None do
                    pass 0.001
                    stopped <- stopped + 0.001

                longestPause <- max longestPause (clock - before)

            while seconds.Count <= int clock do
                seconds.Add 0.0

            seconds[int clock] <- seconds[int clock] + float bytes * scale

            if memtableBytes >= options.MemtableSizeBytes then
                store.Flush (int clock) { Keys = Array.ofSeq memtable.Keys; Marks = Array.ofSeq memtable.Values }

                let tableBytes = Version.tables store.Version |> Seq.sumBy (fun (_, table) -> table.SizeBytes)
                spacePeak <- max spacePeak (float tableBytes / float (int64 live.Count * bytes))
                memtable.Clear()
                memtableBytes <- 0L

        // The last second is not whole.
        let measured =
            seconds.GetRange(int measuredFrom, seconds.Count - 1 - int measuredFrom).ToArray() |> Array.sort

        {
            OfferedBytes = offered
            CompactedBytes = compacted
            Median = measured[measured.Length / 2]
            Slowest = measured[0]
            LongestPauseMilliseconds = longestPause * 1000.0
            SpacePeak = spacePeak
            LevelZeroPeak = store.LevelZeroPeak
            StoppedShare = stopped / (clock - measuredFrom)
        }

    /// The table of a run for each speed of a disk, slowed smoothly and not.
    let report (options: Options) (workload: Workload) : unit =
        printfn "\nsteady: %s\n" workload.Name

        printfn
            "| offered MB/s | compaction MB/s | writes | median MB/s | slowest second | longest pause | space | level 0 | stopped |"

        printfn "|--:|--:|---|--:|--:|--:|--:|--:|--:|"

        for offered, compacted in [ 50e6, 400e6; 50e6, 200e6; 50e6, 100e6; 20e6, 200e6; 10e6, 200e6 ] do
            for isPaced in [ true; false ] do
                let result = run options isPaced offered compacted workload

                let writes = if isPaced then "slowed" else "stopped"
                let slowest = result.Slowest / max 1.0 result.Median * 100.0

                printfn
                    $"| %.0f{offered / 1e6} | %.0f{compacted / 1e6} | {writes} | %.1f{result.Median / 1e6} | %.0f{slowest}%% | %.0f{result.LongestPauseMilliseconds} ms | %.2f{result.SpacePeak} | {result.LevelZeroPeak} | %.0f{result.StoppedShare * 100.0}%% |"
