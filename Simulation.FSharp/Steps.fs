namespace LsmFs.Simulation

open System
open LsmFs.Engine
open LsmFs.Host

/// Carries out steps, and what comes in between at file operations.
[<Sealed>]
type internal Steps(run: Run, clients: Clients) =
    /// The last sequence number in tables.
    let throughSequence () : uint64 =
        match run.Store with
        | ValueSome store ->
            Version.tables store.Current.Version
            |> Seq.fold (fun last (_, table) -> max last table.Properties.LargestSequence.Value) 0UL
        | ValueNone -> 0UL

    let work (work: StoreWork) : bool =
        let worked = run.Store.Value.TryRun work

        if worked && run.IsRunning() then
            match work with
            | StoreWork.Flush ->
                run.Statistics.Flushes <- run.Statistics.Flushes + 1L
                run.Tell(fun () -> "flushed")
                run.Model.Flushed(throughSequence ())
            | StoreWork.Compaction ->
                run.Statistics.Compactions <- run.Statistics.Compactions + 1L
                run.Tell(fun () -> "compacted")
            | _ -> ()

        worked

    /// Called by the store when a call of it waits.
    let idle () : unit =
        run.IdleCount <- run.IdleCount + 1
        run.Clock.Advance(TimeSpan.FromMilliseconds 5.0)
        run.Clock.RunTimers() |> ignore

        if run.IdleCount > 5000 then
            run.Fail "a call waits for ever"

    let flushAndWait () : unit =
        let faultsBefore = run.FaultCount
        run.IdleCount <- 0

        try
            run.Store.Value.Flush()
        with :? StoreException as refusal ->
            run.Tell(fun () -> refusal.Message)

            if faultsBefore = run.FaultCount && run.FaultCount = 0 && not run.IsSpaceLimited then
                run.Fail $"a flush was refused, and the disk has neither failed nor been full: {refusal.Message}"

    // ------------------------------------------------------------------------------------------- interrupts and faults

    let stop (loss: PowerLoss) : unit =
        run.Tell(fun () ->
            match loss with
            | Everything -> "the process is killed here"
            | _ -> $"the power is lost here, keeping {loss}")

        run.Statistics.StopsWithin <- run.Statistics.StopsWithin + 1L
        run.Down <- ValueSome loss
        run.Disk.Stop() |> ignore
        raise (MachineStoppedException())

    let inject (kind: FaultKind) (operation: DiskOperation) : DiskFault option =
        let fault = Schedule.faultAt kind operation

        if fault.IsSome then
            run.FaultCount <- run.FaultCount + 1

            run.Statistics.Fault(
                Schedule.fault (
                    match kind with
                    | FlippedBit _ -> FlippedBit 0
                    | kind -> kind
                )
            )

            run.Tell(fun () -> $"* {operation.Kind} {operation.File}: {Schedule.fault kind}")

            if operation.Kind = "sync" then
                run.HadSyncFault <- true

                run.HasDroppedLog <-
                    run.HasDroppedLog || (run.Schedule.Durability = Durability.Os && operation.File.EndsWith ".wal")

        fault

    let isNestable (action: StepAction) : bool =
        match action with
        | FlushAndWait
        | Reopen
        | Crash _
        | LimitSpace _
        | UnlimitSpace -> false
        | Submit _
        | Work _
        | Wait _ -> true
        | _ -> not run.IsClosing

    let rec perform (step: Step) : unit =
        run.Statistics.Steps <- run.Statistics.Steps + 1L
        run.Tell(fun () -> Schedule.action step.Action)

        match step.Action with
        | Submit(number, commands) -> clients.Submit number commands
        | Get key -> clients.Get key
        | StepAction.Scan -> clients.Scan()
        | Hold -> clients.Hold()
        | ReadHeld -> clients.ReadHeld()
        | Release -> clients.Release()
        | Work kind -> work kind |> ignore
        | FlushAndWait -> flushAndWait ()
        | Wait milliseconds ->
            run.Clock.Advance(TimeSpan.FromMilliseconds(float milliseconds))

            if run.Store.Value.Scheduler.MayRun StoreWork.Commit then
                run.Clock.RunTimers() |> ignore
        | LimitSpace bytes ->
            // What is taken now, from what would be free on a disk of any size.
            let size = 1L <<< 50
            run.Disk.CapacityBytes <- size
            run.Disk.CapacityBytes <- size - run.Disk.FreeBytes + int64 bytes
            run.IsSpaceLimited <- true
            run.IsReserveWhole <- run.IsReserveWhole && not run.Store.Value.DiskCondition.IsFull
        | UnlimitSpace -> run.Disk.CapacityBytes <- Int64.MaxValue
        | Reopen
        | Crash _ -> ()

    and within (interrupts: Interrupt list) (body: unit -> unit) : unit =
        let outer = run.Frame
        run.Frame <- Frame(interrupts, Some outer)

        try
            body ()
        finally
            run.Frame <- outer

    and nested (step: Step) : unit =
        if run.IsRunning() && isNestable step.Action then
            run.Statistics.Nested <- run.Statistics.Nested + 1L
            within step.Interrupts (fun () -> perform step)

            if not (run.IsRunning()) then
                raise (MachineStoppedException())

    /// One more moment of the step: before an operation, or after one.
    and moment (operation: DiskOperation) (isBefore: bool) : DiskFault option =
        let own = run.Frame
        own.Point <- own.Point + 1
        let mutable fault = None
        let mutable isLooking = true

        while isLooking do
            match own.Interrupts with
            | next :: rest when next.At <= own.Point ->
                own.Interrupts <- rest

                match next.Event with
                | Meanwhile steps ->
                    if run.Store.IsSome && not run.IsOpening then
                        run.Tell(fun () ->
                            let moment = if isBefore then "before" else "after"
                            $"  {moment} {operation.Kind} {operation.File}:")

                        List.iter nested steps
                | Fault(kind, times) -> own.Fault <- ValueSome(kind, times)
                | Stop loss ->
                    let moment = if isBefore then "before" else "after"
                    run.Tell(fun () -> $"  {moment} {operation.Kind} {operation.File}:")
                    stop loss
                | Slow milliseconds -> run.Clock.Advance(TimeSpan.FromMilliseconds(float milliseconds))
            | _ -> isLooking <- false

        if isBefore then
            match own.Fault with
            | ValueSome(kind, times) ->
                fault <- inject kind operation

                if fault.IsSome then
                    own.Fault <- (if times > 1 then ValueSome(kind, times - 1) else ValueNone)
            | ValueNone -> ()

        fault

    member _.ThroughSequence() : uint64 = throughSequence ()

    /// Has the store carry out a piece of work; whether it did.
    member _.Work(kind: StoreWork) : bool = work kind

    member _.Idle() : unit = idle ()
    member _.Perform(step: Step) : unit = perform step

    /// Carries out something, and the interrupts at its file operations.
    member _.Within (interrupts: Interrupt list) (body: unit -> unit) : unit = within interrupts body

    member _.Moment (operation: DiskOperation) (isBefore: bool) : DiskFault option = moment operation isBefore
