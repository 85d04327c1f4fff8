namespace LsmFs.Simulation

// Invariant: all that happens follows from the schedule: one thread, one clock, no chance but the salts of log files, which only checksums depend on.

open System
open LsmFs.Host

/// Carries a schedule out and judges what comes of it. One use.
[<Sealed>]
type internal Runner(schedule: Schedule, statistics: Statistics, trace: (string -> unit) option) =
    let run = Run(schedule, statistics, trace)
    let clients = Clients run
    let steps = Steps(run, clients)
    let lives = Lives(run, clients, steps)

    let step (step: Step) : unit =
        run.Check()

        match step.Action with
        | Crash loss ->
            run.Tell(fun () -> Schedule.action step.Action)
            lives.Crash loss step.Interrupts
        | Reopen ->
            run.Tell(fun () -> Schedule.action step.Action)
            lives.CloseAndOpen step.Interrupts false
        | _ ->
            try
                steps.Within step.Interrupts (fun () -> steps.Perform step)
            with :? MachineStoppedException ->
                ()

            run.Check()

            match run.Down with
            | ValueSome loss -> lives.Crash loss []
            | ValueNone -> ()

    let rec settle (rounds: int) : unit =
        if rounds = 0 then
            run.Fail "background work does not come to an end"

        if
            steps.Work StoreWork.Commit
            || steps.Work StoreWork.Flush
            || steps.Work StoreWork.Compaction
            || steps.Work StoreWork.Reclaim
        then
            settle (rounds - 1)

    let isPoisoned () =
        match run.Store.Value.Statistics.WriteRefusal with
        | null -> false
        | refusal -> refusal.Contains "restarted"

    /// Without faults everything comes to its end: writes are answered and accepted again, work is done, no file is left over.
    let finish () : unit =
        run.Tell(fun () -> "-- no more faults")
        run.Disk.CapacityBytes <- Int64.MaxValue

        if isPoisoned () then
            lives.CloseAndOpen [] false

        let mutable number = 1_000_000
        let mutable isAccepted = false
        let mutable rounds = 0

        while not isAccepted || run.Pending.Count > 0 do
            if not isAccepted && run.Pending.Count = 0 then
                let before = run.Statistics.Acknowledged
                number <- number + 2
                clients.Submit number [ Set(0, 10, 0) ]
                settle 1000
                isAccepted <- run.Pending.Count = 0 && run.Statistics.Acknowledged > before
                // What was refused for the fault of before is no failure of now.
            else
                settle 1000

            run.Clock.Advance(TimeSpan.FromMilliseconds 300.0)
            run.Clock.RunTimers() |> ignore
            rounds <- rounds + 1

            if rounds > 100 then
                run.Fail(
                    if run.Pending.Count > 0 then
                        "writes are never answered"
                    else
                        $"writes never come back: {run.Store.Value.Statistics.WriteRefusal}"
                )

        run.Check()
        lives.CloseAndOpen [] true
        settle 1000
        clients.Scan()

        match lives.Leaked true with
        | [] -> ()
        | files -> run.Fail $"""when all work is done, nothing refers to {String.concat ", " files}"""

        lives.CloseAndOpen [] true
        let last = run.Model.Current
        steps.Within [] (fun () -> lives.Close true)
        run.Check()
        lives.Restart NothingUnsynced [ last ] []
        steps.Within [] (fun () -> lives.Close true)
        run.Check()

    /// Carries the schedule out; the promise that was broken, if one was.
    member _.Run() : string option =
        try
            try
                lives.OpenStore [] [ Contents.empty ]
                List.iter step schedule.Steps
                finish ()
                None
            with
            | SimulationFailed message -> Some message
            | error when run.Failure.IsNone -> Some $"an unexpected error: {error}"
            | _ -> run.Failure
        finally
            statistics.Seeds <- statistics.Seeds + 1
