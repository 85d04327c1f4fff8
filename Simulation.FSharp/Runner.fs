namespace LsmFs.Simulation

// Invariants
// 1. All that happens follows from the schedule: one thread, one clock, no chance but the salts of log files, which only checksums depend on.
// 2. Once the machine has stopped, nothing that the abandoned store does or says counts.

open System
open System.Collections.Generic
open System.IO
open System.Text
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host

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

/// What a command came to when it was executed.
[<Struct; NoEquality; NoComparison>]
type private Executed =
    | Decided of sequence: uint64 * reply: ReplyCode
    /// The current value could not be read, and the command was refused.
    | NotRead
    /// There was no space for it.
    | NotAdmitted

/// The commands of a client, carried out as the server does it.
[<Sealed>]
type private ClientWrites
    (
        number: int,
        commands: ClientCommand[],
        uniques: uint64[],
        executing: ClientWrites -> unit,
        completed: ClientWrites -> CommitOutcome -> unit
    ) =
    inherit Submission()

    let values =
        commands
        |> Array.mapi (fun index command ->
            match command with
            | Set(_, length, _)
            | Add(_, length)
            | Replace(_, length)
            | Append(_, length)
            | CompareAndSet(_, length, _) -> Item.value number index length
            | SetNumber(_, number) -> Encoding.ASCII.GetBytes(string number)
            | _ -> [||])

    let results = List<Executed>()
    let mutable nowSeconds = 0u
    let mutable lastSequence = 0UL
    let mutable isInFlush = false

    let verbOf (command: ClientCommand) : Verb =
        match command with
        | Set _
        | SetNumber _ -> Verb.Set
        | Add _ -> Verb.Add
        | Replace _ -> Verb.Replace
        | Append _ -> Verb.Append
        | CompareAndSet _ -> Verb.Cas
        | Increment _ -> Verb.Incr
        | Touch _ -> Verb.Touch
        | Delete _ -> Verb.Delete
        | FlushAll _ -> Verb.FlushAll

    let execute (context: WriteContext) (index: int) : Executed =
        let command = commands[index]
        let key = Item.key (Command.keyOf command)
        let input = Array.append key values[index]

        let parsed: Command = {
            Verb = verbOf command
            Dialect = Dialect.Text
            NoReply = false
            KeyOffset = 0
            KeyLength = key.Length
            KeysLength = key.Length
            Flags = uint32 (Command.keyOf command)
            Exptime =
                (match command with
                 | Set(_, _, ttl)
                 | Touch(_, ttl) -> ttl
                 | FlushAll delay -> delay
                 | _ -> 0)
            Number =
                (match command with
                 | CompareAndSet _ -> uniques[index]
                 | Increment(_, delta) -> uint64 delta
                 | _ -> 0UL)
            ValueOffset = key.Length
            ValueLength = values[index].Length
        }

        let mutable current = ValueNone
        let mutable isRead = true

        if Execute.needsCurrent parsed.Verb then
            let mutable entry = Unchecked.defaultof<Entry>

            match context.Find(ReadOnlySpan<byte> key, &entry) with
            | LookupOutcome.Found -> current <- ValueSome entry
            | LookupOutcome.Unreadable -> isRead <- false
            | _ -> ()

        if not isRead then
            NotRead
        else
            let scratch: byte[] = Array.zeroCreate ProtocolLimits.scratchLength

            let change =
                Execute.decide
                    &parsed
                    (ReadOnlySpan<byte> input)
                    &current
                    context.NowSeconds
                    (1 <<< 20)
                    (Span<byte> scratch)

            if not context.AdmitsPuts && not (Execute.isRemoval change.Kind) then
                NotAdmitted
            else
                let sequence = context.NextSequence

                match change.Kind with
                | ChangeKind.Put ->
                    context.Put(
                        ReadOnlySpan<byte> key,
                        change.Head,
                        change.Tail,
                        change.Flags,
                        change.ExpirySeconds,
                        change.Cas,
                        change.Marks
                    )
                    |> ignore
                | ChangeKind.Delete -> context.Delete(ReadOnlySpan<byte> key)
                | ChangeKind.FlushAll -> context.FlushAll change.ExpirySeconds
                | _ -> ()

                Decided(sequence, change.Reply)

    member _.Number = number
    member _.IsRemoval = commands |> Array.forall Command.isRemoval
    /// Whether a command could not read what it needed.
    member _.IsUnreadable = results.Exists(fun result -> result.IsNotRead)

    /// Whether everything was flushed in it, by a command or because a flush that waited for its time had come due.
    member _.Flushed(pendingAtSeconds: uint32) : Flushed =
        let isFlush (command: ClientCommand) =
            match command with
            | FlushAll _ -> true
            | _ -> false

        if
            (pendingAtSeconds <> 0u && pendingAtSeconds <= nowSeconds)
            || commands |> Array.contains (FlushAll 0)
        then
            Flushed.AtOnce
        elif Array.exists isFlush commands then
            Flushed.Later
        else
            Flushed.Nothing

    /// Whether the group flushed something up to its last command: it is durable then.
    member _.IsInFlush = isInFlush

    /// What the model holds after it, and the first answer that the model would not have given.
    member _.Apply(before: Contents) : struct (Contents * string option) =
        let mutable contents = Contents.flushDue nowSeconds before
        let mutable difference = None

        for index in 0 .. results.Count - 1 do
            match results[index] with
            | Decided(sequence, reply) ->
                let struct (after, expected) =
                    Command.apply commands[index] values[index] uniques[index] nowSeconds sequence contents

                if reply <> expected && difference.IsNone then
                    let item = Contents.find nowSeconds (Command.keyOf commands[index]) contents
                    let held = item |> Option.map Item.show |> Option.defaultValue "nothing"

                    difference <-
                        Some $"command {index + 1} was answered {reply}, the model says {expected}: it holds {held}"

                if sequence <= before.LastSequence && difference.IsNone then
                    difference <- Some $"sequence number {sequence} follows {before.LastSequence}"

                contents <- after
            | NotRead
            | NotAdmitted -> ()

        struct ({ contents with LastSequence = max contents.LastSequence lastSequence }, difference)

    override _.NeedsPuts = number % 2 = 0 && commands |> Array.exists (Command.isRemoval >> not)

    override writes.Execute context =
        executing writes
        results.Clear()
        nowSeconds <- context.NowSeconds

        for index in 0 .. commands.Length - 1 do
            results.Add(execute context index)

        lastSequence <- context.NextSequence - 1UL
        isInFlush <- context.HasFlush

    override writes.Completed outcome = completed writes outcome

