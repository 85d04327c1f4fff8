namespace LsmFs.Engine

// A loop that gathers lets others run (`sched_yield`) before it looks for what has arrived. Where its clients, or other loops, want the same processor, more will
// have arrived then, and to wait, to send and to be woken costs once for all of it. But a thread that computes and never waits would have its whole time slice,
// and the clients of the loop wait for it. Which it is cannot be seen beforehand, so it is tried: now and then the loop does for one window of time what it does
// not do otherwise, and compares how many connections it served.
//
// Invariants
// 1. A loop that served little in the last window does not gather, and tries nothing.
// 2. While trials of gathering fail, each waits twice as long as the one before, up to `intervalMax`.
// 3. Trials are at multiples of powers of two of windows of one clock, so that loops that know nothing of each other try together.

/// What an event loop knows of how much it serves with and without gathering.
[<Struct>]
type Gathering = {
    /// The window of the clock that is counted.
    Window: int64
    /// Connections served in it.
    ServedCount: int
    /// Connections served in the window before it; 0 when the loop missed that one.
    LastCount: int
    /// Connections served in the window before that.
    SecondLastCount: int
    /// Whether gathering was found better.
    IsBetter: bool
    /// Whether the opposite is tried in this window.
    IsTrial: bool
    /// Windows from one trial to the next.
    Interval: int64
}

/// Learning whether to gather.
[<RequireQualifiedAccess>]
module Gathering =

    /// A window is 2^27 ns, 134 ms: the scheduler takes a while to place threads anew.
    [<Literal>]
    let private windowShift = 27

    /// Fewer in a window are no hurry.
    [<Literal>]
    let private servedCountMin = 1600

    [<Literal>]
    let private intervalMin = 4L

    [<Literal>]
    let private intervalMax = 64L

    /// While it gathers: a loop that would be better off without it finds out in 2 s.
    [<Literal>]
    let private intervalOfBetter = 16L

    /// How much more must be served for gathering to be begun, and to be kept.
    [<Literal>]
    let private gainToBegin = 1.1

    [<Literal>]
    let private gainToKeep = 1.05

    /// Nothing learnt yet.
    let initial: Gathering = {
        Window = 0L
        ServedCount = 0
        LastCount = 0
        SecondLastCount = 0
        IsBetter = false
        IsTrial = false
        Interval = intervalMin
    }

    /// Whether the loop gathers.
    let isOn (gathering: inref<Gathering>) : bool =
        gathering.IsBetter <> gathering.IsTrial && gathering.LastCount >= servedCountMin

    /// What a trial has shown.
    let private judge (gathering: inref<Gathering>) : Gathering =
        let tried = float gathering.ServedCount
        let usual = float (max gathering.LastCount gathering.SecondLastCount)

        let isBetter =
            if gathering.IsBetter then
                usual > gainToKeep * tried
            else
                tried > gainToBegin * usual

        {
            gathering with
                IsBetter = isBetter
                Interval =
                    if isBetter then intervalOfBetter
                    elif gathering.IsBetter then intervalMin
                    else min intervalMax (gathering.Interval * 2L)
        }

    /// What is known at a time on a clock that does not go back, after so many more connections were served. O(1), no allocation.
    let next (nowNanoseconds: int64) (servedCount: int) (gathering: inref<Gathering>) : Gathering =
        let window = nowNanoseconds >>> windowShift

        if window = gathering.Window then
            { gathering with ServedCount = gathering.ServedCount + servedCount }
        else
            let isNext = window = gathering.Window + 1L

            let judged =
                if isNext && gathering.IsTrial then
                    judge &gathering
                else
                    gathering

            {
                Window = window
                ServedCount = servedCount
                LastCount = if isNext then gathering.ServedCount else 0
                SecondLastCount = if isNext then gathering.LastCount else 0
                IsBetter = judged.IsBetter
                IsTrial =
                    isNext
                    && not gathering.IsTrial
                    && min gathering.ServedCount gathering.LastCount >= servedCountMin
                    && window &&& (judged.Interval - 1L) = 0L
                Interval = judged.Interval
            }
