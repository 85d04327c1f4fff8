module LsmFs.Host.Tests.FaultTests

// Promises 3 and 4 of the design: every single file operation of a store's life fails once. Writes are refused at worst, and later accepted again, by
// the same store or after a restart; nothing acknowledged is lost, nothing refused appears, and no file is left over.

open System
open System.IO
open System.Threading
open Expecto
open LsmFs.Host
open LsmFs.Host.Tests.DiskScript
open LsmFs.Host.Tests.SimulatedDisk

let private noSpace () : exn = IOException("No space left on device", 28)
let private inputOutput () : exn = IOException("Input/output error", 5)

/// Once more when it fails, which it does once.
let rec private again (attempts: int) (body: unit -> 'result) : 'result =
    try
        body ()
    with
    | :? StoreException
    | :? IOException when attempts > 1 -> again (attempts - 1) body

/// Takes a store through the script while the operation with a number fails; returns how it failed, if it came to that.
let private runWith (label: string) (failing: int) (error: unit -> exn) : string option =
    let disk = SimulatedDisk DiskImage.empty
    let mutable failed = None
    // What could not be deleted, or not found, stays until the next start; everything else is cleared away by the store itself.
    let mutable undeleted: string -> bool = fun _ -> false
    let isExcused (file: string) = undeleted file

    disk.FailWith(fun operation ->
        if operation.Index = failing then
            undeleted <-
                match operation.Kind with
                | "delete" -> (=) operation.File
                | "list" -> _.EndsWith(".wal")
                | _ -> fun _ -> false

            failed <- Some $"{label}: {operation.Kind} {operation.File}, operation {failing}"
            Some(error ())
        else
            None)

    let context () = failed |> Option.defaultValue label
    // A write whose sync failed was refused and may still be found after a restart.
    let mutable allowed: Contents list = [ Map.empty ]
    let openStore () = again 2 (fun () -> openOn disk)

    let close (store: Store) =
        try
            store.Dispose()
        with
        | :? IOException
        | :? StoreException -> ()

    let mutable store = openStore ()

    let checkContents () =
        let found = again 2 (fun () -> read store)

        if not (List.contains found allowed) then
            failtest $"{context ()}: found {show found}; allowed is {allowed |> List.map show}"

        allowed <- [ found ]

    let reopen () =
        settle isExcused (context ()) disk store
        close store
        store <- openStore ()
        checkContents ()

    let awaitWrites () =
        if not (SpinWait.SpinUntil((fun () -> isNull store.Statistics.WriteRefusal), TimeSpan.FromSeconds 5.0)) then
            failtest $"{context ()}: writes stay refused: {store.Statistics.WriteRefusal}"

    let flush () =
        try
            store.Flush()
        with :? StoreException ->
            awaitWrites ()
            store.Flush()

    let rec write (changes: Change list) =
        let before = List.head allowed
        let after = apply before changes
        let writes = Writes changes
        store.Submit writes

        match writes.Wait() with
        | None -> allowed <- [ after ]
        | Some refusal ->
            if refusal.Contains "internal" then
                failtest $"{context ()}: refused with {refusal}"

            checkContents ()

            if refusal.Contains "restarted" then
                allowed <- [ before; after ]
                close store
                store <- openStore ()
                checkContents ()
            else
                awaitWrites ()

            if allowed <> [ after ] then
                write changes

    try
        try
            for step in script do
                match step with
                | Write changes -> write changes
                | Flush -> flush ()
                | Reopen -> reopen ()

            checkContents ()
            reopen ()
            settle isExcused (context ()) disk store
        finally
            close store

        for loss in [ Everything; NothingUnsynced ] do
            let disk = SimulatedDisk(DiskImage.after loss disk.Image)
            use store = openOn disk
            let found = read store

            if not (List.contains found allowed) then
                failtest
                    $"{context ()}: after the end, kept {loss}, found {show found}; allowed is {allowed |> List.map show}"

            settle (fun _ -> false) $"{context ()}: after the end" disk store

        failed
    with
    | :? AssertException -> reraise ()
    | unexpected -> failtest $"{context ()}: {unexpected}"

let private everyOperation (label: string) (error: unit -> exn) =
    testCase $"every operation fails once: {label}" (fun () ->
        let mutable failing = 1
        // Threads take turns as they like, so the number of operations varies a little.
        while (runWith label failing error).IsSome do
            failing <- failing + 1

        Expect.isGreaterThan failing 300 "operations that failed")

[<Tests>]
let tests =
    testList "Faults" [ everyOperation "no space" noSpace; everyOperation "input/output error" inputOutput ]
