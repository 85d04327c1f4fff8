namespace LsmFs.Engine

// A decision log is a log file (LogFile.fs, magic "LSMFSDEC") of what a running store decided and what came of it. The store does not need it and
// never reads it; it is there so that somebody can replay it (DecisionReplay.fs) and see why the store compacted what it did.
// The payload of a frame is one record. The first one of a file is 1, and no other is, so that every file can be replayed by itself.
//
//   0     1                  9
//   +-----+------------------+---------+
//   | tag | Unix time in     | content |
//   | u8  | milliseconds u64 |         |
//   +-----+------------------+---------+
//
//   tag  content                                                          meaning
//   1    options (below), u16 count, then count × (u64 job,               the log begins: the options, the jobs that are running, and the
//        plan, u32 length, version edit that adds its tables),            whole version, as the edit that makes it from an empty one
//        version edit (VersionEdit.fs)
//   2    version edit                                                     the version has changed: tables, flush state, logs
//   3    u64 job, u64 flushed through, u32 pending flush,                 a plan was chosen, from the version and the flush state as they are,
//        u16 count, u64 job × count, u16 count, u64 table × count,        these running jobs and these tables that cannot be read;
//        plan                                                             it is carried out as this job
//   4    u64 job, u8 outcome, u32 tables, u64 read, u64 written,          a job has ended: 0 done, 1 given up
//        u32 milliseconds
//   5    u64 bytes                                                        a memtable of this size was frozen
//   6    u64 bytes, u32 tables, u64 written, u32 milliseconds             a memtable of this size was flushed
//
//   options  u64 memory budget, u64 memtable, u64 table, u64 level 1 (bytes), u32 tables that make level 0 due, u32 tables in level 0 at which writes
//            wait, u32 size multiplier, u8 levels
//   plan     u8 reason, u8 kind, u8 output level, u32 count, (u8 level, u64 table) × count
//
// Version rule: a reader refuses tags, reasons, kinds and outcomes it does not know.

