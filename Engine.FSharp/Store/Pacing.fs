namespace LsmFs.Engine

// Writes are slowed by what background work owes, so that they never have to stop: a little at first, and ten doublings later at the hard bounds,
// where they wait. Debt that is on its way counts: a memtable that fills is part of a table of level 0 to come, so that the pace does not jump when it is
// frozen, nor when it is flushed.

/// Why writes are slowed, or wait.
type WritePressure =
    | None = 0
    /// Frozen memtables wait to be flushed.
    | Memtables = 1
    /// Level 0 waits to be compacted.
    | LevelZero = 2
    /// Deeper levels hold more than their share.
    | Levels = 3

/// What compaction owes, as far as it follows from the tables alone.
[<Struct>]
type CompactionDebt = {
    /// Tables of level 0 that could go down.
    LevelZeroCount: int
    /// Bytes that deeper levels hold beyond their share.
    ExcessBytes: float
    /// Bytes beyond their share that are in order, as a few jobs bring as much at once: a fourth of what slows writes most.
    ExcessAllowedBytes: float
}

/// How fast writes may go on.
[<Struct>]
type WritePace = {
    /// How long a written byte takes at least. 0: as fast as it goes.
    NanosecondsPerByte: float
    /// What slows them.
    Reason: WritePressure
}

/// Slowing writes.
[<RequireQualifiedAccess>]
module Pacing =

    /// The first doubling is of this.
    [<Literal>]
    let private unitNanoseconds = 4.0

    /// How often the pace doubles from no debt to the most there may be.
    [<Literal>]
    let private doublings = 10.0

    /// What compaction owes for a version. Tables that wait for one that cannot be read do not count: waiting would not help. O(tables).
    let debtOf (options: Options) (version: Version) (quarantined: FileNumber list) : CompactionDebt =
        let excess (level: int) =
            let size = float (Version.levelSizeBytes version level)
            max 0.0 (size - LevelScore.levelTargetBytes options version level)

        {
            LevelZeroCount = (LevelScore.movableLevelZero version (TableSet.ofNumbers quarantined)).Length
            ExcessBytes =
                if quarantined.IsEmpty then
                    seq { 1 .. LevelScore.bottomLevel version - 1 } |> Seq.sumBy excess
                else
                    0.0
            // More would be space that a store takes without need, less would make the pace follow every job.
            ExcessAllowedBytes =
                let bottomBytes = Version.levelSizeBytes version (LevelScore.bottomLevel version)
                let levelOneBytes = float options.LevelOneSizeBytes
                min (2.0 * levelOneBytes) (levelOneBytes / 2.0 + float bottomBytes / 16.0)
        }

    /// Why writes have to wait: so that memory and level 0 stay bounded. `fill` is how full the active memtable is, from 0 to 1.
    let pressure (options: Options) (debt: CompactionDebt) (frozenCount: int) (fill: float) : WritePressure =
        if frozenCount >= options.FrozenMemtableCountMax && fill >= 1.0 then
            WritePressure.Memtables
        elif debt.LevelZeroCount >= options.LevelZeroTableCountMax then
            WritePressure.LevelZero
        else
            WritePressure.None

    /// The tables of level 0, memtables among them, with which writes begin to be slowed: while those that made level 0 due are compacted, others come.
    let internal slowedFromLevelZero (options: Options) : float =
        let trigger = float options.LevelZeroTableCountTrigger
        trigger + (float options.LevelZeroTableCountMax - trigger) / 4.0

    /// How much is owed, from 0 (writes are not slowed) to 1 (they wait), and what most of all.
    let private owed (options: Options) (debt: CompactionDebt) (frozenCount: int) (fill: float) =
        let share (value: float) (start: float) (finish: float) =
            System.Math.Clamp((value - start) / (finish - start), 0.0, 1.0)

        let waiting = float frozenCount + min 1.0 fill

        // One memtable is flushed while half of another fills.
        let memtables =
            let most = float options.FrozenMemtableCountMax + 1.0
            share waiting (most / 2.0) most

        let levelZero =
            let most = float options.LevelZeroTableCountMax
            share (float debt.LevelZeroCount + waiting) (slowedFromLevelZero options) most

        // Nothing waits for this: level 0 does, when it takes too long. It begins with the first byte and grows slowly, so that the pace follows no single job.
        let levels = 0.8 * share debt.ExcessBytes 0.0 (debt.ExcessAllowedBytes * 4.0)

        if levelZero > 0.0 && levelZero >= memtables && levelZero >= levels then
            struct (levelZero, WritePressure.LevelZero)
        elif memtables > 0.0 && memtables >= levels then
            struct (memtables, WritePressure.Memtables)
        elif levels > 0.0 then
            struct (levels, WritePressure.Levels)
        else
            struct (0.0, WritePressure.None)

    /// The pace of writes: nothing without debt, and twice as long with every tenth part of what may be owed.
    let pace (options: Options) (debt: CompactionDebt) (frozenCount: int) (fill: float) : WritePace =
        let struct (owed, reason) = owed options debt frozenCount fill

        {
            NanosecondsPerByte = unitNanoseconds * (2.0 ** (doublings * owed) - 1.0)
            Reason = reason
        }

    /// The longest that one group of writes makes the next one wait.
    [<Literal>]
    let private pauseNanosecondsMax = 100e6

    /// How long writes pause after so many bytes.
    let pauseNanoseconds (pace: WritePace) (bytes: int64) : float =
        min pauseNanosecondsMax (pace.NanosecondsPerByte * float bytes)

    /// How many bytes a group of writes may have at this pace, so that its pause is short: writes of a fiftieth of a second.
    let groupBytesMax (pace: WritePace) : int =
        if pace.NanosecondsPerByte <= 0.0 then
            System.Int32.MaxValue
        else
            int (min (float System.Int32.MaxValue) (20e6 / pace.NanosecondsPerByte))
