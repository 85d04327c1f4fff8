namespace LsmFs.Engine

open System

/// The keys of a table, both ends included.
[<Struct; NoEquality; NoComparison>]
type KeyRange = { Smallest: byte[]; Largest: byte[] }

/// What a job may leave out.
[<NoEquality; NoComparison>]
type JobRules = {
    /// Values that expire at this Unix time or before are gone.
    NowSeconds: uint32
    /// Every entry with a sequence number up to this one is gone.
    FlushedThrough: SequenceNumber
    /// The tables of everything older than the job's sources that is not one of them: an array for each deeper level, ascending and disjoint
    /// within, and one for each older table of level 0. A key that none of them can hold needs no tombstone.
    OlderRanges: KeyRange[][]
    /// The tables of the level below the one that the job writes to, ascending and disjoint. A new table overlaps only so many of them, so that
    /// the job that will take it further is bounded; and one that is large enough ends where one of them does, so that two such jobs seldom
    /// both rewrite a table there.
    GrandparentRanges: KeyRange[]
}

/// Bounds of jobs.
[<RequireQualifiedAccess>]
module JobRules =

    /// How many tables of the level below its own a new table may overlap; it ends at the next one.
    [<Literal>]
    let grandparentCountMax = 10

    /// Bytes of entries after which a job pauses: some tens of microseconds of work.
    [<Literal>]
    let stretchBytesMax = 16384L

    /// From this size in bytes on a new table ends at a border of the level below its own.
    let alignedSizeBytes (options: Options) : int64 = options.TableSizeBytes / 2L

/// What a job did with the entries it read.
[<Struct>]
type JobCounts = {
    /// In the new tables.
    WrittenCount: int64
    /// Left out: a newer entry of the key was there.
    ShadowedCount: int64
    /// Left out: a flush came after them.
    FlushedCount: int64
    /// Values left out: their time was over.
    ExpiredCount: int64
    /// Values written as tombstones: their time was over, but something older may have to be hidden. Counted in `WrittenCount` too.
    BuriedCount: int64
    /// Tombstones left out: there was nothing left to hide.
    TombstoneCount: int64
}

/// What the host does next for a job.
[<RequireQualifiedAccess; NoEquality; NoComparison>]
type JobStep =
    /// Fill the destination, then `Supply`.
    | Read of read: BlockRead
    /// Append to the current output file; the first one after the start or a finished table begins a new file. Valid until the next step.
    | Write of bytes: ArraySegment<byte>
    /// Nothing: enough was computed at a stretch, and whoever shares the processor may go first.
    | Pause
    /// The current output file is complete and has this size.
    | TableFinished of properties: TableProperties * sizeBytes: int64
    /// Nothing is left to do.
    | Done
    /// A source is damaged; nothing that was written is of use.
    | Failed of corruption: Corruption

/// Answers whether something older can hold a key, for keys that ascend: each range is passed once. Mutable, one owner.
[<Sealed>]
type internal BottomTracker(olderRanges: KeyRange[][]) =
    let positions: int[] = Array.zeroCreate olderRanges.Length

    /// Whether no older table can hold the key, which is not smaller than the one asked for before. Amortised O(levels).
    member _.IsBottom(key: ReadOnlySpan<byte>) : bool =
        let mutable isBottom = true
        let mutable level = 0

        while isBottom && level < olderRanges.Length do
            let ranges = olderRanges[level]
            let mutable position = positions[level]

            while position < ranges.Length && key.SequenceCompareTo ranges[position].Largest > 0 do
                position <- position + 1

            positions[level] <- position
            isBottom <- position = ranges.Length || key.SequenceCompareTo ranges[position].Smallest < 0
            level <- level + 1

        isBottom

/// Counts the tables of the next level that an output table overlaps, for keys that ascend. Mutable, one owner.
[<Sealed>]
type internal GrandparentTracker(ranges: KeyRange[]) =
    let mutable position = 0
    let mutable start = 0

    /// Whether a table ends before the key: it would overlap too many with it, or is `isLarge` and the key is the first beyond one of them.
    /// Asked for every key in turn. Amortised O(1).
    member _.EndsBefore(key: ReadOnlySpan<byte>, isLarge: bool) : bool =
        let before = position

        while position < ranges.Length && key.SequenceCompareTo ranges[position].Largest > 0 do
            position <- position + 1

        position - start >= JobRules.grandparentCountMax || (isLarge && position > before)

    /// A new table begins.
    member _.Reset() : unit = start <- position

