namespace LsmFs.CompactionBench

open System
open System.Collections.Generic
open LsmFs.Engine

/// What a policy did to a workload.
type Measurement = {
    /// Bytes of flushes and compactions for each byte that was written.
    WriteAmplification: float
    /// Bytes in tables for each live byte.
    SpaceMean: float
    /// The same at its worst, what a running job has written included.
    SpacePeak: float
    /// Tables whose key range holds the key of a lookup, up to the one that has it.
    TablesAsked: float
    /// Tables read for a lookup with filters that are wrong for one key in a hundred.
    TablesRead: float
    /// Sorted runs under a scan.
    Runs: float
    /// Bytes read by the largest job, in memtables.
    LargestJob: float
    LevelZeroPeak: int
    /// The part of the time in which writes waited for compaction.
    StalledShare: float
}

/// A job between the decision and its installation.
[<NoEquality; NoComparison>]
type internal RunningJob = {
    Edit: VersionEdit
    InputBytes: int64
    OutputBytes: int64
    mutable DoneBytes: int64
}

/// A store of tables without bytes. Mutable inside, a function from outside: one workload through one policy.
[<Sealed>]
type internal SimulatedStore(options: Options, policy: Policy, levelCount: int) =
    let runs = Dictionary<FileNumber, SortedRun>()
    let choose = policy.Start()
    let mutable version = Version.empty levelCount
    let mutable running: RunningJob voption = ValueNone
    let mutable fileCount = 0UL
    let mutable flushCount = 0UL
    let mutable writtenBytes = 0L
    let mutable largestJobBytes = 0L
    let mutable levelZeroPeak = 0

    let rangesOf (tables: TableMeta[]) =
        tables
        |> Array.map (fun table ->
            struct (SortedRun.keyOf table.Properties.SmallestKey, SortedRun.keyOf table.Properties.LargestKey))

    let create
        (tableSizeBytes: int64)
        (sequence: uint64)
        (below: struct (int * int)[])
        (run: SortedRun)
        : TableMeta list =
        let borders = below |> Array.map (fun (struct (_, largest)) -> largest)

        SortedRun.split tableSizeBytes policy.AlignedShare borders run
        |> List.map (fun piece ->
            fileCount <- fileCount + 1UL
            let table = SortedRun.meta fileCount sequence piece
            runs[table.Number] <- piece
            table)

    let install (edit: VersionEdit) =
        match Version.refusal edit version with
        | Some reason -> invalidOp $"{policy.Name}: {reason}"
        | None ->
            version <- Version.apply edit version
            levelZeroPeak <- max levelZeroPeak version.Levels[0].Length

            let added = edit.Added |> List.map (fun (_, table) -> table.Number) |> HashSet

            for _, number in edit.Removed do
                if not (added.Contains number) then
                    runs.Remove number |> ignore

    /// The edit that a plan's job makes.
    let carryOut (nowSeconds: int) (plan: MergePlan) : RunningJob =
        let removed = plan.Inputs |> Array.map (fun (level, table) -> level, table.Number) |> List.ofArray

        match plan.Kind with
        | PlanKind.Drop -> {
            Edit = { VersionEdit.empty with Removed = removed }
            InputBytes = 0L
            OutputBytes = 0L
            DoneBytes = 0L
          }
        | PlanKind.Move -> {
            Edit = {
                VersionEdit.empty with
                    Removed = removed
                    Added = plan.Inputs |> Array.map (fun (_, table) -> plan.OutputLevel, table) |> List.ofArray
            }
            InputBytes = 0L
            OutputBytes = 0L
            DoneBytes = 0L
          }
        | PlanKind.Merge ->
            let sources =
                plan.Inputs
                |> Array.groupBy (fun (level, table) ->
                    // Every table of level 0 is a run of its own.
                    if level = 0 then
                        struct (0, table.Number)
                    else
                        struct (level, FileNumber 0UL))
                |> Array.map (fun (_, tables) ->
                    tables |> Array.map (fun (_, table) -> runs[table.Number]) |> SortedRun.concat)

            let older =
                version.Levels
                |> Array.skip (plan.OutputLevel + 1)
                |> Array.filter (Array.isEmpty >> not)
                |> Array.map rangesOf

            let below =
                if plan.OutputLevel + 1 < version.Levels.Length then
                    rangesOf version.Levels[plan.OutputLevel + 1]
                else
                    [||]

            let sequence =
                plan.Inputs |> Array.map (fun (_, table) -> table.Properties.LargestSequence.Value) |> Array.max

            let outputs =
                sources
                |> Array.reduce SortedRun.merge
                |> SortedRun.prune nowSeconds older
                |> create options.TableSizeBytes sequence below

            {
                Edit = {
                    VersionEdit.empty with
                        Removed = removed
                        Added = outputs |> List.map (fun table -> plan.OutputLevel, table)
                }
                InputBytes = plan.Inputs |> Array.sumBy (fun (_, table) -> table.SizeBytes)
                OutputBytes = outputs |> List.sumBy _.SizeBytes
                DoneBytes = 0L
            }

    member _.Version = version
    member _.WrittenBytes = writtenBytes
    member _.LargestJobBytes = largestJobBytes
    member _.LevelZeroPeak = levelZeroPeak
    member _.StoredBytes = version.Levels |> Array.sumBy (Array.sumBy _.SizeBytes)

    /// Bytes that a running job has written.
    member _.UnfinishedBytes =
        match running with
        | ValueSome job -> job.OutputBytes * job.DoneBytes / max 1L job.InputBytes
        | ValueNone -> 0L

    member _.ForgetCounters() =
        writtenBytes <- 0L
        largestJobBytes <- 0L
        levelZeroPeak <- 0

    member _.Flush (nowSeconds: int) (memtable: SortedRun) : unit =
        flushCount <- flushCount + 1UL

        let older =
            Array.append
                (version.Levels[0] |> Array.map (Array.singleton >> rangesOf))
                (version.Levels |> Array.tail |> Array.map rangesOf)
            |> Array.filter (Array.isEmpty >> not)

        let tables = memtable |> SortedRun.prune nowSeconds older |> create Int64.MaxValue flushCount [||]
        writtenBytes <- writtenBytes + (tables |> List.sumBy _.SizeBytes)
        install { VersionEdit.empty with Added = tables |> List.map (fun table -> 0, table) }

    /// Compacts until so many bytes were read, or nothing is due. What is left of the bytes.
    member _.Compact (nowSeconds: int) (budgetBytes: int64) : int64 =
        let mutable budget = budgetBytes
        let mutable isIdle = false

        while budget > 0L && not isIdle do
            match running with
            | ValueNone ->
                match choose nowSeconds version with
                | None -> isIdle <- true
                | Some plan ->
                    let job = carryOut nowSeconds plan
                    largestJobBytes <- max largestJobBytes job.InputBytes
                    writtenBytes <- writtenBytes + job.OutputBytes

                    if job.InputBytes = 0L then
                        install job.Edit
                    else
                        running <- ValueSome job
            | ValueSome job ->
                let step = min budget (job.InputBytes - job.DoneBytes)
                job.DoneBytes <- job.DoneBytes + step
                budget <- budget - step

                if job.DoneBytes = job.InputBytes then
                    running <- ValueNone
                    install job.Edit

        budget

    /// Tables asked and tables read (expected, with filters) by the lookup of a key.
    member _.Lookup(key: int) : struct (int * float) =
        let falsePositives = 0.01
        let mutable asked = 0
        let mutable read = 0.0
        let mutable isFound = false
        let mutable level = 0

        let ask (table: TableMeta) =
            if
                not isFound
                && SortedRun.keyOf table.Properties.SmallestKey <= key
                && key <= SortedRun.keyOf table.Properties.LargestKey
            then
                asked <- asked + 1
                isFound <- Array.BinarySearch(runs[table.Number].Keys, key) >= 0
                read <- read + (if isFound then 1.0 else falsePositives)

        while not isFound && level < version.Levels.Length do
            Array.iter ask version.Levels[level]
            level <- level + 1

        struct (asked, read)

    member _.RunCount =
        version.Levels[0].Length
        + (version.Levels |> Seq.tail |> Seq.filter (Array.isEmpty >> not) |> Seq.length)