/// Encoding and decoding the records of a decision log.
[<RequireQualifiedAccess>]
module DecisionLog =

    /// A decision log of this size is followed by a new one, in bytes.
    [<Literal>]
    let lengthBytesMax = 4194304L

    /// How many decision logs stay when a new one begins.
    [<Literal>]
    let private keptCount = 3

    /// The decision logs to delete when a new one begins: all but the newest few.
    let outdated (files: StoreFile seq) : FileNumber list =
        files
        |> Seq.choose (function
            | StoreFile.Decisions number -> Some number
            | _ -> None)
        |> Seq.sortDescending
        |> List.ofSeq
        |> fun numbers -> List.skip (min keptCount numbers.Length) numbers

    /// A plan as it is recorded.
    let recordedPlan (plan: CompactionPlan) : RecordedPlan = {
        Reason = plan.Reason
        Kind = plan.Kind
        Inputs = plan.Inputs |> Array.map (fun (level, table) -> level, table.Number)
        OutputLevel = plan.OutputLevel
    }

    /// The event of a plan that was chosen from an input and is carried out as `job`, while `running` are the jobs of the input's running plans.
    let planned (job: uint64) (running: uint64 list) (input: PickingInput) (plan: CompactionPlan) : DecisionEvent =
        Planned {
            Job = job
            Flush = input.Flush
            Running = running
            Quarantined = input.Quarantined
            Plan = recordedPlan plan
        }

    /// The edit that makes an empty version into this one.
    let private wholeVersion (version: Version) : VersionEdit = {
        VersionEdit.empty with
            Added = List.ofSeq (Version.tables version)
    }

    // -------------------------------------------------------------------------------------------------------- encoding

    let private appendOptions (buffer: ByteBuffer) (options: Options) : unit =
        buffer.AppendU64(uint64 options.MemoryBudgetBytes)
        buffer.AppendU64(uint64 options.MemtableSizeBytes)
        buffer.AppendU64(uint64 options.TableSizeBytes)
        buffer.AppendU64(uint64 options.LevelOneSizeBytes)
        buffer.AppendU32(uint32 options.LevelZeroTableCountTrigger)
        buffer.AppendU32(uint32 options.LevelZeroTableCountMax)
        buffer.AppendU32(uint32 options.LevelSizeMultiplier)
        buffer.AppendU8(byte options.LevelCount)

    let private appendPlan (buffer: ByteBuffer) (plan: RecordedPlan) : unit =
        buffer.AppendU8(byte plan.Reason)
        buffer.AppendU8(byte plan.Kind)
        buffer.AppendU8(byte plan.OutputLevel)
        buffer.AppendU32(uint32 plan.Inputs.Length)

        for level, number in plan.Inputs do
            buffer.AppendU8(byte level)
            buffer.AppendU64 number.Value

    let private appendRunning (buffer: ByteBuffer) (job: uint64, plan: CompactionPlan) : unit =
        buffer.AppendU64 job
        appendPlan buffer (recordedPlan plan)
        buffer.AppendU32 0u
        let start = buffer.Length
        VersionEdit.encode buffer { VersionEdit.empty with Added = List.ofArray plan.Inputs }
        Coding.writeU32 (buffer.Patch(start - 4, 4)) 0 (uint32 (buffer.Length - start))

    let private appendNumbers (buffer: ByteBuffer) (numbers: uint64 list) : unit =
        buffer.AppendU16(uint16 numbers.Length)
        numbers |> List.iter buffer.AppendU64

    let private tagOf (event: DecisionEvent) : byte =
        match event with
        | Opened _ -> 1uy
        | Installed _ -> 2uy
        | Planned _ -> 3uy
        | Ended _ -> 4uy
        | Frozen _ -> 5uy
        | Flushed _ -> 6uy

    /// Appends an encoded record.
    let encode (buffer: ByteBuffer) (record: DecisionRecord) : unit =
        buffer.AppendU8(tagOf record.Event)
        buffer.AppendU64(uint64 record.TimeMilliseconds)

        match record.Event with
        | Opened(options, version, running) ->
            appendOptions buffer options
            buffer.AppendU16(uint16 running.Length)
            running |> List.iter (appendRunning buffer)
            VersionEdit.encode buffer (wholeVersion version)
        | Installed edit -> VersionEdit.encode buffer edit
        | Planned decision ->
            buffer.AppendU64 decision.Job
            buffer.AppendU64 decision.Flush.Through.Value
            buffer.AppendU32 decision.Flush.PendingAtSeconds
            appendNumbers buffer decision.Running
            appendNumbers buffer (decision.Quarantined |> List.map _.Value)
            appendPlan buffer decision.Plan
        | Ended job ->
            buffer.AppendU64 job.Job
            buffer.AppendU8(byte job.Outcome)
            buffer.AppendU32(uint32 job.TableCount)
            buffer.AppendU64(uint64 job.ReadBytes)
            buffer.AppendU64(uint64 job.WrittenBytes)
            buffer.AppendU32 job.ElapsedMilliseconds
        | Frozen memtableBytes -> buffer.AppendU64(uint64 memtableBytes)
        | Flushed(memtableBytes, tableCount, writtenBytes, elapsedMilliseconds) ->
            buffer.AppendU64(uint64 memtableBytes)
            buffer.AppendU32(uint32 tableCount)
            buffer.AppendU64(uint64 writtenBytes)
            buffer.AppendU32 elapsedMilliseconds

    // -------------------------------------------------------------------------------------------------------- decoding

    /// Thrown while a record is read, where it cannot be one.
    exception private BadRecord of Corruption

    [<Sealed>]
    type private Reader(file: string, bytes: byte[], frame: Frame) =
        let finish = frame.PayloadOffset + frame.PayloadLength
        let mutable offset = frame.PayloadOffset

        member _.Fail<'value>(reason: string) : 'value =
            raise (BadRecord { File = file; OffsetBytes = offset; Reason = reason })

        member _.IsAtEnd = (offset = finish)

        member reader.Take(count: int) : System.ReadOnlySpan<byte> =
            if count < 0 || count > finish - offset then
                reader.Fail<unit> "a record ends in the middle of a field"

            let position = offset
            offset <- offset + count
            System.ReadOnlySpan<byte>(bytes, position, count)

        member reader.U8() : byte = (reader.Take 1)[0]
        member reader.U16() : int = int (Coding.readU16 (reader.Take 2) 0)
        member reader.U32() : uint32 = Coding.readU32 (reader.Take 4) 0
        member reader.U64() : uint64 = Coding.readU64 (reader.Take 8) 0

        /// A count or a size; one that this program could not have written is refused.
        member reader.Size() : int64 =
            match int64 (reader.U64()) with
            | size when size < 0L -> reader.Fail "a size is too large"
            | size -> size

        member reader.Count() : int =
            match reader.U32() with
            | count when count > 0x7FFFFFFFu -> reader.Fail "a count is too large"
            | count -> int count

        /// The version edit in the next `length` bytes.
        member reader.Edit(length: int) : VersionEdit =
            let start = offset
            let _ = reader.Take length

            match VersionEdit.decode file bytes { PayloadOffset = start; PayloadLength = length } with
            | Ok edit -> edit
            | Error corruption -> raise (BadRecord corruption)

        member reader.EditToEnd() : VersionEdit = reader.Edit(finish - offset)

    let private readOptions (reader: Reader) : Options =
        let options = Options.ofBudget (reader.Size())
        let memtable = reader.Size()
        let table = reader.Size()
        let levelOne = reader.Size()
        let trigger = reader.Count()
        let countMax = reader.Count()
        let multiplier = reader.Count()
        let levels = int (reader.U8())

        if trigger = 0 || multiplier = 0 || levelOne = 0L || levels < 2 then
            reader.Fail "the options cannot be a store's"

        {
            options with
                MemtableSizeBytes = memtable
                TableSizeBytes = table
                LevelOneSizeBytes = levelOne
                LevelZeroTableCountTrigger = trigger
                LevelZeroTableCountMax = countMax
                LevelSizeMultiplier = multiplier
                LevelCount = levels
        }

    let private readPlan (reader: Reader) : RecordedPlan =
        let reason: CompactionReason = enum (int (reader.U8()))
        let kind: CompactionKind = enum (int (reader.U8()))
        let outputLevel = int (reader.U8())
        let count = reader.Count()

        if not (System.Enum.IsDefined reason && System.Enum.IsDefined kind) then
            reader.Fail $"a plan has the unknown reason {int reason} or kind {int kind}"

        if count = 0 then
            reader.Fail "a plan has no tables"

        {
            Reason = reason
            Kind = kind
            OutputLevel = outputLevel
            Inputs = [|
                for _ in 1..count do
                    let level = int (reader.U8())
                    level, FileNumber(reader.U64())
            |]
        }

    let private readRunning (reader: Reader) : uint64 * CompactionPlan =
        let job = reader.U64()
        let plan = readPlan reader
        let inputs = (reader.Edit(reader.Count())).Added |> Array.ofList

        if inputs |> Array.map (fun (level, table) -> level, table.Number) <> plan.Inputs then
            reader.Fail $"the tables of job {job} are not those of its plan"

        job,
        {
            Reason = plan.Reason
            Kind = plan.Kind
            Inputs = inputs
            OutputLevel = plan.OutputLevel
        }

    let private readOpened (reader: Reader) : DecisionEvent =
        let options = readOptions reader

        let running = [
            for _ in 1 .. reader.U16() do
                readRunning reader
        ]

        let edit = reader.EditToEnd()
        let empty = Version.empty options.LevelCount

        match Version.refusal edit empty with
        | Some reason -> reader.Fail $"the version cannot be a store's: {reason}"
        | None -> Opened(options, Version.apply edit empty, running)

    let private readPlanned (reader: Reader) : DecisionEvent =
        let job = reader.U64()
        let through = SequenceNumber(reader.U64())
        let pendingAt = reader.U32()

        let numbers () = [
            for _ in 1 .. reader.U16() do
                reader.U64()
        ]

        let running = numbers ()
        let quarantined = numbers () |> List.map FileNumber

        Planned {
            Job = job
            Flush = { Through = through; PendingAtSeconds = pendingAt }
            Running = running
            Quarantined = quarantined
            Plan = readPlan reader
        }

    let private readEnded (reader: Reader) : DecisionEvent =
        let job = reader.U64()
        let outcome: JobOutcome = enum (int (reader.U8()))

        if not (System.Enum.IsDefined outcome) then
            reader.Fail $"a job has the unknown outcome {int outcome}"

        let tableCount = reader.Count()
        let readBytes = reader.Size()
        let writtenBytes = reader.Size()

        Ended {
            Job = job
            Outcome = outcome
            TableCount = tableCount
            ReadBytes = readBytes
            WrittenBytes = writtenBytes
            ElapsedMilliseconds = reader.U32()
        }

    let private readFlushed (reader: Reader) : DecisionEvent =
        let memtableBytes = reader.Size()
        let tableCount = reader.Count()
        let writtenBytes = reader.Size()
        Flushed(memtableBytes, tableCount, writtenBytes, reader.U32())

    let private readRecord (reader: Reader) : DecisionRecord =
        let tag = reader.U8()
        let time = reader.Size()

        let event =
            match tag with
            | 1uy -> readOpened reader
            | 2uy -> Installed(reader.EditToEnd())
            | 3uy -> readPlanned reader
            | 4uy -> readEnded reader
            | 5uy -> Frozen(reader.Size())
            | 6uy -> readFlushed reader
            | _ -> reader.Fail $"a record has the unknown tag {tag}"

        if reader.IsAtEnd then
            { TimeMilliseconds = time; Event = event }
        else
            reader.Fail "a record is longer than its fields"

    /// Decodes the record in a frame of a decision log. O(length).
    let decode (file: string) (bytes: byte[]) (frame: Frame) : Result<DecisionRecord, Corruption> =
        try
            Ok(readRecord (Reader(file, bytes, frame)))
        with BadRecord corruption ->
            Error corruption
