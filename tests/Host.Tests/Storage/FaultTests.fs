module LsmFs.Host.Tests.FaultTests

// Promises 3 and 4 of the design: every single file operation of a store's life fails once. Writes are refused at worst, and later accepted again, by
// the same store or after a restart; nothing acknowledged is lost, nothing refused appears, and no file is left over.

open System
open System.Collections.Generic
open System.IO
open System.Threading
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Simulation
open LsmFs.Host.Tests.DiskScript

/// Once more when it fails, which it does once.
let rec private again (attempts: int) (body: unit -> 'result) : 'result =
    try
        body ()
    with
    | :? StoreException
    | :? IOException when attempts > 1 -> again (attempts - 1) body

/// Takes a store through the script while the operation with a number fails, and some after it; returns how it failed, if it came to that.
let private runWith
    (durability: Durability)
    (label: string)
    (failing: int)
    (count: int)
    (error: unit -> exn)
    : string option =
    // Only what is synced outlives the machine.
    let losses =
        if durability = Durability.Sync then
            [ Everything; NothingUnsynced ]
        else
            [ Everything ]

    let disk = SimulatedDisk()
    let mutable failed = None
    let mutable syncFailed = false
    // What could not be deleted, or not found, stays until the next start; everything else is cleared away by the store itself.
    let mutable undeleted: string -> bool = fun _ -> false
    let isExcused (file: string) = undeleted file

    disk.FailWith(fun operation ->
        if operation.Index >= failing && operation.Index < failing + count then
            let excuse (isExcused: string -> bool) =
                let others = undeleted
                undeleted <- fun file -> isExcused file || others file

            match operation.Kind with
            | "delete" -> excuse ((=) operation.File)
            | "list" -> excuse _.EndsWith(".wal")
            | "sync" when operation.File = "." || operation.File.StartsWith "MANIFEST" -> syncFailed <- true
            | _ -> ()

            if failed.IsNone then
                failed <- Some $"{label}: {operation.Kind} {operation.File}, operation {failing}"

            Some(error ())
        else
            None)

    // The moments after a failed sync are the ones in which nobody knows what is on the disk.
    let possible = ref [ Map.empty ]
    let moments = List<DiskImage * Contents list>()

    disk.Observe(fun image ->
        if syncFailed && moments.Count < 12 then
            moments.Add(image, possible.Value))

    let context () = failed |> Option.defaultValue label
    // A write whose sync failed was refused and may still be found after a restart.
    let mutable allowed: Contents list = [ Map.empty ]
    let openStore () = again (count + 1) (fun () -> openAs durability disk)

    let close (store: Store) =
        try
            store.Dispose()
        with
        | :? IOException
        | :? StoreException -> ()

    let mutable store = openStore ()

    let checkContents () =
        let found = again (count + 1) (fun () -> read store)

        if not (List.contains found allowed) then
            failtest $"{context ()}: found {show found}; allowed is {allowed |> List.map show}"

        allowed <- [ found ]

    let reopen () =
        settle isExcused (context ()) disk store
        close store
        store <- openStore ()
        checkContents ()

    let isPoisoned () =
        match store.Statistics.WriteRefusal with
        | null -> false
        | refusal -> refusal.Contains "restarted"

    let awaitWrites () =
        if isPoisoned () then
            reopen ()
        elif not (SpinWait.SpinUntil((fun () -> isNull store.Statistics.WriteRefusal), TimeSpan.FromSeconds 30.0)) then
            failtest $"{context ()}: writes stay refused: {store.Statistics.WriteRefusal}"

    let rec flush (attempts: int) =
        try
            store.Flush()
        with :? StoreException when attempts > 1 ->
            awaitWrites ()
            flush (attempts - 1)

    let rec write (changes: Change list) =
        let before = List.head allowed
        let after = apply before changes
        let writes = Writes changes
        possible.Value <- [ before; after ]
        store.Submit writes

        match writes.Wait() with
        | None ->
            allowed <- [ after ]
            possible.Value <- [ after ]

        | Some refusal ->
            if refusal.Contains "internal" then
                failtest $"{context ()}: refused with {refusal}"

            checkContents ()

            if isPoisoned () then
                allowed <- [ before; after ]
                close store
                store <- openStore ()
                checkContents ()
            else
                awaitWrites ()

            possible.Value <- allowed

            if allowed <> [ after ] then
                write changes

    try
        try
            for step in script do
                match step with
                | Write changes -> write changes
                | Flush -> flush 20
                | Reopen -> reopen ()

            checkContents ()
            reopen ()
            settle isExcused (context ()) disk store
        finally
            close store

        disk.OpenCount |> Expect.equal $"{context ()}: files left open" 0

        for loss in losses do
            let disk = SimulatedDisk(disk.Image.After loss)
            use store = openOn disk
            let found = read store

            if not (List.contains found allowed) then
                failtest
                    $"{context ()}: after the end, kept {loss}, found {show found}; allowed is {allowed |> List.map show}"

            settle (fun _ -> false) $"{context ()}: after the end" disk store

        for image, possible in moments do
            for loss in losses do
                let disk = SimulatedDisk(image.After loss)
                use store = openOn disk
                let found = read store

                if not (List.contains found possible) then
                    failtest
                        $"{context ()}: kept {loss} soon after, found {show found}; possible is {possible |> List.map show}"

        failed
    with
    | :? AssertException -> reraise ()
    | unexpected -> failtest $"{context ()}: {unexpected}"

let private everyOperationAs (durability: Durability) (label: string) (step: int) (count: int) (error: unit -> exn) =
    testCase $"every operation fails: {label}" (fun () ->
        let mutable failing = 1
        // Threads take turns as they like, so the number of operations varies a little.
        while (runWith durability label failing count error).IsSome do
            failing <- failing + step

        Expect.isGreaterThan "operations that failed" (failing, 300))

let private everyOperation = everyOperationAs Durability.Sync

[<Tests>]
let tests =
    testList "Faults" [
        everyOperation "no space, once" 1 1 DiskErrors.noSpace
        everyOperation "no space, three times" 9 3 DiskErrors.noSpace
        everyOperationAs Durability.Os "no space, once, and no write waits for the disk" 1 1 DiskErrors.noSpace
        everyOperationAs
            Durability.Os
            "input/output error, twice, and no write waits for the disk"
            9
            2
            DiskErrors.inputOutput
        everyOperation "input/output error, once" 1 1 DiskErrors.inputOutput
        everyOperation "input/output error, twice" 9 2 DiskErrors.inputOutput
        everyOperation "read-only, twice" 9 2 DiskErrors.readOnly

        for kind in [ ".wal"; ".sst"; "MANIFEST" ] do
            testCase $"a sync that failed is not tried again: {kind}" (fun () ->
                let disk = SimulatedDisk()
                use store = openOn disk
                let mutable isFailing = true
                let failed = HashSet<string>()
                let mutable isRetried = false

                // Until the caller has seen it: a flush that is tried again with another file, and succeeds at once, is none that failed.
                disk.FailWith(fun operation ->
                    if operation.Kind <> "sync" || not (operation.File.Contains kind) then
                        None
                    else
                        isRetried <- isRetried || failed.Contains operation.File

                        if isFailing then
                            failed.Add operation.File |> ignore
                            Some(DiskErrors.inputOutput ())
                        else
                            None)

                let put () =
                    let writes = Writes [ Put(1, "one"B) ]
                    store.Submit writes
                    writes.Wait()

                let first = put ()

                if kind = ".wal" then
                    first |> Expect.isSome "refused"
                    put () |> Option.exists _.Contains("restarted") |> Expect.isTrue "and from now on"
                    read store |> Expect.equal "reads go on" Map.empty
                else
                    first |> Expect.isNone "accepted"
                    Expect.throwsT<StoreException> "the flush" (fun () -> store.Flush())
                    isFailing <- false

                    SpinWait.SpinUntil((fun () -> store.Current.Frozen.Length = 0), TimeSpan.FromSeconds 30.0)
                    |> Expect.isTrue "flushed with another file"

                    read store |> Expect.equal "what was written" (Map.ofList [ 1, "one"B ])

                Expect.isGreaterThan "syncs that failed" (failed.Count, 0)
                isRetried |> Expect.isFalse "tried again")

        testCase
            "a write whose sync failed, and that a restart finds and shows, is not taken back by a power cut"
            (fun () ->
                let disk = SimulatedDisk()

                let refused =
                    use store = openOn disk

                    disk.FailWith(fun operation ->
                        if operation.Kind = "sync" && operation.File.EndsWith ".wal" then
                            Some(DiskErrors.inputOutput ())
                        else
                            None)

                    let writes = Writes [ Put(1, "one"B) ]
                    store.Submit writes
                    writes.Wait()

                refused |> Expect.isSome "refused"
                disk.FailWith(fun _ -> None)

                let shown =
                    use store = openOn disk
                    read store

                use store = openOn (SimulatedDisk(disk.Image.After NothingUnsynced))
                read store |> Expect.equal "what was shown" shown)

        testCase
            "a reserve that was created, though told to have failed, does not keep the disk full for ever"
            (fun () ->
                let machine = SimulatedMachine()
                let mutable hasFailed = false

                machine.Disk.Inject(fun operation ->
                    if operation.File = "RESERVE" && operation.Kind = "create" && not hasFailed then
                        hasFailed <- true
                        Some(DoneButFails(DiskErrors.inputOutput ()))
                    else
                        None)

                use store = machine.OpenStore Durability.Sync
                hasFailed |> Expect.isTrue "it failed"
                machine.Clock.Advance(TimeSpan.FromSeconds 30.0)
                machine.Clock.RunTimers() |> Expect.isTrue "it is tried again"

                store.Write(WriteBatch().Put(ReadOnlySpan<byte> "key"B, ReadOnlySpan<byte> "value"B))

                store.Get(ReadOnlySpan<byte> "key"B) |> Expect.equal "accepted" "value"B)

        testCase "an unfinished record is cut off for certain before there are records in another log" (fun () ->
            let machine = SimulatedMachine()
            let store = machine.OpenStore Durability.Sync

            let put (key: byte[]) = store.Write(WriteBatch().Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> "value"B))

            put "first"B

            machine.Disk.FailWith(fun operation ->
                if operation.Kind = "write" && operation.File.EndsWith ".wal" then
                    Some(DiskErrors.inputOutput ())
                else
                    None)

            Expect.throwsT<StoreException> "a record of which half is written" (fun () -> put "lost"B)
            let mutable image = DiskImage.Empty

            machine.Disk.Inject(fun operation ->
                // The memtable is frozen, its log is still needed, and another one is written to.
                if operation.Kind = "create" && operation.File.EndsWith ".sst" && image.Names.IsEmpty then
                    put "second"B
                    image <- machine.Disk.Image

                None)

            store.Flush()
            image.Names |> Seq.filter _.EndsWith(".wal") |> Seq.length |> Expect.equal "logs" 2

            for seed in 0..30 do
                let after = SimulatedMachine(image.After(AnyPrefix seed))
                use store = after.OpenStore Durability.Sync
                store.CountItems() |> Expect.equal "items" 2L)

        testCase
            "under os, a flush of everything that a table has taken over never outlives its group in a power cut"
            (fun () ->
                let machine = SimulatedMachine()
                let store = machine.OpenStore Durability.Os
                let value: byte[] = Array.create 3000 1uy

                let put (key: byte[]) = store.Write(WriteBatch().Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value))

                // The log that has the first one is followed by another.
                put "frozen"B
                put "frozen"B
                put "frozen"B
                put "active"B
                store.Current.Frozen.Length |> Expect.equal "memtables that wait" 1

                let flush = {
                    new Submission() with
                        override _.Execute context =
                            context.FlushAll 0u

                            context.Put(
                                ReadOnlySpan<byte> "new"B,
                                ReadOnlySpan<byte> "1"B,
                                ReadOnlySpan<byte>.Empty,
                                0u,
                                0u,
                                0UL
                            )
                            |> ignore

                        override _.Completed _ = ()
                }

                store.Submit flush

                while store.TryRun StoreWork.Flush || store.TryRun StoreWork.Compaction do
                    ()

                machine.Crash NothingUnsynced
                use again = machine.OpenStore Durability.Os
                again.CountItems() |> Expect.equal "items" 1L
                again.Get(ReadOnlySpan<byte> "new"B) |> Expect.equal "of the same group" "1"B)

        testCase "an edit that was written, though told to have failed, names no table that is gone" (fun () ->
            let disk = SimulatedDisk()
            use store = openOn disk
            let writes = Writes [ Put(1, "one"B) ]
            store.Submit writes
            writes.Wait() |> Expect.isNone "accepted"
            let mutable image = DiskImage.Empty
            let mutable hasFailed = false
            let mutable isSeen = false

            disk.Inject(fun operation ->
                if operation.File.StartsWith "MANIFEST" && operation.Kind = "write" && not isSeen then
                    hasFailed <- true
                    Some(DoneButFails(DiskErrors.inputOutput ()))
                else
                    if hasFailed && operation.Kind = "create" && image.Names.IsEmpty then
                        image <- disk.Image

                    None)

            Expect.throwsT<StoreException> "the flush" (fun () -> store.Flush())
            isSeen <- true

            SpinWait.SpinUntil((fun () -> not image.Names.IsEmpty), TimeSpan.FromSeconds 30.0)
            |> Expect.isTrue "tried again"

            for seed in 0..30 do
                use after = openOn (SimulatedDisk(image.After(AnyPrefix seed)))
                read after |> Expect.equal "what was written" (Map.ofList [ 1, "one"B ]))

        testCase "a table of an edit that may be on disk stays until a manifest without the edit is in force" (fun () ->
            let disk = SimulatedDisk()
            use store = openOn disk
            let writes = Writes [ Put(1, "one"B) ]
            store.Submit writes
            writes.Wait() |> Expect.isNone "accepted"
            let mutable syncFailures = 0
            let mutable rewriteFailures = 0

            disk.FailWith(fun operation ->
                if operation.File.StartsWith "MANIFEST" && operation.Kind = "sync" && syncFailures = 0 then
                    syncFailures <- 1
                    Some(DiskErrors.inputOutput ())
                elif operation.File.StartsWith "MANIFEST" && operation.Kind = "create" then
                    rewriteFailures <- rewriteFailures + 1
                    Some(DiskErrors.noSpace ())
                else
                    None)

            Expect.throwsT<StoreException> "the flush" (fun () -> store.Flush())

            SpinWait.SpinUntil((fun () -> rewriteFailures >= 3), TimeSpan.FromSeconds 30.0)
            |> Expect.isTrue "tried again"

            use after = openOn (SimulatedDisk(disk.Image.After Everything))
            read after |> Expect.equal "what was written" (Map.ofList [ 1, "one"B ]))
    ]
