namespace LsmFs.Simulation

// Invariant: once the machine has stopped, nothing that the abandoned store does or says counts.

open System
open System.Collections.Generic
open LsmFs.Host

/// Where in a step the simulation is.
[<Sealed>]
type internal Frame(interrupts: Interrupt list, outer: Frame option) =
    member val Interrupts = interrupts with get, set
    member val Point = 0 with get, set
    /// A fault that goes on for some operations.
    member val Fault: (FaultKind * int) voption = ValueNone with get, set
    member _.Outer = outer

    member _.Depth: int =
        match outer with
        | None -> 0
        | Some outer -> outer.Depth + 1

/// What a simulation is at: its machine, its store, what is expected of it, and what has gone wrong. Mutable; one owner.
[<Sealed>]
type internal Run(schedule: Schedule, statistics: Statistics, trace: (string -> unit) option) =
    let clock = SimulatedClock()

    let sizes = {
        SimulatedMachine.SmallSizes with
            MemtableSizeBytes = int64 schedule.MemtableSizeBytes
            Compression = schedule.Compression
    }

    member _.Schedule = schedule
    member _.Statistics = statistics
    member _.Clock = clock
    member _.Sizes = sizes
    member val Disk = SimulatedDisk() with get, set
    member val Model = Model schedule.Durability
    member val Store: Store voption = ValueNone with get, set
    member val Reader: StoreReader voption = ValueNone with get, set
    /// The step that is being carried out.
    member val Frame = Frame([], None) with get, set
    /// How the machine has stopped.
    member val Down: PowerLoss voption = ValueNone with get, set
    /// The promise that was broken.
    member val Failure: string option = None with get, set
    /// While files of the store are opened or closed.
    member val IsOpening = false with get, set
    member val IsClosing = false with get, set
    /// Since the store was opened.
    member val FaultCount = 0 with get, set
    member val HadSyncFault = false with get, set
    /// Under os: a sync of a log has failed, after which a restart makes only its last group durable for certain.
    member val HasDroppedLog = false with get, set
    member val IsSpaceLimited = false with get, set
    member val IsReserveWhole = true with get, set
    /// Whether the power was lost and logs may have a gap, which is refused until they are salvaged.
    member val MayHaveGap = false with get, set
    /// Whether, then, nothing is promised of the order in which what was lost was written.
    member val IsOrderLost = false with get, set
    /// What may be found if the power is lost before what a killed process has left is durable.
    member val IfPowerLost: Contents list = [] with get, set
    member val IdleCount = 0 with get, set
    /// The group that is being committed.
    member val Executing = List<ClientWrites>()
    member val Pending = HashSet<ClientWrites>(HashIdentity.Reference)
    member val Held = Queue<struct (StoreSnapshot * Map<int, Item>)>()

    member _.NowSeconds() : uint32 = uint32 (clock.GetUtcNow().ToUnixTimeSeconds())

    member run.Tell(line: unit -> string) : unit =
        match trace with
        | Some write ->
            let indent = String(' ', 2 * run.Frame.Depth)
            write $"{indent}{line ()}"
        | None -> ()

    /// A broken promise ends the simulation, also when it is found within the store, which would take an exception for its own.
    member run.Fail(message: string) : unit =
        if run.Down.IsSome then
            raise (MachineStoppedException())

        if run.Failure.IsNone then
            run.Tell(fun () -> $"!! {message}")
            run.Failure <- Some message
            run.Disk.Stop() |> ignore

        raise (SimulationFailed message)

    member run.Check() : unit =
        match run.Failure with
        | Some message -> raise (SimulationFailed message)
        | None -> ()

    member run.IsRunning() : bool = run.Down.IsNone && run.Failure.IsNone
