namespace LsmFs.Simulation

open System.Collections.Generic

/// What came to pass, in numbers.
type Statistics() =
    member val Seeds = 0 with get, set
    member val Steps = 0L with get, set
    member val Operations = 0L with get, set
    member val Acknowledged = 0L with get, set
    member val Refused = 0L with get, set
    member val Reads = 0L with get, set
    member val Kills = 0L with get, set
    member val PowerLosses = 0L with get, set
    member val CleanCloses = 0L with get, set
    member val Flushes = 0L with get, set
    member val Compactions = 0L with get, set
    /// Steps that took place within a file operation of another one.
    member val Nested = 0L with get, set
    /// Crashes within a file operation.
    member val StopsWithin = 0L with get, set
    /// Stores that refused to open after a power cut under `os` or `memory` had left a log with a gap.
    member val RefusedToOpen = 0L with get, set
    member val Faults = SortedDictionary<string, int64>() with get

    member statistics.Fault(kind: string) =
        let mutable count = 0L
        statistics.Faults.TryGetValue(kind, &count) |> ignore
        statistics.Faults[kind] <- count + 1L

/// A promise was broken.
exception SimulationFailed of message: string
