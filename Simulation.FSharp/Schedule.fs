namespace LsmFs.Simulation

// A schedule is all that happens in a simulation, as a value: what clients do, when the store does its work, where in that work something else comes in
// between, fails, or ends it. So it can be repeated, printed, and made smaller until only what matters is left.

open LsmFs.Engine
open LsmFs.Host

/// A command of a client, for one of a few keys. A length stands for a value of that many bytes that no other command writes.
type ClientCommand =
    | Set of key: int * lengthBytes: int * ttlSeconds: int
    | SetNumber of key: int * number: int
    | Add of key: int * lengthBytes: int
    | Replace of key: int * lengthBytes: int
    | Append of key: int * lengthBytes: int
    /// `cas` with the unique that the item has, or with another one.
    | CompareAndSet of key: int * lengthBytes: int * isCurrent: bool
    | Increment of key: int * delta: int
    | Touch of key: int * ttlSeconds: int
    | Delete of key: int
    | FlushAll of delaySeconds: int

/// What a file operation does in place of what it should.
type FaultKind =
    | InputOutputError
    | OutOfSpace
    | ReadOnlyError
    /// It is done, and reported as failed.
    | DoneButReportedFailed
    /// A read of a table gives back one bit wrong.
    | FlippedBit of bit: int

/// One thing after another.
type Step = {
    Action: StepAction
    /// What comes in between, by the file operation.
    Interrupts: Interrupt list
}

and StepAction =
    /// The commands of one submission: all take place, or none.
    | Submit of number: int * commands: ClientCommand list
    | Get of key: int
    | Scan
    /// Takes a snapshot, to be read later.
    | Hold
    | ReadHeld
    | Release
    /// A piece of the store's own work.
    | Work of StoreWork
    /// A client asks for a flush and waits for it.
    | FlushAndWait
    | Wait of milliseconds: int
    /// From now on so many bytes are free.
    | LimitSpace of bytes: int
    | UnlimitSpace
    | Reopen
    | Crash of PowerLoss

/// Something that happens at a file operation of a step: odd numbers are the moments before one, even ones those after it.
and Interrupt = { At: int; Event: Event }

and Event =
    /// Others take a turn.
    | Meanwhile of Step list
    | Fault of FaultKind * times: int
    | Stop of PowerLoss
    | Slow of milliseconds: int

/// A whole simulation.
type Schedule = {
    Seed: int
    Durability: Durability
    KeyCount: int
    MemtableSizeBytes: int
    Compression: Compression
    Steps: Step list
}

/// Schedules as text.
[<RequireQualifiedAccess>]
module Schedule =

    let private command (command: ClientCommand) : string =
        match command with
        | Set(key, length, 0) -> $"set {key} ({length} bytes)"
        | Set(key, length, ttl) -> $"set {key} ({length} bytes, for {ttl} s)"
        | SetNumber(key, number) -> $"set {key} = {number}"
        | Add(key, length) -> $"add {key} ({length} bytes)"
        | Replace(key, length) -> $"replace {key} ({length} bytes)"
        | Append(key, length) -> $"append {key} ({length} bytes)"
        | CompareAndSet(key, length, true) -> $"cas {key} ({length} bytes)"
        | CompareAndSet(key, length, false) -> $"cas {key} ({length} bytes, another unique)"
        | Increment(key, delta) -> $"incr {key} {delta}"
        | Touch(key, ttl) -> $"touch {key} ({ttl} s)"
        | Delete key -> $"delete {key}"
        | FlushAll 0 -> "flush_all"
        | FlushAll delay -> $"flush_all in {delay} s"

    let fault (kind: FaultKind) : string =
        match kind with
        | InputOutputError -> "EIO"
        | OutOfSpace -> "ENOSPC"
        | ReadOnlyError -> "EROFS"
        | DoneButReportedFailed -> "done, but reported as failed"
        | FlippedBit bit -> $"bit {bit} flipped"

    /// What becomes of an operation under a fault, if the fault means something to it.
    let internal faultAt (kind: FaultKind) (operation: DiskOperation) : DiskFault option =
        match kind, operation.Kind with
        | FlippedBit bit, "read" when operation.File.EndsWith ".sst" -> Some(BitFlipped bit)
        | FlippedBit _, _ -> None
        // Reading, deleting, shortening and syncing need no space.
        | OutOfSpace, ("create" | "write" | "allocate" | "rename") -> Some(Fails(DiskErrors.noSpace ()))
        | OutOfSpace, _ -> None
        | ReadOnlyError, ("create" | "write" | "allocate" | "rename" | "delete" | "cut") ->
            Some(Fails(DiskErrors.readOnly ()))
        | ReadOnlyError, _ -> None
        | InputOutputError, "lock" -> None
        | InputOutputError, _ -> Some(Fails(DiskErrors.inputOutput ()))
        | DoneButReportedFailed, ("create" | "write" | "rename" | "delete" | "cut" | "sync" | "allocate") ->
            Some(DoneButFails(DiskErrors.inputOutput ()))
        | DoneButReportedFailed, _ -> None

    let action (action: StepAction) : string =
        match action with
        | Submit(number, commands) -> $"""write {number}: {commands |> List.map command |> String.concat "; "}"""
        | Get key -> $"get {key}"
        | Scan -> "scan"
        | Hold -> "take a snapshot"
        | ReadHeld -> "read the oldest snapshot"
        | Release -> "release the oldest snapshot"
        | Work StoreWork.Commit -> "commit what waits"
        | Work StoreWork.Flush -> "flush a memtable"
        | Work StoreWork.Compaction -> "compact"
        | Work _ -> "reclaim"
        | FlushAndWait -> "flush, and wait for it"
        | Wait milliseconds -> $"{milliseconds} ms pass"
        | LimitSpace bytes -> $"{bytes} bytes are free from here on"
        | UnlimitSpace -> "there is space again"
        | Reopen -> "close and open"
        | Crash Everything -> "kill, and open"
        | Crash loss -> $"lose the power, keeping {loss}, and open"

    /// Steps and events of a schedule.
    let rec size (steps: Step list) : int =
        steps
        |> List.sumBy (fun step ->
            1
            + (step.Interrupts
               |> List.sumBy (fun interrupt ->
                   match interrupt.Event with
                   | Meanwhile steps -> size steps
                   | _ -> 1)))
