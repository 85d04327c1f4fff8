namespace LsmFs.Simulation

// Invariants
// 1. All that happens follows from the workload and the schedule: one thread, one clock, no chance but the salts of log files, which only checksums depend on.
// 2. A step that the history calls acknowledged has returned while the machine ran. Of the others nothing is known but that they took place whole or not at all,
//    as far as each of their batches goes.
// 3. The store is checked only while the disk does what it is told, so that what a check throws is a broken promise.

open System
open System.IO
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Host

/// Carries a schedule out. One use.
[<Sealed>]
type internal WorkloadRun<'step>(workload: Workload<'step>, tell: string -> unit) =
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
