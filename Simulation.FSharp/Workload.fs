namespace LsmFs.Simulation

// Invariants
// 1. All that happens follows from the workload and the schedule: one thread, one clock, no chance but the salts of log files, which only checksums depend on.
// 2. A step that the history calls acknowledged has returned while the machine ran. Of the others nothing is known but that they took place whole or not at all,
//    as far as each of their batches goes.
// 3. The store is checked only while the disk does what it is told, so that what a check throws is a broken promise.

open System
open System.IO
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host

/// A step of a workload that lies behind, for its check.
type PastStep<'step> = {
    Step: 'step
    /// Whether it returned: then its writes are there for good. Otherwise the machine stopped in it, or the store refused it for a failing disk, and each of its
    /// batches is there whole or not at all.
    IsAcknowledged: bool
}

/// What goes wrong in an action, at its file operations, counted from 1.
type Disturbance =
    /// The process or the power ends before an operation.
    | StopsBefore of operation: int * loss: PowerLoss
    /// It ends after one.
    | StopsAfter of operation: int * loss: PowerLoss
    /// From an operation on so many of those fail to which the fault means something.
    | FailsFrom of operation: int * fault: FaultKind * times: int

/// What is done next.
[<RequireQualifiedAccess>]
type WorkloadAction<'step> =
    | Step of step: 'step
    /// A piece of the store's own work.
    | Work of work: StoreWork
    | Wait of milliseconds: int
    | Reopen
    | Crash of loss: PowerLoss

/// An action, and what goes wrong in it.
type WorkloadEvent<'step> = { Action: WorkloadAction<'step>; Disturbance: Disturbance option }

/// A check that did not hold, and how to see it again.
type WorkloadFailure<'step> = {
    Seed: int
    Message: string
    /// The smallest schedule found that fails.
    Schedule: WorkloadEvent<'step> list
    /// What happened in it, line by line.
    Trace: string list
} with

    override failure.ToString() =
        let lines = failure.Trace |> List.map (fun line -> $"\n  {line}") |> String.concat ""
        $"seed {failure.Seed}: {failure.Message}; made smaller:{lines}"

/// A workload has failed: the message tells its seed, what is wrong, and what happened.
[<Sealed>]
type WorkloadFailedException(message: string) =
    inherit Exception(message)

/// A test of your own of what you do with a store: steps at random, on a simulated machine whose process is killed, whose power is cut and whose disk fails in their middle, and a check of
/// what must hold whenever the store is open again. Inherit it, and call `Workload.verify` from a test.
///
/// `Run` is called many times with the same steps, so what it does may depend on the store and the step alone. The store has small sizes and no threads: a few
/// hundred bytes reach its tables, and everything happens on the thread of the caller.
[<AbstractClass>]
type Workload<'step>() =

    /// The next step, by chance.
    abstract Next: random: Random -> 'step

    /// Carries a step out. What the store throws it should let pass; what else it throws is a failure.
    abstract Run: store: Store * step: 'step -> unit

    /// Looks at a store that was just opened, and once more in the end; `past` are the steps until then, oldest first. What it throws, an assertion of any test framework or something else, is a
    /// failure.
    abstract Check: store: Store * past: PastStep<'step> list -> unit

    /// What the store promises. Under `Sync` the process is killed and the power is cut; under `Os` the process is killed; under `Memory`, which promises nothing then, the store is closed and opened, and
    /// its disk does not fail.
    abstract Durability: Durability
    default _.Durability = Durability.Sync

    /// The sizes of the store.
    abstract Sizes: Options
    default _.Sizes = SimulatedMachine.SmallSizes

    /// How many steps there are in a run, at most.
    abstract StepCountMax: int
    default _.StepCountMax = 60

    /// Whether file operations fail at times, with EIO, ENOSPC or EROFS, so that the store refuses steps.
    abstract HasDiskFaults: bool
    default _.HasDiskFaults = true

    /// What becomes of an operation beyond that, of a disk that is worse than a disk may be (`SyncIgnored`). It may depend on the operation alone.
    abstract FaultOf: operation: DiskOperation -> DiskFault option
    default _.FaultOf _ = None

    /// A step in a trace.
    abstract Describe: step: 'step -> string
    default _.Describe step = $"%A{step}"

