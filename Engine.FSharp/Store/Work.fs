namespace LsmFs.Engine

/// Which writes a store takes.
type Admission =
    | Everything = 0
    /// Deletes and flushes of everything, which make space.
    | Removals = 1
    /// None until background work has gone on.
    | Wait = 2
    /// None, and whoever asks is told so.
    | Nothing = 3

/// What the host found out about the disk.
[<Struct>]
type DiskCondition = {
    /// Whether the disk was full, and the reserve is not whole since, or nothing is free beside it.
    IsFull: bool
    /// What is left of the reserve.
    Reserve: ReserveShares
    /// Why the last flush failed, unless it succeeded.
    FlushTrouble: DiskTrouble
    /// Why the last compaction failed, unless it succeeded.
    CompactionTrouble: DiskTrouble
    /// Whether a flush is under way, or has not yet given back what it makes free.
    IsFlushing: bool
    /// Whether a compaction is.
    IsCompacting: bool
}

/// What has to be done next, decided from a snapshot alone, and the jobs that do it.
[<RequireQualifiedAccess>]
module Work =

    /// How much a job reads at once from a table, in bytes.
    [<Literal>]
    let private readLengthBytesMax = 262144

    /// Whether the active memtable is full.
    let shouldFreeze (options: Options) (active: Memtable) : bool = active.SizeBytes >= options.MemtableSizeBytes

    /// Whether a log has grown far past what its memtable holds: flushes alone lengthen it, and recovery reads a log at once.
    let isLogFull (options: Options) (logLengthBytes: int64) : bool = logLengthBytes >= 4L * options.MemtableSizeBytes

    /// How full the active memtable is: 1 and more means it is to be frozen.
    let memtableFill (options: Options) (active: Memtable) : float =
        float active.SizeBytes / float options.MemtableSizeBytes

    /// Whether writes must wait for background work, so that memory and level 0 stay bounded. `debt` is that of the snapshot's version.
    let pressure (options: Options) (debt: CompactionDebt) (snapshot: Snapshot) : WritePressure =
        Pacing.pressure options debt snapshot.Frozen.Length (memtableFill options snapshot.Active)

    /// How fast writes may go on. `debt` is that of the snapshot's version.
    let pace (options: Options) (debt: CompactionDebt) (snapshot: Snapshot) : WritePace =
        Pacing.pace options debt snapshot.Frozen.Length (memtableFill options snapshot.Active)

    /// Whether a flush may rest that has come so far, as `Resting` says.
    let mayFlushRest (options: Options) (snapshot: Snapshot) (progress: float) : bool =
        Resting.mayFlushRest progress snapshot.Frozen.Length (memtableFill options snapshot.Active)

    /// Whether a compaction may rest that has come so far, as `Resting` says. `debt` is that of the snapshot's version.
    let mayCompactionRest (options: Options) (debt: CompactionDebt) (snapshot: Snapshot) (progress: float) : bool =
        Resting.mayCompactionRest options debt progress snapshot.Frozen.Length (memtableFill options snapshot.Active)

    /// What keeps a store with this disk from writing.
    let trouble (disk: DiskCondition) : DiskTrouble =
        max (if disk.IsFull then DiskTrouble.Full else DiskTrouble.None) (max disk.FlushTrouble disk.CompactionTrouble)

    /// Whether the log of removals has used up its part of the reserve, and a flush would give that back.
    let private needsFlush (disk: DiskCondition) : bool =
        disk.IsFull && disk.FlushTrouble = DiskTrouble.None && disk.Reserve.RemovalBytes = 0L

    /// Whether a memtable that is not full yet is frozen, so that its flush gives the space of its log back. `logBytes` is the length of the log, 0
    /// without one. A log shorter than what removals may take is not worth a table.
    let shouldFreezeForSpace (options: Options) (snapshot: Snapshot) (disk: DiskCondition) (logBytes: int64) : bool =
        needsFlush disk
        && snapshot.Frozen.Length = 0
        && not disk.IsFlushing
        && not snapshot.Active.IsEmpty
        && logBytes >= (DiskSpace.whole options).RemovalBytes

    /// Whether the active memtable is flushed although it is not full, since a compaction had no space: what was deleted meanwhile lets the next one write less.
    /// Each such table takes twice the writes of the one before it, so that they stay few.
    let shouldFlushForCompaction (options: Options) (snapshot: Snapshot) (disk: DiskCondition) : bool =
        disk.CompactionTrouble = DiskTrouble.Full
        && disk.FlushTrouble = DiskTrouble.None
        && snapshot.Frozen.Length = 0
        && not snapshot.Active.IsEmpty
        && (match Array.tryHead snapshot.Version.Levels[0] with
            | Some newest ->
                let (SequenceNumber last) = snapshot.LastSequence
                let (SequenceNumber largest) = newest.Properties.LargestSequence
                let (SequenceNumber smallest) = newest.Properties.SmallestSequence

                newest.SizeBytes >= options.MemtableSizeBytes / 2L || last - largest > 2UL * (largest - smallest)
            | None -> true)

    /// Which writes are taken now. On a full disk removals go on as long as memory, and the reserve or a flush that is under way, have room for them;
    /// level 0 does not hold them up when compaction is what has no space.
    let admits (pressure: WritePressure) (snapshot: Snapshot) (disk: DiskCondition) : Admission =
        let isFlushAwaited = disk.IsFlushing || snapshot.Frozen.Length > 0

        match trouble disk with
        | DiskTrouble.None when pressure = WritePressure.None -> Admission.Everything
        | DiskTrouble.None -> Admission.Wait
        | DiskTrouble.Full when pressure = WritePressure.Memtables ->
            // A flush that found the share of both taken by a compaction is tried again after it.
            if disk.FlushTrouble = DiskTrouble.None || disk.IsCompacting then
                Admission.Wait
            else
                Admission.Nothing
        | DiskTrouble.Full when
            pressure = WritePressure.LevelZero
            && disk.CompactionTrouble = DiskTrouble.None
            && disk.FlushTrouble = DiskTrouble.None
            ->
            Admission.Wait
        | DiskTrouble.Full when isFlushAwaited && needsFlush disk -> Admission.Wait
        // Space that is given up for removals is anybody's, so a compaction may have taken it. At its end there is more than before, whatever its outcome.
        | DiskTrouble.Full when disk.IsCompacting && (disk.Reserve.RemovalBytes = 0L || disk.Reserve.ManifestBytes = 0L) ->
            Admission.Wait
        | DiskTrouble.Full -> Admission.Removals
        | _ -> Admission.Nothing

    let private rangesOf (tables: TableMeta[]) : KeyRange[] =
        tables
        |> Array.map (fun table -> {
            Smallest = table.Properties.SmallestKey
            Largest = table.Properties.LargestKey
        })

    let private rules (snapshot: Snapshot) (nowSeconds: uint32) (olderRanges: KeyRange[] seq) : JobRules = {
        NowSeconds = nowSeconds
        FlushedThrough = snapshot.Flush.Through
        OlderRanges = olderRanges |> Seq.filter (Array.isEmpty >> not) |> Array.ofSeq
        GrandparentRanges = [||]
    }

    /// The memtable to flush next: the oldest, so that level 0 stays in order.
    let flushNext (snapshot: Snapshot) : FrozenMemtable option = Array.tryLast snapshot.Frozen

    /// The job that makes one table, or none, of the oldest frozen memtable: level 0 counts tables, and each should cost one flush. Everything
    /// in tables is older than it.
    let flushJob
        (memory: JobMemory)
        (options: Options)
        (snapshot: Snapshot)
        (oldest: FrozenMemtable)
        (nowSeconds: uint32)
        : Job =
        let levels = snapshot.Version.Levels
        let levelZero = levels[0] |> Seq.map (fun table -> rangesOf [| table |])
        let deeper = levels |> Seq.skip 1 |> Seq.map rangesOf

        let whole = {
            options with
                TableSizeBytes = System.Int64.MaxValue
                BloomBitsPerKey = FilterBudget.bitsPerKey options snapshot.Version 0
        }

        Job(
            whole,
            [| MemtableSource oldest.Memtable |],
            rules snapshot nowSeconds (Seq.append levelZero deeper),
            memory
        )

    /// The edit that puts the tables made of the oldest frozen memtable in level 0.
    let flushEdit (snapshot: Snapshot) (outputs: TableMeta list) : VersionEdit = {
        VersionEdit.empty with
            OldestLog = ValueSome(Snapshot.oldestLogAfterFlush snapshot)
            LastSequence = ValueSome snapshot.LastSequence
            Flush = ValueSome snapshot.Flush
            Added = outputs |> List.map (fun table -> 0, table)
    }

    /// An edit with the flush state and the last sequence number of a snapshot.
    let withFlush (snapshot: Snapshot) (edit: VersionEdit) : VersionEdit = {
        edit with
            LastSequence = ValueSome snapshot.LastSequence
            Flush = ValueSome snapshot.Flush
    }

    /// What `Picking.pick` is to know of a snapshot.
    let pickingInput
        (snapshot: Snapshot)
        (nowSeconds: uint32)
        (running: CompactionPlan list)
        (quarantined: FileNumber list)
        : PickingInput = {
        Version = snapshot.Version
        Flush = snapshot.Flush
        NowSeconds = nowSeconds
        Running = running
        Quarantined = quarantined
    }

    /// The job that carries out a merge planned from this snapshot's version.
    let compactionJob
        (memory: JobMemory)
        (options: Options)
        (snapshot: Snapshot)
        (plan: CompactionPlan)
        (nowSeconds: uint32)
        : Job =
        let readers = Seq.concat snapshot.Tables |> Seq.map (fun table -> table.Number, table) |> Map.ofSeq

        let run (tables: (int * TableMeta)[]) : EntrySource =
            TableRunSource(
                tables |> Array.map (fun (_, table) -> readers[table.Number]),
                KeyBounds.all,
                readLengthBytesMax,
                memory
            )

        let sources =
            plan.Inputs
            |> Array.groupBy fst
            |> Array.collect (fun (level, tables) ->
                if level = 0 then
                    tables |> Array.map (Array.singleton >> run)
                else
                    [| run tables |])

        // Of level 0, what is older than the newest input and stays. Above the level that the result goes to nothing else is older.
        let inputs = plan.Inputs |> Array.map (fun (_, table) -> table.Number) |> Set.ofArray

        let staying =
            snapshot.Version.Levels[0]
            |> Seq.skipWhile (fun table -> not (inputs.Contains table.Number))
            |> Seq.filter (fun table -> not (inputs.Contains table.Number))
            |> Seq.map (fun table -> rangesOf [| table |])

        let deeper =
            snapshot.Version.Levels |> Seq.skip (plan.OutputLevel + 1) |> Seq.map rangesOf |> Array.ofSeq

        let rules = {
            rules snapshot nowSeconds (Seq.append staying deeper) with
                GrandparentRanges = deeper |> Array.tryHead |> Option.defaultValue [||]
        }

        let filtered = {
            options with
                BloomBitsPerKey = FilterBudget.bitsPerKey options snapshot.Version plan.OutputLevel
        }

        Job(filtered, sources, rules, memory)
