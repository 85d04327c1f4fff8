namespace LsmFs.Simulation

open System
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
