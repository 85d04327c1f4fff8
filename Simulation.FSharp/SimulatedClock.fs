namespace LsmFs.Simulation

open System
open System.Collections.Generic
open System.Threading

/// A clock that stands still until it is told to go on. Timers that have come due are called by `RunTimers`, on its thread.
[<Sealed>]
type SimulatedClock(start: DateTimeOffset) =
    inherit TimeProvider()
    let monitor = obj ()
    let mutable now = start
    // In the order in which they were made, so that those due at the same time are called in it.
    let timers = List<SimulatedTimer>()

    /// A clock at noon of the first day of 2026.
    new() = SimulatedClock(DateTimeOffset(2026, 1, 1, 12, 0, 0, TimeSpan.Zero))

    override _.GetUtcNow() = lock monitor (fun () -> now)
    override _.GetTimestamp() = lock monitor (fun () -> now.Ticks)
    override _.TimestampFrequency = TimeSpan.TicksPerSecond

    override _.CreateTimer(callback, state, dueTime, period) : ITimer =
        let timer =
            new SimulatedTimer(
                (fun () -> callback.Invoke state),
                monitor,
                (fun () -> now),
                (fun timer -> timers.Remove timer |> ignore)
            )

        lock monitor (fun () -> timers.Add timer)
        let timer: ITimer = timer
        timer.Change(dueTime, period) |> ignore
        timer

    /// Lets time pass. No timer is called.
    member _.Advance(time: TimeSpan) : unit = lock monitor (fun () -> now <- now + time)

    /// Calls the timers that have come due; whether there were any.
    member _.RunTimers() : bool =
        let due = lock monitor (fun () -> timers |> Seq.filter _.TakeIfDue() |> List.ofSeq)

        due |> List.iter _.Call()
        not due.IsEmpty

    /// Forgets all timers: the process that had them has ended.
    member internal _.DropTimers() : unit = lock monitor timers.Clear

and [<Sealed>] internal SimulatedTimer
    (callback: unit -> unit, monitor: obj, now: unit -> DateTimeOffset, remove: SimulatedTimer -> unit) =
    let mutable due: DateTimeOffset voption = ValueNone
    let mutable period = Timeout.InfiniteTimeSpan

    member _.TakeIfDue() : bool =
        match due with
        | ValueSome at when at <= now () ->
            due <-
                if period > TimeSpan.Zero then
                    ValueSome(now () + period)
                else
                    ValueNone

            true
        | _ -> false

    member _.Call() = callback ()

    interface ITimer with
        member _.Change(dueTime, newPeriod) =
            lock monitor (fun () ->
                period <- newPeriod

                due <-
                    if dueTime < TimeSpan.Zero then
                        ValueNone
                    else
                        ValueSome(now () + dueTime))

            true

        member timer.Dispose() = lock monitor (fun () -> remove timer)

        member timer.DisposeAsync() =
            lock monitor (fun () -> remove timer)
            Tasks.ValueTask.CompletedTask