/// Carries a schedule out. One use.
[<Sealed>]
type private WorkloadRun<'step>(workload: Workload<'step>, tell: string -> unit) =
    let machine = SimulatedMachine()
    let mutable store: Store voption = ValueNone
    // Newest first.
    let mutable past: PastStep<'step> list = []
    let mutable disturbance: Disturbance option = None
    let mutable operationCount = 0
    let mutable down: PowerLoss voption = ValueNone
    // Since the store was opened.
    let mutable faultCount = 0
    let mutable idleCount = 0
    // In a row.
    let mutable refusalCount = 0

    let fail (message: string) : 'result =
        tell $"!! {message}"
        raise (WorkloadFailedException message)

    let lossText (loss: PowerLoss) : string =
        match loss with
        | Everything -> "the process is killed"
        | _ -> $"the power is lost, keeping {loss}"

    let stop (moment: string) (operation: DiskOperation) (loss: PowerLoss) : unit =
        tell $"  {moment} {operation.Kind} {operation.File} {lossText loss}"
        down <- ValueSome loss
        machine.Disk.Stop() |> ignore
        raise (MachineStoppedException())

    let before (operation: DiskOperation) : DiskFault option =
        operationCount <- operationCount + 1

        let fault =
            match disturbance with
            | Some(StopsBefore(at, loss)) when at = operationCount ->
                stop "before" operation loss
                None
            | Some(FailsFrom(at, kind, times)) when at <= operationCount ->
                let fault = Schedule.faultAt kind operation

                if fault.IsSome then
                    tell $"  {operation.Kind} {operation.File}: {Schedule.fault kind}"

                    disturbance <-
                        (if times > 1 then
                             Some(FailsFrom(at, kind, times - 1))
                         else
                             None)

                fault
            | _ -> None

        let fault = fault |> Option.orElseWith (fun () -> workload.FaultOf operation)

        match fault with
        | None
        | Some SyncIgnored -> ()
        | Some _ -> faultCount <- faultCount + 1

        fault

    let after (operation: DiskOperation) : unit =
        match disturbance with
        | Some(StopsAfter(at, loss)) when at = operationCount -> stop "after" operation loss
        | _ -> ()

    let idle () : unit =
        idleCount <- idleCount + 1
        machine.Clock.Advance(TimeSpan.FromMilliseconds 5.0)
        machine.Clock.RunTimers() |> ignore

        if idleCount > 5000 then
            fail "a call waits for ever"

    let disturbed (by: Disturbance option) (body: unit -> 'result) : 'result =
        disturbance <- by
        operationCount <- 0
        idleCount <- 0

        try
            body ()
        finally
            disturbance <- None

    /// Whether the store may throw this: the machine has stopped, or its disk has failed.
    let isExcused (error: exn) : bool =
        down.IsSome
        || (faultCount > 0
            && (match error with
                | :? StoreException
                | :? IOException -> true
                | _ -> false))

    let check () : unit =
        try
            workload.Check(store.Value, List.rev past)
        with error ->
            fail error.Message

    let rec openStore (by: Disturbance option) : unit =
        machine.Disk.Inject before
        machine.Disk.Completed after
        faultCount <- 0

        let options =
            SimulatedMachine.OptionsOn(machine.Disk, machine.Clock, workload.Durability, workload.Sizes, idle)

        try
            disturbed by (fun () -> store <- ValueSome(Store.Open(options, NullLogger.Instance)))
        with
        | error when isExcused error ->
            if down.IsNone then
                tell $"  does not open: {error.Message}"
                refusalCount <- refusalCount + 1

                // Only `FaultOf` can go on failing.
                if refusalCount = 20 then
                    fail $"the store does not open: {error.Message}"
        | error -> fail $"the store does not open: {error.Message}"

        match down with
        | ValueSome loss -> restart loss None
        | ValueNone when store.IsNone -> restart Everything None
        | ValueNone ->
            tell "  open"
            refusalCount <- 0
            check ()

    /// Starts the machine again, and opens the store.
    and restart (loss: PowerLoss) (by: Disturbance option) : unit =
        store <- ValueNone
        down <- ValueNone
        machine.Crash loss
        openStore by

    let reopen (by: Disturbance option) : unit =
        try
            disturbed by (fun () -> store.Value.Dispose())
        with
        | error when isExcused error ->
            if down.IsNone then
                tell $"  closing fails: {error.Message}"
        | error -> fail $"the store does not close: {error.Message}"

        // The process has ended, well or not.
        restart (ValueOption.defaultValue Everything down) None

    let step (step: 'step) (by: Disturbance option) : unit =
        let isReturned =
            try
                disturbed by (fun () -> workload.Run(store.Value, step))
                true
            with
            | error when isExcused error ->
                if down.IsNone then
                    tell $"  {error.Message}"

                false
            | error -> fail error.Message

        past <- { Step = step; IsAcknowledged = isReturned && down.IsNone } :: past

    let work (work: StoreWork) (by: Disturbance option) : unit =
        try
            disturbed by (fun () -> store.Value.TryRun work |> ignore)
        with error when isExcused error ->
            ()

    let perform (event: WorkloadEvent<'step>) : unit =
        match event.Action with
        | WorkloadAction.Step taken ->
            tell (workload.Describe taken)
            step taken event.Disturbance
        | WorkloadAction.Work kind ->
            tell (Schedule.action (Work kind))
            work kind event.Disturbance
        | WorkloadAction.Wait milliseconds ->
            tell (Schedule.action (Wait milliseconds))
            machine.Clock.Advance(TimeSpan.FromMilliseconds(float milliseconds))
            disturbed event.Disturbance (fun () -> machine.Clock.RunTimers() |> ignore)
        | WorkloadAction.Reopen ->
            tell (Schedule.action Reopen)
            reopen event.Disturbance
        | WorkloadAction.Crash loss ->
            tell (lossText loss)
            restart loss event.Disturbance

        match down with
        | ValueSome loss -> restart loss None
        | ValueNone -> ()

    member _.Run(schedule: WorkloadEvent<'step> list) : string option =
        try
            openStore None
            List.iter perform schedule
            tell "in the end"
            check ()
            reopen None
            store.Value.Dispose()
            None
        with :? WorkloadFailedException as failure ->
            Some failure.Message

/// Runs workloads.
[<RequireQualifiedAccess>]
module Workload =

    let private losses (durability: Durability) : (Random -> PowerLoss)[] =
        match durability with
        | Durability.Sync -> [|
            fun _ -> Everything
            fun _ -> NothingUnsynced
            fun _ -> NamesOnly
            fun random -> AnyPrefix(random.Next 1000)
            fun random -> AnyMixture(random.Next 1000)
          |]
        | Durability.Os -> [| fun _ -> Everything |]
        | _ -> [||]

    /// The schedule of a seed.
    let schedule (workload: Workload<'step>) (seed: int) : WorkloadEvent<'step> list =
        let random = Random seed
        let losses = losses workload.Durability
        let canCrash = losses.Length > 0
        // Every seed has its own mixture, so that what it leaves out does not get in the way of the rest.
        let weight (most: int) = if random.Next 4 = 0 then 0 else 1 + random.Next most
        let loss () = (Generate.pick random losses) random
        let crashes = if canCrash then weight 8 else 0
        let reopens = weight 6
        let flushes = weight 20
        let compactions = weight 20
        let waits = weight 5
        let stopPercent = if canCrash then weight 20 else 0

        let faultPercent =
            if canCrash && workload.HasDiskFaults && random.Next 2 = 0 then
                weight 20
            else
                0

        let disturbance () =
            if random.Next 100 < stopPercent then
                let at = Generate.point random

                Some(
                    if random.Next 2 = 0 then
                        StopsBefore(at, loss ())
                    else
                        StopsAfter(at, loss ())
                )
            elif random.Next 100 < faultPercent then
                let kind = Generate.pick random [| InputOutputError; OutOfSpace; ReadOnlyError; DoneButReportedFailed |]

                Some(FailsFrom(Generate.point random, kind, 1 + random.Next 3))
            else
                None

        let action () =
            let mutable left = random.Next(60 + crashes + reopens + flushes + compactions + waits)

            let isChosen (weight: int) =
                left <- left - weight
                left < 0

            if isChosen crashes then
                WorkloadAction.Crash(loss ())
            elif isChosen reopens then
                WorkloadAction.Reopen
            elif isChosen flushes then
                WorkloadAction.Work StoreWork.Flush
            elif isChosen compactions then
                WorkloadAction.Work StoreWork.Compaction
            elif isChosen waits then
                WorkloadAction.Wait(random.Next 2000)
            else
                WorkloadAction.Step(workload.Next random)

        List.init (1 + random.Next workload.StepCountMax) (fun _ -> {
            Action = action ()
            Disturbance = disturbance ()
        })

    /// Carries a schedule out; what is wrong, if something is.
    let run (workload: Workload<'step>) (schedule: WorkloadEvent<'step> list) : string option =
        WorkloadRun(workload, ignore).Run schedule

    /// Carries a schedule out, and tells what happens.
    let trace (workload: Workload<'step>) (schedule: WorkloadEvent<'step> list) : string list =
        let lines = ResizeArray<string>()
        WorkloadRun(workload, lines.Add).Run schedule |> ignore
        List.ofSeq lines

    let private smaller (schedule: WorkloadEvent<'step> list) : WorkloadEvent<'step> list seq =
        let milder (event: WorkloadEvent<'step>) = [
            match event.Disturbance with
            | Some disturbance ->
                { event with Disturbance = None }

                match disturbance with
                | StopsBefore(at, loss) when loss <> Everything && loss <> NothingUnsynced -> {
                    event with
                        Disturbance = Some(StopsBefore(at, NothingUnsynced))
                  }
                | StopsAfter(at, loss) when loss <> Everything && loss <> NothingUnsynced -> {
                    event with
                        Disturbance = Some(StopsAfter(at, NothingUnsynced))
                  }
                | FailsFrom(at, fault, times) when times > 1 -> {
                    event with
                        Disturbance = Some(FailsFrom(at, fault, 1))
                  }
                | _ -> ()
            | None -> ()

            match event.Action with
            | WorkloadAction.Crash loss when loss <> Everything && loss <> NothingUnsynced -> {
                event with
                    Action = WorkloadAction.Crash NothingUnsynced
              }
            | _ -> ()
        ]

        seq {
            yield! Shrink.parts schedule

            for index in 0 .. schedule.Length - 1 do
                for event in milder schedule[index] do
                    List.updateAt index event schedule
        }

    /// Runs seeds from one on; the first that fails, made as small as it can be, if one does. A seed takes some milliseconds with steps of a few writes.
    let find (workload: Workload<'step>) (firstSeed: int) (seedCount: int) : WorkloadFailure<'step> option =
        Seq.init seedCount (fun index -> firstSeed + index)
        |> Seq.tryPick (fun seed ->
            let schedule = schedule workload seed

            run workload schedule
            |> Option.map (fun message ->
                let fails (schedule: WorkloadEvent<'step> list) = (run workload schedule).IsSome
                let smallest = Shrink.search 2000 smaller fails schedule

                {
                    Seed = seed
                    Message = run workload smallest |> Option.defaultValue message
                    Schedule = smallest
                    Trace = trace workload smallest
                }))

    /// Runs seeds from one on. Throws `WorkloadFailedException` with the trace of the first that fails.
    let verify (workload: Workload<'step>) (firstSeed: int) (seedCount: int) : unit =
        match find workload firstSeed seedCount with
        | Some failure -> raise (WorkloadFailedException(string failure))
        | None -> ()