[<RequireQualifiedAccess>]
module Simulation =

    /// Compaction reads so many bytes while one byte is written to the store.
    [<Literal>]
    let bandwidth = 24L

    /// Flushes between two looks at space and reads. No multiple of a trigger of level 0, so that every state between two of its jobs is seen.
    [<Literal>]
    let private sampleInterval = 7

    let run (options: Options) (policy: Policy) (workload: Workload) : Measurement =
        let options = policy.Adjust options
        let store = SimulatedStore(options, policy, options.LevelCount)
        let next = workload.Make()
        let random = Random 2
        let absent = Int32.MinValue
        let latest = Array.create workload.KeyCount absent
        let memtable = SortedDictionary<int, int>()
        let mutable memtableBytes = 0L
        let mutable ingestedBytes = 0L
        let mutable flushes = 0
        let mutable stalledBytes = 0L
        let mutable isMeasuring = workload.WarmUpCount = 0
        let spaces = List<float>()
        let mutable spacePeak = 0.0
        let asked = List<float>()
        let read = List<float>()
        let runs = List<float>()

        let liveBytes (now: int) =
            let mutable bytes = 0L

            for mark in latest do
                if mark = SortedRun.lasting || mark > now then
                    bytes <- bytes + SortedRun.entryBytes mark

            bytes

        let sample (now: int) =
            let live = float (max 1L (liveBytes now))
            spaces.Add(float store.StoredBytes / live)
            spacePeak <- max spacePeak (float (store.StoredBytes + store.UnfinishedBytes) / live)
            runs.Add(float store.RunCount)

            for _ in 1..100 do
                let struct (tables, reads) = store.Lookup(random.Next workload.KeyCount)
                asked.Add(float tables)
                read.Add reads

        for write in 0 .. workload.WriteCount - 1 do
            let now = write / Workload.writesPerSecond

            if write = workload.WarmUpCount then
                store.ForgetCounters()
                ingestedBytes <- 0L
                stalledBytes <- 0L
                isMeasuring <- true

            let struct (key, mark) = next write now
            latest[key] <- mark
            memtable[key] <- mark
            let bytes = SortedRun.entryBytes mark
            ingestedBytes <- ingestedBytes + bytes
            // Every version of an entry takes room in the memtable's arena.
            memtableBytes <- memtableBytes + bytes

            if memtableBytes >= options.MemtableSizeBytes then
                let run = { Keys = Array.ofSeq memtable.Keys; Marks = Array.ofSeq memtable.Values }
                memtable.Clear()
                store.Flush now run
                store.Compact now (bandwidth * memtableBytes) |> ignore
                memtableBytes <- 0L

                while store.Version.Levels[0].Length >= options.LevelZeroTableCountMax do
                    let step = options.MemtableSizeBytes
                    store.Compact now step |> ignore
                    stalledBytes <- stalledBytes + step

                flushes <- flushes + 1

                // The first samples of a store that is filled from nothing would measure the memtable.
                if isMeasuring && flushes % sampleInterval = 0 && write > workload.WriteCount / 4 then
                    sample now

        let stalledTime = float stalledBytes / float bandwidth

        {
            WriteAmplification = float store.WrittenBytes / float ingestedBytes
            SpaceMean = Seq.average spaces
            SpacePeak = spacePeak
            TablesAsked = Seq.average asked
            TablesRead = Seq.average read
            Runs = Seq.average runs
            LargestJob = float store.LargestJobBytes / float options.MemtableSizeBytes
            LevelZeroPeak = store.LevelZeroPeak
            StalledShare = stalledTime / (stalledTime + float ingestedBytes)
        }
