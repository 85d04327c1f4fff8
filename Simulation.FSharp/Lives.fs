namespace LsmFs.Simulation

open System
open System.Collections.Generic
open System.IO
open System.Text
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host

/// Opens and closes the store, stops the machine, and judges what is found afterwards.
[<Sealed>]
type internal Lives(run: Run, clients: Clients, steps: Steps) =
    let options () = SimulatedMachine.OptionsOn(run.Disk, run.Clock, run.Schedule.Durability, run.Sizes, steps.Idle)

    let attach () : unit =
        run.Disk.Inject(fun operation ->
            run.Statistics.Operations <- run.Statistics.Operations + 1L

            if run.IsRunning() then
                steps.Moment operation true
            else
                None)

        run.Disk.Completed(fun operation ->
            if run.IsRunning() then
                steps.Moment operation false |> ignore)

    let forget () : unit =
        run.Store <- ValueNone
        run.Reader <- ValueNone
        run.Held.Clear()
        run.Executing.Clear()
        run.Pending.Clear()
        run.Clock.DropTimers()

    /// What a store that was just opened holds.
    let read () : Map<int, Item> =
        use snapshot = run.Store.Value.CreateSnapshot()
        let scanned = clients.ScanOf snapshot

        for key in 0 .. run.Schedule.KeyCount - 1 do
            match clients.TryFind key with
            | Ok found when found <> (Map.tryFind key scanned) ->
                let other = Map.tryFind key scanned
                run.Fail $"get {key} found {Item.describe found}, a scan {Item.describe other}"
            | Ok _ -> ()
            | Error() -> run.Fail $"key {key} cannot be read after opening"

        scanned

    /// The files that an open store has and may not have.
    let leaked (isSettled: bool) : string list =
        let snapshot = run.Store.Value.Current

        let live =
            Version.tables snapshot.Version |> Seq.map (fun (_, table) -> table.Number.Value) |> Set.ofSeq

        let oldestLog = (Snapshot.oldestLog snapshot).Value
        let names = run.Disk.Image.Names
        let manifests = names |> List.filter _.StartsWith("MANIFEST-")
        let current = Encoding.ASCII.GetString(run.Disk.Image.Read "CURRENT").TrimEnd '\n'

        [
            yield! manifests |> List.filter ((<>) current)

            for name in names do
                match FileName.tryParse name with
                | Some(StoreFile.Table number) when not (live.Contains number.Value) -> name
                | Some(StoreFile.Log number) when number.Value < oldestLog -> name
                | Some(StoreFile.Log number) when isSettled && number <> snapshot.ActiveLog -> name
                | Some StoreFile.Temporary -> name
                | _ -> ()
        ]

    /// Opens the store, however often it is stopped meanwhile, and judges what it holds.
    let rec openStore (interrupts: Interrupt list) (allowed: Contents list) : unit =
        attach ()
        run.FaultCount <- 0
        run.HadSyncFault <- false
        run.IsReserveWhole <- true
        run.IsClosing <- false
        run.IsOpening <- true
        run.Executing.Clear()

        let mutable refusal = None

        steps.Within interrupts (fun () ->
            try
                let opened = Store.Open(options (), NullLogger.Instance)
                run.Store <- ValueSome opened
                run.Reader <- ValueSome(opened.CreateReader())
            with
            | :? MachineStoppedException -> ()
            | :? StoreException as refused -> refusal <- Some refused.Message
            | :? IOException as refused -> refusal <- Some refused.Message)

        run.IsOpening <- false
        run.Check()

        match run.Down, refusal with
        | ValueSome loss, _ -> restart loss (if loss = Everything then allowed else run.IfPowerLost) []
        | ValueNone, Some message when run.MayHaveGap && message.Contains "is damaged" ->
            // What was lost of the log has a gap: there is no prefix to go on with but by salvage. A new disk then.
            run.Tell(fun () -> $"refuses to open: {message}")
            run.Statistics.RefusedToOpen <- run.Statistics.RefusedToOpen + 1L
            forget ()
            run.Disk.Stop() |> ignore
            run.Disk <- SimulatedDisk()
            run.Model.Recovered Contents.empty
            run.IfPowerLost <- [ Contents.empty ]
            run.MayHaveGap <- false
            run.IsOrderLost <- false
            openStore [] [ Contents.empty ]
        | ValueNone, Some message when run.FaultCount > 0 ->
            run.Tell(fun () -> $"does not open: {message}")
            // The process ends with the refusal.
            reopenDisk Everything
            openStore [] allowed
        | ValueNone, Some message when run.Disk.CapacityBytes < Int64.MaxValue && message.Contains "out of disk space" ->
            run.Tell(fun () -> $"does not open: {message}")
            reopenDisk Everything
            run.Disk.CapacityBytes <- Int64.MaxValue
            openStore [] allowed
        | ValueNone, Some message -> run.Fail $"the store does not open: {message}"
        | ValueNone, None ->
            run.IsReserveWhole <- not run.Store.Value.DiskCondition.IsFull
            run.IsSpaceLimited <- run.Disk.CapacityBytes < Int64.MaxValue
            run.MayHaveGap <- false
            judge allowed
            run.IsOrderLost <- false

    and judge (allowed: Contents list) : unit =
        let now = run.NowSeconds()
        let hadFaults = run.FaultCount > 0
        let found = read ()

        let recovered (items: Map<int, Item>) =
            let flush = run.Store.Value.Current.Flush

            run.Model.Recovered {
                Items = items
                FlushAtSeconds = (if flush.IsDue now then 0u else flush.PendingAtSeconds)
                LastSequence = run.Store.Value.Current.LastSequence.Value
            }

        let flush = run.Store.Value.Current.Flush
        let last = run.Store.Value.Current.LastSequence.Value
        let equal = allowed |> List.filter (fun contents -> Contents.live now contents = found)
        let matching = equal |> List.filter (fun contents -> contents.LastSequence <= last)

        // Nothing invented all the same: every key has what it had at some time.
        let isMixture () =
            [ 0 .. run.Schedule.KeyCount - 1 ]
            |> List.forall (fun key ->
                allowed |> List.exists (fun contents -> Contents.find now key contents = Map.tryFind key found))

        match matching with
        | [] when run.IsOrderLost && isMixture () ->
            run.Tell(fun () -> $"open, with {Contents.show found}")
            recovered found
        | [] when not equal.IsEmpty ->
            run.Fail
                $"after opening, the last sequence number is {last}, and {(List.last equal).LastSequence} has been used"
        | [] ->
            let expected =
                allowed
                |> List.map (fun contents -> Contents.show (Contents.live now contents))
                |> List.distinct
                |> List.truncate 5
                |> String.concat " | or: "

            run.Fail $"after opening, found {Contents.show found}; allowed is {expected}"
        | _ ->
            let isPending (contents: Contents) =
                (not (flush.IsDue now)) = (contents.FlushAtSeconds = 0u || contents.FlushAtSeconds > now)
                && (flush.IsDue now
                    || contents.FlushAtSeconds = 0u && flush.PendingAtSeconds = 0u
                    || contents.FlushAtSeconds = flush.PendingAtSeconds)

            let best =
                matching
                |> List.tryFind (fun contents -> isPending contents && contents.LastSequence = last)
                |> Option.orElse (matching |> List.tryFind isPending)

            // Under the weaker durabilities the manifest knows a flush that waits for its time, and not the writes before it.
            let best =
                match best with
                | Some contents -> contents
                | None ->
                    if
                        run.Schedule.Durability = Durability.Sync
                        && not (matching |> List.exists (fun contents -> Contents.flushDue now contents <> contents))
                        && not (flush.IsDue now)
                    then
                        run.Fail
                            $"after opening, a flush is waiting for {flush.PendingAtSeconds}; allowed is {matching.Head.FlushAtSeconds}"

                    matching.Head

            run.Tell(fun () -> $"open, with {Contents.show found}")

            recovered found

            match leaked false with
            | [] -> ()
            | files when not hadFaults -> run.Fail $"""after opening, nothing refers to {String.concat ", " files}"""
            | _ -> ()

    and reopenDisk (loss: PowerLoss) : unit =
        let capacity = run.Disk.CapacityBytes
        let image = run.Disk.Stop()
        forget ()
        run.Down <- ValueNone
        run.Disk <- SimulatedDisk(image.After loss, CapacityBytes = capacity)

    /// The machine has stopped: starts it again, and opens the store.
    and restart (loss: PowerLoss) (allowed: Contents list) (interrupts: Interrupt list) : unit =
        match loss with
        | Everything -> run.Statistics.Kills <- run.Statistics.Kills + 1L
        | _ -> run.Statistics.PowerLosses <- run.Statistics.PowerLosses + 1L

        let logCount = run.Disk.Image.Names |> List.filter _.EndsWith(".wal") |> List.length
        reopenDisk loss

        let isReordered =
            match loss with
            | AnyPrefix _
            | AnyMixture _ -> run.Schedule.Durability = Durability.Os
            | Everything -> false
            | _ -> run.HasDroppedLog

        run.MayHaveGap <- run.MayHaveGap || isReordered
        run.IsOrderLost <- run.IsOrderLost || (isReordered && (logCount > 1 || run.HasDroppedLog))

        openStore interrupts allowed

    /// What may be found after the process has ended.
    let recoverable (loss: PowerLoss) (through: uint64) : Contents list =
        let group = clients.WithGroup()
        run.IfPowerLost <- run.Model.Recoverable(NothingUnsynced, through, group)
        run.Model.Recoverable(loss, through, group)

    let close (isQuiet: bool) : unit =
        run.IsClosing <- true
        run.IdleCount <- 0

        try
            while run.Held.Count > 0 do
                clients.Release()

            run.Store.Value.Dispose()

            if run.IsRunning() then
                run.Statistics.CleanCloses <- run.Statistics.CleanCloses + 1L

                if run.Pending.Count > 0 then
                    run.Fail "the store was closed, and not every write was answered"

                if run.Disk.OpenCount > 0 then
                    run.Fail $"{run.Disk.OpenCount} files are left open"
        with
        | :? MachineStoppedException
        | SimulationFailed _ -> ()
        | error when run.IsRunning() ->
            run.Tell(fun () -> $"closing fails: {error.Message}")

            if isQuiet || (run.FaultCount = 0 && not run.IsSpaceLimited) then
                run.Fail $"the store does not close, and the disk has neither failed nor been full: {error.Message}"
        | _ -> ()

    /// Reads every byte of a store that was closed, as `lsmfs check` does.
    let inspect () : unit =
        let lines = List<string>()
        use folder = DataFolder.OpenReadOnly(run.Disk.FileSystem, "/simulated")
        let image = run.Disk.Image

        let totalBytes =
            image.Names
            |> List.filter ((<>) (FileName.ofFile StoreFile.Reserve))
            |> List.sumBy (fun name -> int64 (image.Read name).Length)

        let check = StoreCheck(folder, totalBytes, fun line -> lines.Add line)

        if not (check.Run()) then
            run.Fail $"""when the store was closed, a check found {String.concat "; " lines}"""

    let closeAndOpen (interrupts: Interrupt list) (isQuiet: bool) : unit =
        // What a failed close leaves is what a killed process leaves, and may be less without a log.
        let through = steps.ThroughSequence()
        steps.Within interrupts (fun () -> close isQuiet)
        run.Check()

        match run.Down with
        | ValueSome loss -> restart loss (recoverable loss through) []
        | ValueNone ->
            let hasFailed = run.FaultCount > 0 || run.IsSpaceLimited

            let allowed =
                if hasFailed then
                    recoverable Everything through
                else
                    run.IfPowerLost <- [ run.Model.Current ]
                    run.IfPowerLost

            if not hasFailed then
                inspect ()

            reopenDisk Everything
            openStore [] allowed

    /// Opens the store, however often it is stopped meanwhile; it has to hold one of these contents.
    member _.OpenStore (interrupts: Interrupt list) (allowed: Contents list) : unit = openStore interrupts allowed

    /// The machine has stopped: starts it again, and opens the store.
    member _.Restart (loss: PowerLoss) (allowed: Contents list) (interrupts: Interrupt list) : unit =
        restart loss allowed interrupts

    /// Stops the machine here, and starts it again.
    member _.Crash (loss: PowerLoss) (interrupts: Interrupt list) : unit =
        restart loss (recoverable loss (steps.ThroughSequence())) interrupts

    /// Closes the store; with `isQuiet` nothing is there that may keep it from closing.
    member _.Close(isQuiet: bool) : unit = close isQuiet

    /// Closes the store and opens it again.
    member _.CloseAndOpen (interrupts: Interrupt list) (isQuiet: bool) : unit = closeAndOpen interrupts isQuiet

    /// The files that an open store has and may not have; when it `isSettled`, all its writes are in tables.
    member _.Leaked(isSettled: bool) : string list = leaked isSettled
