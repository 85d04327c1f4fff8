namespace LsmFs.Simulation

open System
open LsmFs.Engine
open LsmFs.Host

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
