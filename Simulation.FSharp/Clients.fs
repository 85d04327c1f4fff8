namespace LsmFs.Simulation

open System
open System.Text
open LsmFs.Engine
open LsmFs.Host

/// What clients do, and what they must be told.
[<Sealed>]
type internal Clients(run: Run) =
    /// What the model would hold if the group that is under way had taken place.
    let withGroup () : Contents option =
        if run.Executing.Count = 0 then
            None
        else
            run.Executing
            |> Seq.fold
                (fun contents writes ->
                    let struct (after, _) = writes.Apply contents
                    after)
                run.Model.Current
            |> Some

    let onExecuting (writes: ClientWrites) : unit =
        if run.IsRunning() then
            if run.Executing.Contains writes then
                // The group is executed again, for itself or without its values; what went before may be in the log.
                withGroup () |> Option.iter run.Model.Refused
                run.Executing.Clear()

            run.Executing.Add writes

    let onCompleted (writes: ClientWrites) (outcome: CommitOutcome) : unit =
        if run.IsRunning() then
            match outcome.Refusal with
            | null ->
                let flushAtBefore = run.Model.Current.FlushAtSeconds
                let struct (after, difference) = writes.Apply run.Model.Current
                run.Executing.Remove writes |> ignore
                run.Pending.Remove writes |> ignore
                run.Tell(fun () -> $"write {writes.Number} is acknowledged")
                run.Statistics.Acknowledged <- run.Statistics.Acknowledged + 1L

                match difference with
                | Some difference -> run.Fail $"write {writes.Number}: {difference}"
                | None -> ()

                if writes.IsUnreadable && run.FaultCount = 0 then
                    run.Fail $"write {writes.Number}: a value cannot be read, and no operation of the disk has failed"

                run.Model.Committed(after, run.Executing.Count = 0, writes.IsInFlush, writes.Flushed flushAtBefore)
            | refusal ->
                if run.Executing.Contains writes then
                    withGroup () |> Option.iter run.Model.Refused

                run.Executing.Remove writes |> ignore
                run.Pending.Remove writes |> ignore
                run.Tell(fun () -> $"write {writes.Number} is refused: {refusal}")
                run.Statistics.Refused <- run.Statistics.Refused + 1L

                if refusal.Contains "internal" then
                    run.Fail $"write {writes.Number} was refused by an internal error"

                if refusal.Contains "restarted" && not run.HadSyncFault then
                    run.Fail $"write {writes.Number} was refused although no sync has failed: {refusal}"

                if not run.IsClosing && run.FaultCount = 0 && not run.IsSpaceLimited then
                    run.Fail
                        $"write {writes.Number} was refused, and the disk has neither failed nor been full: {refusal}"

                if not run.IsClosing && run.FaultCount = 0 && run.IsReserveWhole && writes.IsRemoval then
                    run.Fail $"write {writes.Number} only removes, and was refused on a full disk: {refusal}"

    // -------------------------------------------------------------------------------------------------------- reads

    let itemOf (entry: Entry) : Item = {
        Value = entry.Value.ToArray()
        Flags = entry.Flags
        ExpirySeconds = entry.ExpirySeconds
        Cas = entry.Cas
    }

    /// Whether a read may fail: only when the disk did.
    let unreadable (faultsBefore: int) (what: string) : unit =
        run.Tell(fun () -> $"{what} cannot be read")

        if run.FaultCount = faultsBefore then
            run.Fail $"{what} cannot be read, and no operation of the disk has failed"

    // A reader is for one thread at a time, so a read within a read has another one.
    let mutable isReading = false

    let tryFind (key: int) : Result<Item option, unit> =
        let isWithin = isReading

        let reader =
            if isWithin then
                run.Store.Value.CreateReader()
            else
                run.Reader.Value

        isReading <- true

        try
            reader.Enter()
            let mutable entry = Unchecked.defaultof<Entry>

            let found =
                match reader.Find(ReadOnlySpan<byte>(Item.key key), run.NowSeconds(), &entry) with
                | LookupOutcome.Found -> Ok(Some(itemOf entry))
                | LookupOutcome.Unreadable -> Error()
                | _ -> Ok None

            reader.Exit()
            found
        finally
            isReading <- isWithin

            if isWithin then
                reader.Dispose()

    let scanOf (snapshot: StoreSnapshot) : Map<int, Item> =
        use cursor = snapshot.Scan().GetEnumerator()
        let mutable items = Map.empty

        while cursor.MoveNext() do
            let entry = cursor.Current
            let name = Encoding.ASCII.GetString entry.Key
            items <- items.Add(Int32.Parse(name.Substring 4), itemOf entry)

        items

    let compare (what: string) (expected: Map<int, Item>) (found: Map<int, Item>) : unit =
        if run.IsRunning() && found <> expected then
            run.Fail $"{what} found {Contents.show found}; acknowledged is {Contents.show expected}"

    let readSnapshot (what: string) (snapshot: StoreSnapshot) (expected: Map<int, Item>) : unit =
        let faultsBefore = run.FaultCount
        run.Statistics.Reads <- run.Statistics.Reads + 1L

        try
            compare what expected (scanOf snapshot)
        with :? StoreException ->
            unreadable faultsBefore what

    let release () : unit =
        match run.Held.TryDequeue() with
        | true, struct (snapshot, _) -> snapshot.Dispose()
        | _ -> ()

    member _.Submit (number: int) (commands: ClientCommand list) : unit =
        let commands = Array.ofList commands

        let uniques =
            commands
            |> Array.map (function
                | CompareAndSet(key, _, true) ->
                    match Contents.find (run.NowSeconds()) key run.Model.Current with
                    | Some item -> item.Cas
                    | None -> 1UL
                | CompareAndSet _ -> UInt64.MaxValue
                | _ -> 0UL)

        let writes = ClientWrites(number, commands, uniques, onExecuting, onCompleted)
        run.Pending.Add writes |> ignore
        run.Store.Value.Submit writes

    member _.Get(key: int) : unit =
        let faultsBefore = run.FaultCount
        run.Statistics.Reads <- run.Statistics.Reads + 1L
        // What comes in between may change it: the snapshot is taken when the read begins.
        let expected = Contents.find (run.NowSeconds()) key run.Model.Current

        match tryFind key with
        | Error() -> unreadable faultsBefore $"key {key}"
        | Ok found ->
            run.Tell(fun () -> $"key {key} is {Item.describe found}")

            if run.IsRunning() && found <> expected then
                run.Fail $"get {key} found {Item.describe found}; acknowledged is {Item.describe expected}"

    member _.Scan() : unit =
        use snapshot = run.Store.Value.CreateSnapshot()
        readSnapshot "a scan" snapshot (Contents.live snapshot.NowSeconds run.Model.Current)

    member _.Hold() : unit =
        if run.Held.Count < 3 then
            let snapshot = run.Store.Value.CreateSnapshot()
            run.Held.Enqueue(struct (snapshot, Contents.live snapshot.NowSeconds run.Model.Current))

    member _.ReadHeld() : unit =
        match run.Held.TryPeek() with
        | true, struct (snapshot, expected) -> readSnapshot "a held snapshot" snapshot expected
        | _ -> ()

    member _.WithGroup() : Contents option = withGroup ()
    member _.TryFind(key: int) : Result<Item option, unit> = tryFind key
    member _.ScanOf(snapshot: StoreSnapshot) : Map<int, Item> = scanOf snapshot
    member _.Release() : unit = release ()