/// A flush or a compaction: merges sources into new tables and leaves out what nobody can see any more. A state machine that never waits:
/// the host asks for the next step and carries it out, and has not long to wait for one. Mutable, one owner; no allocation for an entry.
[<Sealed>]
type Job(options: Options, sources: EntrySource[], rules: JobRules, memory: JobMemory) =
    let merge = Merge sources
    let builder = TableBuilder(options, memory)
    let bottom = BottomTracker rules.OlderRanges
    let grandparents = GrandparentTracker rules.GrandparentRanges
    let tombstone = ByteBuffer 512
    let alignedSizeBytes = JobRules.alignedSizeBytes options
    let mutable finished: TableProperties voption = ValueNone
    let mutable outcome: JobStep voption = ValueNone
    let mutable isOutputLent = false
    // The merge stands on an entry that waits for a new table.
    let mutable isEntryWaiting = false
    let mutable takenBytes = 0L
    let mutable pausesAtBytes = JobRules.stretchBytesMax
    let mutable writtenCount = 0L
    let mutable flushedCount = 0L
    let mutable expiredCount = 0L
    let mutable buriedCount = 0L
    let mutable tombstoneCount = 0L

    let write (entry: ReadOnlySpan<byte>) =
        builder.Add entry
        writtenCount <- writtenCount + 1L

        if builder.SizeBytes >= options.TableSizeBytes then
            finished <- ValueSome(builder.Finish())

    /// Writes a tombstone for an expired value, with its sequence number: it hides what the value hid.
    let bury (entry: Entry) =
        let header = {
            Kind = EntryKind.Tombstone
            Sequence = entry.Sequence
            Flags = 0u
            ExpirySeconds = 0u
            Cas = 0UL
            Marks = EntryMarks.None
        }

        tombstone.Clear()
        EntryFormat.append tombstone header entry.Key ReadOnlySpan<byte>.Empty |> ignore
        buriedCount <- buriedCount + 1L
        write tombstone.Written

    let decide (entry: Entry) =
        let isTombstone = entry.Kind = EntryKind.Tombstone
        let (SequenceNumber sequence) = entry.Sequence

        if sequence <= rules.FlushedThrough.Value then
            flushedCount <- flushedCount + 1L
        elif not isTombstone && not (entry.IsExpired rules.NowSeconds) then
            write entry.Bytes
        elif not (bottom.IsBottom entry.Key) then
            if isTombstone then write entry.Bytes else bury entry
        elif isTombstone then
            tombstoneCount <- tombstoneCount + 1L
        else
            expiredCount <- expiredCount + 1L

    /// Says that a table is finished whose bytes were all handed out, and makes the builder ready for the next.
    let closeTable (properties: TableProperties) : JobStep =
        let sizeBytes = builder.SizeBytes
        builder.Reset()
        finished <- ValueNone
        JobStep.TableFinished(properties, sizeBytes)

    /// Deals with the entry that the merge stands on, unless the table has to end before it.
    let take (entry: Entry) =
        if grandparents.EndsBefore(entry.Key, builder.SizeBytes >= alignedSizeBytes) then
            grandparents.Reset()

            if builder.EntryCount > 0L then
                finished <- ValueSome(builder.Finish())
                isEntryWaiting <- true

        if not isEntryWaiting then
            decide entry

            if finished.IsSome then
                grandparents.Reset()

    let lendOutput () : JobStep =
        isOutputLent <- true
        JobStep.Write(ArraySegment<byte>(builder.Output.Bytes, 0, builder.Output.Length))

    /// A job with memory of its own.
    new(options: Options, sources: EntrySource[], rules: JobRules) = Job(options, sources, rules, JobMemory())

    /// The next step. After `Done` or `Failed` it stays the same.
    member _.Next() : JobStep =
        if isOutputLent then
            builder.Output.Clear()
            isOutputLent <- false

        let mutable step: JobStep voption = ValueNone

        while step.IsNone do
            if outcome.IsSome then
                step <- outcome
            elif
                builder.Output.Length >= TableOutput.pieceLengthBytes
                || (finished.IsSome && builder.Output.Length > 0)
            then
                step <- ValueSome(lendOutput ())
            elif finished.IsSome then
                step <- ValueSome(closeTable finished.Value)
            elif isEntryWaiting then
                isEntryWaiting <- false
                take merge.Current
            elif takenBytes >= pausesAtBytes then
                pausesAtBytes <- takenBytes + JobRules.stretchBytesMax
                step <- ValueSome JobStep.Pause
            else
                match merge.MoveNext() with
                | SourceState.Ready ->
                    let entry = merge.Current
                    takenBytes <- takenBytes + int64 entry.Bytes.Length
                    take entry
                | SourceState.NeedsBlock -> step <- ValueSome(JobStep.Read merge.Wanted)
                | _ when builder.EntryCount > 0L -> finished <- ValueSome(builder.Finish())
                | _ -> outcome <- ValueSome JobStep.Done

        step.Value

    /// Says that the bytes of a `Read` are in their destination.
    member _.Supply() : unit =
        match merge.Supply() with
        | Ok() -> ()
        | Error corruption -> outcome <- ValueSome(JobStep.Failed corruption)

    /// Bytes of the entries that were taken from the sources so far, without those that newer ones hide.
    member _.TakenBytes: int64 = takenBytes

    /// What was done so far.
    member _.Counts: JobCounts = {
        WrittenCount = writtenCount
        ShadowedCount = merge.ShadowedCount
        FlushedCount = flushedCount
        ExpiredCount = expiredCount
        BuriedCount = buriedCount
        TombstoneCount = tombstoneCount
    }
