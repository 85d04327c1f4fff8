namespace LsmFs.Engine

// What is recorded of a running store. DecisionLog.fs has the bytes.

/// A plan as it is recorded: its tables by number.
type RecordedPlan = {
    Reason: CompactionReason
    Kind: CompactionKind
    Inputs: (int * FileNumber)[]
    OutputLevel: int
}

/// A plan that was chosen, with all it was chosen from but for the version and the options.
type RecordedDecision = {
    /// The plan is carried out under this number, which no other job of the log has.
    Job: uint64
    Flush: FlushState
    /// The jobs that were running.
    Running: uint64 list
    /// The tables that could not be read.
    Quarantined: FileNumber list
    Plan: RecordedPlan
}

/// What has become of a job.
type JobOutcome =
    | Done = 0
    /// It failed, or the store was closed; its tables are as they were.
    | GivenUp = 1

/// What a job has cost.
type JobEnd = {
    Job: uint64
    Outcome: JobOutcome
    TableCount: int
    ReadBytes: int64
    WrittenBytes: int64
    ElapsedMilliseconds: uint32
}

/// What happened.
type DecisionEvent =
    /// The log begins with this version, and these jobs are running.
    | Opened of options: Options * version: Version * running: (uint64 * CompactionPlan) list
    /// The version has changed.
    | Installed of VersionEdit
    /// A plan was chosen.
    | Planned of RecordedDecision
    /// A job has ended.
    | Ended of JobEnd
    /// A memtable was frozen.
    | Frozen of memtableBytes: int64
    /// A memtable was written to tables.
    | Flushed of memtableBytes: int64 * tableCount: int * writtenBytes: int64 * elapsedMilliseconds: uint32

/// What happened, and when.
type DecisionRecord = {
    /// Unix time in milliseconds.
    TimeMilliseconds: int64
    Event: DecisionEvent
} with

    /// The Unix time in seconds, as plans know it.
    member record.TimeSeconds = uint32 (record.TimeMilliseconds / 1000L)
