namespace LsmFs.Simulation

open System
open System.Diagnostics

/// A broken promise, and how to see it again.
type SimulationFailure = {
    Seed: int
    Message: string
    /// The smallest schedule found that breaks a promise.
    Schedule: Schedule
    /// What happened in it, line by line.
    Trace: string list
}

/// Simulations of LsmFs's own store: random schedules of clients, background work, faults and crashes, judged by a model of what was acknowledged.
[<RequireQualifiedAccess>]
module Simulator =

    /// Carries out one schedule; the promise that it breaks, if it does.
    let run (statistics: Statistics) (schedule: Schedule) : string option = Runner(schedule, statistics, None).Run()

    /// Carries out one schedule, and tells what happens.
    let trace (schedule: Schedule) : string list =
        let lines = ResizeArray<string>()
        Runner(schedule, Statistics(), Some lines.Add).Run() |> ignore
        List.ofSeq lines

    /// Makes the schedule of a failing seed small and tells what happens in it.
    let explain (seed: int) (message: string) : SimulationFailure =
        let fails (schedule: Schedule) = (run (Statistics()) schedule).IsSome
        let smallest = Shrink.smallest 3000 fails (Generate.schedule seed)

        {
            Seed = seed
            Message = run (Statistics()) smallest |> Option.defaultValue message
            Schedule = smallest
            Trace = trace smallest
        }

    /// Runs seeds from one on until a number of them or a time is over; the first that fails, if one does. `progress` is told of every seed that went well.
    let runSeeds
        (statistics: Statistics)
        (firstSeed: int)
        (seedCount: int)
        (time: TimeSpan)
        (progress: unit -> unit)
        : (int * string) option =
        let watch = Stopwatch.StartNew()

        let rec go (seed: int) =
            if seed - firstSeed >= seedCount || watch.Elapsed >= time then
                None
            else
                match run statistics (Generate.schedule seed) with
                | Some message -> Some(seed, message)
                | None ->
                    progress ()
                    go (seed + 1)

        go firstSeed
