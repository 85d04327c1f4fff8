namespace LsmFs.Engine

// A flush or a compaction computes for a long time without waiting for anything. When it has the processor that an event loop is woken on, the scheduler
// lets it finish its time slice, 3 to 5 ms on Linux whatever its priority, and all clients of that loop wait. So it rests a moment after each short
// piece of work, as long as it will end long before writes would have to be slowed.

/// When background work gives its processor away.
[<RequireQualifiedAccess>]
module Resting =

    /// How long background work goes on between two rests, in nanoseconds.
    [<Literal>]
    let workNanoseconds = 100_000L

    /// How long a rest is at least, in nanoseconds; the timers of Linux add half of it.
    [<Literal>]
    let restNanoseconds = 100_000L

    /// How much of a memtable fills until a flush has to have ended: a little less than what slows writes.
    [<Literal>]
    let private fillMax = 0.4

    /// The part of its time in which work may rest before it has got anywhere.
    [<Literal>]
    let private startShare = 0.0625

    /// Whether work that has come so far will end in half of the time it has, of which so much has passed. Both from 0 to 1.
    let private isAhead (progress: float) (passed: float) = 2.0 * passed <= progress || passed <= startShare

    /// Whether a flush may rest that has come so far, from 0 to 1. `fill` is how full the active memtable is, from 0 to 1.
    let mayFlushRest (progress: float) (frozenCount: int) (fill: float) : bool =
        frozenCount <= 1 && isAhead progress (fill / fillMax)

    /// Whether a compaction may rest that has come so far, from 0 to 1: its end would not slow writes.
    let mayCompactionRest
        (options: Options)
        (debt: CompactionDebt)
        (progress: float)
        (frozenCount: int)
        (fill: float)
        : bool =
        let trigger = float options.LevelZeroTableCountTrigger
        let waiting = float debt.LevelZeroCount + float frozenCount + fill

        debt.ExcessBytes <= debt.ExcessAllowedBytes / 4.0
        && isAhead progress ((waiting - trigger) / (Pacing.slowedFromLevelZero options - trigger))