/// Where in a step the simulation is.
[<Sealed>]
type private Frame(interrupts: Interrupt list, outer: Frame option) =
    member val Interrupts = interrupts with get, set
    member val Point = 0 with get, set
    /// A fault that goes on for some operations.
    member val Fault: (FaultKind * int) voption = ValueNone with get, set
    member _.Outer = outer

    member _.Depth: int =
        match outer with
        | None -> 0
        | Some outer -> outer.Depth + 1

/// Carries out a schedule and judges what comes of it. One use.
[<Sealed>]
type internal Runner(schedule: Schedule, statistics: Statistics, trace: (string -> unit) option) =
    let clock = SimulatedClock()
    let mutable disk = SimulatedDisk()
    let model = Model schedule.Durability
    let mutable store: Store voption = ValueNone
    let mutable reader: StoreReader voption = ValueNone
    let mutable frame = Frame([], None)
    let mutable down: PowerLoss voption = ValueNone
    let mutable failure: string option = None
    // While files of the store are opened or closed.
    let mutable isOpening = false
    let mutable isClosing = false
    // Since the store was opened.
    let mutable faultCount = 0
    let mutable hadSyncFault = false
    // Under os: a sync of a log has failed, after which a restart makes only its last group durable for certain.
    let mutable hasDroppedLog = false
    let mutable isSpaceLimited = false
    let mutable isReserveWhole = true
    // Whether the power was lost and logs may have a gap, which is refused until they are salvaged.
    let mutable mayHaveGap = false
    // Whether, then, nothing is promised of the order in which what was lost was written.
    let mutable isOrderLost = false
    // What may be found if the power is lost before what a killed process has left is durable.
    let mutable ifPowerLost: Contents list = []
    let mutable idleCount = 0
    let executing = List<ClientWrites>()
    let pending = HashSet<ClientWrites>(HashIdentity.Reference)
    let held = Queue<struct (StoreSnapshot * Map<int, Item>)>()

    let sizes = {
        SimulatedMachine.SmallSizes with
            MemtableSizeBytes = int64 schedule.MemtableSizeBytes
            Compression = schedule.Compression
    }

    let nowSeconds () = uint32 (clock.GetUtcNow().ToUnixTimeSeconds())

    let tell (line: unit -> string) : unit =
        match trace with
        | Some write ->
            let indent = String(' ', 2 * frame.Depth)
            write $"{indent}{line ()}"
        | None -> ()

    /// A broken promise ends the simulation, also when it is found within the store, which would take an exception for its own.
    let fail (message: string) : unit =
        if down.IsSome then
            raise (MachineStoppedException())

        if failure.IsNone then
            tell (fun () -> $"!! {message}")
            failure <- Some message
            disk.Stop() |> ignore

        raise (SimulationFailed message)

    let check () : unit =
        match failure with
        | Some message -> raise (SimulationFailed message)
        | None -> ()

    let isRunning () = down.IsNone && failure.IsNone

    // ------------------------------------------------------------------------------------------------------- writes

    /// What the model would hold if the group that is under way had taken place.
    let withGroup () : Contents option =
        if executing.Count = 0 then
            None
        else
            executing
            |> Seq.fold
                (fun contents writes ->
                    let struct (after, _) = writes.Apply contents
                    after)
                model.Current
            |> Some

    let onExecuting (writes: ClientWrites) : unit =
        if isRunning () then
            if executing.Contains writes then
                // The group is executed again, for itself or without its values; what went before may be in the log.
                withGroup () |> Option.iter model.Refused
                executing.Clear()

            executing.Add writes

    let onCompleted (writes: ClientWrites) (outcome: CommitOutcome) : unit =
        if isRunning () then
            match outcome.Refusal with
            | null ->
                let flushAtBefore = model.Current.FlushAtSeconds
                let struct (after, difference) = writes.Apply model.Current
                executing.Remove writes |> ignore
                pending.Remove writes |> ignore
                tell (fun () -> $"write {writes.Number} is acknowledged")
                statistics.Acknowledged <- statistics.Acknowledged + 1L

                match difference with
                | Some difference -> fail $"write {writes.Number}: {difference}"
                | None -> ()

                if writes.IsUnreadable && faultCount = 0 then
                    fail $"write {writes.Number}: a value cannot be read, and no operation of the disk has failed"

                model.Committed(after, executing.Count = 0, writes.IsInFlush, writes.Flushed flushAtBefore)
            | refusal ->
                if executing.Contains writes then
                    withGroup () |> Option.iter model.Refused

                executing.Remove writes |> ignore
                pending.Remove writes |> ignore
                tell (fun () -> $"write {writes.Number} is refused: {refusal}")
                statistics.Refused <- statistics.Refused + 1L

                if refusal.Contains "internal" then
                    fail $"write {writes.Number} was refused by an internal error"

                if refusal.Contains "restarted" && not hadSyncFault then
                    fail $"write {writes.Number} was refused although no sync has failed: {refusal}"

                if not isClosing && faultCount = 0 && not isSpaceLimited then
                    fail $"write {writes.Number} was refused, and the disk has neither failed nor been full: {refusal}"

                if not isClosing && faultCount = 0 && isReserveWhole && writes.IsRemoval then
                    fail $"write {writes.Number} only removes, and was refused on a full disk: {refusal}"

    let submit (number: int) (commands: ClientCommand list) : unit =
        let commands = Array.ofList commands

        let uniques =
            commands
            |> Array.map (function
                | CompareAndSet(key, _, true) ->
                    match Contents.find (nowSeconds ()) key model.Current with
                    | Some item -> item.Cas
                    | None -> 1UL
                | CompareAndSet _ -> UInt64.MaxValue
                | _ -> 0UL)

        let writes = ClientWrites(number, commands, uniques, onExecuting, onCompleted)
        pending.Add writes |> ignore
        store.Value.Submit writes

    // -------------------------------------------------------------------------------------------------------- reads

    let itemOf (entry: Entry) : Item = {
        Value = entry.Value.ToArray()
        Flags = entry.Flags
        ExpirySeconds = entry.ExpirySeconds
        Cas = entry.Cas
    }

    let show (item: Item option) = item |> Option.map Item.show |> Option.defaultValue "nothing"

    /// Whether a read may fail: only when the disk did.
    let unreadable (faultsBefore: int) (what: string) : unit =
        tell (fun () -> $"{what} cannot be read")

        if faultCount = faultsBefore then
            fail $"{what} cannot be read, and no operation of the disk has failed"

    // A reader is for one thread at a time, so a read within a read has another one.
    let mutable isReading = false

    let tryFind (key: int) : Result<Item option, unit> =
        let isWithin = isReading

        let reader =
            if isWithin then
                store.Value.CreateReader()
            else
                reader.Value

        isReading <- true

        try
            reader.Enter()
            let mutable entry = Unchecked.defaultof<Entry>

            let found =
                match reader.Find(ReadOnlySpan<byte>(Item.key key), nowSeconds (), &entry) with
                | LookupOutcome.Found -> Ok(Some(itemOf entry))
                | LookupOutcome.Unreadable -> Error()
                | _ -> Ok None

            reader.Exit()
            found
        finally
            isReading <- isWithin

            if isWithin then
                reader.Dispose()

    let get (key: int) : unit =
        let faultsBefore = faultCount
        statistics.Reads <- statistics.Reads + 1L
        // What comes in between may change it: the snapshot is taken when the read begins.
        let expected = Contents.find (nowSeconds ()) key model.Current

        match tryFind key with
        | Error() -> unreadable faultsBefore $"key {key}"
        | Ok found ->
            tell (fun () -> $"key {key} is {show found}")

            if isRunning () && found <> expected then
                fail $"get {key} found {show found}; acknowledged is {show expected}"

    let scanOf (snapshot: StoreSnapshot) : Map<int, Item> =
        use cursor = snapshot.Scan().GetEnumerator()
        let mutable items = Map.empty

        while cursor.MoveNext() do
            let entry = cursor.Current
            let name = Encoding.ASCII.GetString entry.Key
            items <- items.Add(Int32.Parse(name.Substring 4), itemOf entry)

        items

    let compare (what: string) (expected: Map<int, Item>) (found: Map<int, Item>) : unit =
        if isRunning () && found <> expected then
            fail $"{what} found {Contents.show found}; acknowledged is {Contents.show expected}"

    let readSnapshot (what: string) (snapshot: StoreSnapshot) (expected: Map<int, Item>) : unit =
        let faultsBefore = faultCount
        statistics.Reads <- statistics.Reads + 1L

        try
            compare what expected (scanOf snapshot)
        with :? StoreException ->
            unreadable faultsBefore what

    let scan () : unit =
        use snapshot = store.Value.CreateSnapshot()
        readSnapshot "a scan" snapshot (Contents.live snapshot.NowSeconds model.Current)

    let hold () : unit =
        if held.Count < 3 then
            let snapshot = store.Value.CreateSnapshot()
            held.Enqueue(struct (snapshot, Contents.live snapshot.NowSeconds model.Current))

    let release () : unit =
        match held.TryDequeue() with
        | true, struct (snapshot, _) -> snapshot.Dispose()
        | _ -> ()

    let readHeld () : unit =
        match held.TryPeek() with
        | true, struct (snapshot, expected) -> readSnapshot "a held snapshot" snapshot expected
        | _ -> ()

    // --------------------------------------------------------------------------------------------------------- work

    let throughSequence () : uint64 =
        match store with
        | ValueSome store ->
            Version.tables store.Current.Version
            |> Seq.fold (fun last (_, table) -> max last table.Properties.LargestSequence.Value) 0UL
        | ValueNone -> 0UL

    let work (work: StoreWork) : bool =
        let worked = store.Value.TryRun work

        if worked && isRunning () then
            match work with
            | StoreWork.Flush ->
                statistics.Flushes <- statistics.Flushes + 1L
                tell (fun () -> "flushed")
                model.Flushed(throughSequence ())
            | StoreWork.Compaction ->
                statistics.Compactions <- statistics.Compactions + 1L
                tell (fun () -> "compacted")
            | _ -> ()

        worked

    let idle () : unit =
        idleCount <- idleCount + 1
        clock.Advance(TimeSpan.FromMilliseconds 5.0)
        clock.RunTimers() |> ignore

        if idleCount > 5000 then
            fail "a call waits for ever"

    let flushAndWait () : unit =
        let faultsBefore = faultCount
        idleCount <- 0

        try
            store.Value.Flush()
        with :? StoreException as refusal ->
            tell (fun () -> refusal.Message)

            if faultsBefore = faultCount && faultCount = 0 && not isSpaceLimited then
                fail $"a flush was refused, and the disk has neither failed nor been full: {refusal.Message}"

    // ------------------------------------------------------------------------------------------- interrupts and faults

    let stop (loss: PowerLoss) : unit =
        tell (fun () ->
            match loss with
            | Everything -> "the process is killed here"
            | _ -> $"the power is lost here, keeping {loss}")

        statistics.StopsWithin <- statistics.StopsWithin + 1L
        down <- ValueSome loss
        disk.Stop() |> ignore
        raise (MachineStoppedException())

    let inject (kind: FaultKind) (operation: DiskOperation) : DiskFault option =
        let fault = Schedule.faultAt kind operation

        if fault.IsSome then
            faultCount <- faultCount + 1

            statistics.Fault(
                Schedule.fault (
                    match kind with
                    | FlippedBit _ -> FlippedBit 0
                    | kind -> kind
                )
            )

            tell (fun () -> $"* {operation.Kind} {operation.File}: {Schedule.fault kind}")

            if operation.Kind = "sync" then
                hadSyncFault <- true

                hasDroppedLog <-
                    hasDroppedLog || (schedule.Durability = Durability.Os && operation.File.EndsWith ".wal")

        fault

    let isNestable (action: StepAction) : bool =
        match action with
        | FlushAndWait
        | Reopen
        | Crash _
        | LimitSpace _
        | UnlimitSpace -> false
        | Submit _
        | Work _
        | Wait _ -> true
        | _ -> not isClosing

    let rec perform (step: Step) : unit =
        statistics.Steps <- statistics.Steps + 1L
        tell (fun () -> Schedule.action step.Action)

        match step.Action with
        | Submit(number, commands) -> submit number commands
        | Get key -> get key
        | StepAction.Scan -> scan ()
        | Hold -> hold ()
        | ReadHeld -> readHeld ()
        | Release -> release ()
        | Work kind -> work kind |> ignore
        | FlushAndWait -> flushAndWait ()
        | Wait milliseconds ->
            clock.Advance(TimeSpan.FromMilliseconds(float milliseconds))

            if store.Value.MayRun StoreWork.Commit then
                clock.RunTimers() |> ignore
        | LimitSpace bytes ->
            let image = disk
            image.CapacityBytes <- Int64.MaxValue
            let used = 1L <<< 50
            image.CapacityBytes <- used
            image.CapacityBytes <- used - image.FreeBytes + int64 bytes
            isSpaceLimited <- true
            isReserveWhole <- isReserveWhole && not store.Value.DiskCondition.IsFull
        | UnlimitSpace -> disk.CapacityBytes <- Int64.MaxValue
        | Reopen
        | Crash _ -> ()

    and within (interrupts: Interrupt list) (body: unit -> unit) : unit =
        let outer = frame
        frame <- Frame(interrupts, Some outer)

        try
            body ()
        finally
            frame <- outer

    and nested (step: Step) : unit =
        if isRunning () && isNestable step.Action then
            statistics.Nested <- statistics.Nested + 1L
            within step.Interrupts (fun () -> perform step)

            if not (isRunning ()) then
                raise (MachineStoppedException())

    /// One more moment of the step: before an operation, or after one.
    and moment (operation: DiskOperation) (isBefore: bool) : DiskFault option =
        let own = frame
        own.Point <- own.Point + 1
        let mutable fault = None
        let mutable isLooking = true

        while isLooking do
            match own.Interrupts with
            | next :: rest when next.At <= own.Point ->
                own.Interrupts <- rest

                match next.Event with
                | Meanwhile steps ->
                    if store.IsSome && not isOpening then
                        tell (fun () ->
                            let moment = if isBefore then "before" else "after"
                            $"  {moment} {operation.Kind} {operation.File}:")

                        List.iter nested steps
                | Fault(kind, times) -> own.Fault <- ValueSome(kind, times)
                | Stop loss ->
                    let moment = if isBefore then "before" else "after"
                    tell (fun () -> $"  {moment} {operation.Kind} {operation.File}:")
                    stop loss
                | Slow milliseconds -> clock.Advance(TimeSpan.FromMilliseconds(float milliseconds))
            | _ -> isLooking <- false

        if isBefore then
            match own.Fault with
            | ValueSome(kind, times) ->
                fault <- inject kind operation

                if fault.IsSome then
                    own.Fault <- (if times > 1 then ValueSome(kind, times - 1) else ValueNone)
            | ValueNone -> ()

        fault

    // ------------------------------------------------------------------------------------------ opening and closing

    let options () = SimulatedMachine.OptionsOn(disk, clock, schedule.Durability, sizes, idle)

    let attach () : unit =
        disk.Inject(fun operation ->
            statistics.Operations <- statistics.Operations + 1L
            if isRunning () then moment operation true else None)

        disk.Completed(fun operation ->
            if isRunning () then
                moment operation false |> ignore)

    let forget () : unit =
        store <- ValueNone
        reader <- ValueNone
        held.Clear()
        executing.Clear()
        pending.Clear()
        clock.DropTimers()

    /// What a store that was just opened holds.
    let read () : Map<int, Item> =
        use snapshot = store.Value.CreateSnapshot()
        let scanned = scanOf snapshot

        for key in 0 .. schedule.KeyCount - 1 do
            match tryFind key with
            | Ok found when found <> (Map.tryFind key scanned) ->
                let other = Map.tryFind key scanned
                fail $"get {key} found {show found}, a scan {show other}"
            | Ok _ -> ()
            | Error() -> fail $"key {key} cannot be read after opening"

        scanned

    /// The files that an open store has and may not have.
    let leaked (isSettled: bool) : string list =
        let snapshot = store.Value.Current

        let live =
            Version.tables snapshot.Version |> Seq.map (fun (_, table) -> table.Number.Value) |> Set.ofSeq

        let oldestLog = (Snapshot.oldestLog snapshot).Value
        let names = disk.Image.Names
        let manifests = names |> List.filter _.StartsWith("MANIFEST-")
        let current = Encoding.ASCII.GetString(disk.Image.Read "CURRENT").TrimEnd '\n'

        [
            yield! manifests |> List.filter ((<>) current)

            for name in names do
                match FileName.tryParse name with
                | Some(StoreFile.Table number) when not (live.Contains number.Value) -> name
                | Some(StoreFile.Log number) when number.Value < oldestLog -> name
                | Some(StoreFile.Log number) when isSettled && number <> snapshot.ActiveLog -> name
                | Some StoreFile.Temporary -> name
                | _ -> ()
        ]

    /// Opens the store, however often it is stopped meanwhile, and judges what it holds.
    let rec openStore (interrupts: Interrupt list) (allowed: Contents list) : unit =
        attach ()
        faultCount <- 0
        hadSyncFault <- false
        isReserveWhole <- true
        isClosing <- false
        isOpening <- true
        executing.Clear()

        let mutable refusal = None

        within interrupts (fun () ->
            try
                let opened = Store.Open(options (), NullLogger.Instance)
                store <- ValueSome opened
                reader <- ValueSome(opened.CreateReader())
            with
            | :? MachineStoppedException -> ()
            | :? StoreException as refused -> refusal <- Some refused.Message
            | :? IOException as refused -> refusal <- Some refused.Message)

        isOpening <- false
        check ()

        match down, refusal with
        | ValueSome loss, _ -> restart loss (if loss = Everything then allowed else ifPowerLost) []
        | ValueNone, Some message when mayHaveGap && message.Contains "is damaged" ->
            // What was lost of the log has a gap: there is no prefix to go on with but by salvage. A new disk then.
            tell (fun () -> $"refuses to open: {message}")
            statistics.RefusedToOpen <- statistics.RefusedToOpen + 1L
            forget ()
            disk.Stop() |> ignore
            disk <- SimulatedDisk()
            model.Recovered Contents.empty
            ifPowerLost <- [ Contents.empty ]
            mayHaveGap <- false
            isOrderLost <- false
            openStore [] [ Contents.empty ]
        | ValueNone, Some message when faultCount > 0 ->
            tell (fun () -> $"does not open: {message}")
            // The process ends with the refusal.
            reopenDisk Everything
            openStore [] allowed
        | ValueNone, Some message when disk.CapacityBytes < Int64.MaxValue && message.Contains "out of disk space" ->
            tell (fun () -> $"does not open: {message}")
            reopenDisk Everything
            disk.CapacityBytes <- Int64.MaxValue
            openStore [] allowed
        | ValueNone, Some message -> fail $"the store does not open: {message}"
        | ValueNone, None ->
            isReserveWhole <- not store.Value.DiskCondition.IsFull
            isSpaceLimited <- disk.CapacityBytes < Int64.MaxValue
            mayHaveGap <- false
            judge allowed
            isOrderLost <- false

    and judge (allowed: Contents list) : unit =
        let now = nowSeconds ()
        let hadFaults = faultCount > 0
        let found = read ()

        let recovered (items: Map<int, Item>) =
            let flush = store.Value.Current.Flush

            model.Recovered {
                Items = items
                FlushAtSeconds = (if flush.IsDue now then 0u else flush.PendingAtSeconds)
                LastSequence = store.Value.Current.LastSequence.Value
            }

        let flush = store.Value.Current.Flush
        let last = store.Value.Current.LastSequence.Value
        let equal = allowed |> List.filter (fun contents -> Contents.live now contents = found)
        let matching = equal |> List.filter (fun contents -> contents.LastSequence <= last)

        // Nothing invented all the same: every key has what it had at some time.
        let isMixture () =
            [ 0 .. schedule.KeyCount - 1 ]
            |> List.forall (fun key ->
                allowed |> List.exists (fun contents -> Contents.find now key contents = Map.tryFind key found))

        match matching with
        | [] when isOrderLost && isMixture () ->
            tell (fun () -> $"open, with {Contents.show found}")
            recovered found
        | [] when not equal.IsEmpty ->
            fail
                $"after opening, the last sequence number is {last}, and {(List.last equal).LastSequence} has been used"
        | [] ->
            let expected =
                allowed
                |> List.map (fun contents -> Contents.show (Contents.live now contents))
                |> List.distinct
                |> List.truncate 5
                |> String.concat " | or: "

            fail $"after opening, found {Contents.show found}; allowed is {expected}"
        | _ ->
            let isPending (contents: Contents) =
                (not (flush.IsDue now)) = (contents.FlushAtSeconds = 0u || contents.FlushAtSeconds > now)
                && (flush.IsDue now
                    || contents.FlushAtSeconds = 0u && flush.PendingAtSeconds = 0u
                    || contents.FlushAtSeconds = flush.PendingAtSeconds)

            let best =
                matching
                |> List.tryFind (fun contents -> isPending contents && contents.LastSequence = last)
                |> Option.orElse (matching |> List.tryFind isPending)

            // Under the weaker durabilities the manifest knows a flush that waits for its time, and not the writes before it.
            let best =
                match best with
                | Some contents -> contents
                | None ->
                    if
                        schedule.Durability = Durability.Sync
                        && not (matching |> List.exists (fun contents -> Contents.flushDue now contents <> contents))
                        && not (flush.IsDue now)
                    then
                        fail
                            $"after opening, a flush is waiting for {flush.PendingAtSeconds}; allowed is {matching.Head.FlushAtSeconds}"

                    matching.Head

            tell (fun () -> $"open, with {Contents.show found}")

            recovered found

            match leaked false with
            | [] -> ()
            | files when not hadFaults -> fail $"""after opening, nothing refers to {String.concat ", " files}"""
            | _ -> ()

    and reopenDisk (loss: PowerLoss) : unit =
        let capacity = disk.CapacityBytes
        let image = disk.Stop()
        forget ()
        down <- ValueNone
        disk <- SimulatedDisk(image.After loss, CapacityBytes = capacity)

    /// The machine has stopped: starts it again, and opens the store.
    and restart (loss: PowerLoss) (allowed: Contents list) (interrupts: Interrupt list) : unit =
        match loss with
        | Everything -> statistics.Kills <- statistics.Kills + 1L
        | _ -> statistics.PowerLosses <- statistics.PowerLosses + 1L

        let logCount = disk.Image.Names |> List.filter _.EndsWith(".wal") |> List.length
        reopenDisk loss

        let isReordered =
            match loss with
            | AnyPrefix _
            | AnyMixture _ -> schedule.Durability = Durability.Os
            | Everything -> false
            | _ -> hasDroppedLog

        mayHaveGap <- mayHaveGap || isReordered
        isOrderLost <- isOrderLost || (isReordered && (logCount > 1 || hasDroppedLog))

        openStore interrupts allowed

    /// What may be found after the process has ended.
    let recoverable (loss: PowerLoss) (through: uint64) : Contents list =
        let group = withGroup ()
        ifPowerLost <- model.Recoverable(NothingUnsynced, through, group)
        model.Recoverable(loss, through, group)

    let crash (loss: PowerLoss) (interrupts: Interrupt list) : unit =
        restart loss (recoverable loss (throughSequence ())) interrupts

    let close (isQuiet: bool) : unit =
        isClosing <- true
        idleCount <- 0

        try
            while held.Count > 0 do
                release ()

            store.Value.Dispose()

            if isRunning () then
                statistics.CleanCloses <- statistics.CleanCloses + 1L

                if pending.Count > 0 then
                    fail "the store was closed, and not every write was answered"

                if disk.OpenCount > 0 then
                    fail $"{disk.OpenCount} files are left open"
        with
        | :? MachineStoppedException
        | SimulationFailed _ -> ()
        | error when isRunning () ->
            tell (fun () -> $"closing fails: {error.Message}")

            if isQuiet || (faultCount = 0 && not isSpaceLimited) then
                fail $"the store does not close, and the disk has neither failed nor been full: {error.Message}"
        | _ -> ()

    /// Reads every byte of a store that was closed, as `lsmfs check` does.
    let inspect () : unit =
        let lines = List<string>()
        use folder = DataFolder.OpenReadOnly(disk.FileSystem, "/simulated")

        let check = StoreCheck(folder, fun line -> lines.Add line)

        if not (check.Run()) then
            fail $"""when the store was closed, a check found {String.concat "; " lines}"""

    let closeAndOpen (interrupts: Interrupt list) (isQuiet: bool) : unit =
        // What a failed close leaves is what a killed process leaves, and may be less without a log.
        let through = throughSequence ()
        within interrupts (fun () -> close isQuiet)
        check ()

        match down with
        | ValueSome loss -> restart loss (recoverable loss through) []
        | ValueNone ->
            let hasFailed = faultCount > 0 || isSpaceLimited

            let allowed =
                if hasFailed then
                    recoverable Everything through
                else
                    ifPowerLost <- [ model.Current ]
                    ifPowerLost

            if not hasFailed then
                inspect ()

            reopenDisk Everything
            openStore [] allowed

    let step (step: Step) : unit =
        check ()

        match step.Action with
        | Crash loss ->
            tell (fun () -> Schedule.action step.Action)
            crash loss step.Interrupts
        | Reopen ->
            tell (fun () -> Schedule.action step.Action)
            closeAndOpen step.Interrupts false
        | _ ->
            try
                within step.Interrupts (fun () -> perform step)
            with :? MachineStoppedException ->
                ()

            check ()

            match down with
            | ValueSome loss -> crash loss []
            | ValueNone -> ()

    let rec settle (rounds: int) : unit =
        if rounds = 0 then
            fail "background work does not come to an end"

        if work StoreWork.Commit || work StoreWork.Flush || work StoreWork.Compaction || work StoreWork.Reclaim then
            settle (rounds - 1)

    let isPoisoned () =
        match store.Value.Statistics.WriteRefusal with
        | null -> false
        | refusal -> refusal.Contains "restarted"

    /// Without faults everything comes to its end: writes are answered and accepted again, work is done, no file is left over.
    let finish () : unit =
        tell (fun () -> "-- no more faults")
        disk.CapacityBytes <- Int64.MaxValue

        if isPoisoned () then
            closeAndOpen [] false

        let mutable number = 1_000_000
        let mutable isAccepted = false
        let mutable rounds = 0

        while not isAccepted || pending.Count > 0 do
            if not isAccepted && pending.Count = 0 then
                let before = statistics.Acknowledged
                number <- number + 2
                submit number [ Set(0, 10, 0) ]
                settle 1000
                isAccepted <- pending.Count = 0 && statistics.Acknowledged > before
                // What was refused for the fault of before is no failure of now.
            else
                settle 1000

            clock.Advance(TimeSpan.FromMilliseconds 300.0)
            clock.RunTimers() |> ignore
            rounds <- rounds + 1

            if rounds > 100 then
                fail (
                    if pending.Count > 0 then
                        "writes are never answered"
                    else
                        $"writes never come back: {store.Value.Statistics.WriteRefusal}"
                )

        check ()
        closeAndOpen [] true
        settle 1000
        scan ()

        match leaked true with
        | [] -> ()
        | files -> fail $"""when all work is done, nothing refers to {String.concat ", " files}"""

        closeAndOpen [] true
        let last = model.Current
        within [] (fun () -> close true)
        check ()
        restart NothingUnsynced [ last ] []
        within [] (fun () -> close true)
        check ()

    /// Carries the schedule out; the promise that was broken, if one was.
    member _.Run() : string option =
        try
            try
                openStore [] [ Contents.empty ]
                List.iter step schedule.Steps
                finish ()
                None
            with
            | SimulationFailed message -> Some message
            | error when failure.IsNone -> Some $"an unexpected error: {error}"
            | _ -> failure
        finally
            statistics.Seeds <- statistics.Seeds + 1
