module LsmFs.Host.Tests.PowerLossTests

// Promises 1 and 2 of the design: the power is lost after every single file operation of a store's life, and after every operation of the recovery that
// follows. Whatever of the unsynced was kept, the store opens, has everything acknowledged, nothing of its own invention, and no file too many.

open System
open System.Collections.Generic
open System.Threading
open Expecto
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Simulation
open LsmFs.Host.Tests.DiskScript

/// A disk at one moment, and what a store opened from it may hold.
type private Moment = { Image: DiskImage; Allowed: Contents list }

/// Opens a store, checks what it holds, and takes it through some steps. Returns the moments after each change of the disk.
/// The first flush waits for the first step, so that a recovered memtable is still in its logs then.
let private runAs (durability: Durability) (label: string) (start: Moment) (steps: Step list) : Moment list =
    let disk = SimulatedDisk start.Image
    let moments = List<Moment>()
    // Written before and after each operation that it describes, and read on whatever thread changes the disk.
    let allowed = ref start.Allowed
    disk.Observe(fun image -> moments.Add { Image = image; Allowed = allowed.Value })
    use flushes = new ManualResetEventSlim(false)

    disk.FailWith(fun operation ->
        if operation.Kind = "create" && operation.File.EndsWith ".sst" then
            flushes.Wait()

        None)

    let openStore () =
        try
            openAs durability disk
        with error ->
            failtest $"{label}: the store does not open: {error.Message}"

    let perform (store: Store) (step: Step) : Store =
        match step with
        | Write changes ->
            let before = List.head allowed.Value
            let after = apply before changes
            allowed.Value <- [ before; after ]
            let writes = Writes changes
            store.Submit writes
            writes.Wait() |> Option.iter (fun refusal -> failtest $"{label}: refused: {refusal}")
            allowed.Value <- [ after ]
            store
        | Flush ->
            store.Flush()
            store
        | Reopen ->
            store.Dispose()
            openStore ()

    let mutable store = openStore ()

    try
        let found = read store

        if not (List.contains found allowed.Value) then
            failtest $"{label}: found {show found}; allowed is {allowed.Value |> List.map show}"

        // What was read must not be taken back.
        allowed.Value <- [ found ]
        List.truncate 1 steps |> List.iter (fun step -> store <- perform store step)
        flushes.Set()
        settle (fun _ -> false) label disk store
        List.skip (min 1 steps.Length) steps |> List.iter (fun step -> store <- perform store step)
    finally
        flushes.Set()
        store.Dispose()

    List.ofSeq moments

let private run = runAs Durability.Sync

let private losses (index: int) = [
    Everything
    NothingUnsynced
    NamesOnly
    AnyPrefix index
    AnyMixture index
    AnyMixture(index + 100_000)
]

/// The moments that a crash can make of some moments: each different disk once.
let private crashed (every: int) (moments: Moment list) : (string * Moment) list =
    moments
    |> List.indexed
    |> List.filter (fun (index, _) -> index % every = 0)
    |> List.collect (fun (index, moment) ->
        losses index
        |> List.map (fun loss -> loss, moment.Image.After loss)
        |> List.distinctBy snd
        |> List.map (fun (loss, image) -> $"after operation {index}, kept {loss}", { moment with Image = image }))

let private change = [ Put(0, "another value"B); Remove 1 ]

[<Tests>]
let tests =
    testList "PowerLoss" [
        testCase "the process is killed after any operation, and none waits for the disk" (fun () ->
            let run = runAs Durability.Os
            let life = run "the first life" { Image = DiskImage.Empty; Allowed = [ Map.empty ] } script
            let mutable unusedBytes = 0

            for index, moment in List.indexed life do
                let image = moment.Image

                // A log with space for further records is what most of these leave behind.
                for name in image.Names do
                    if name.EndsWith ".wal" then
                        let bytes = image.Read name
                        let zeros = bytes.Length - (bytes.AsSpan().LastIndexOfAnyExcept 0uy + 1)
                        unusedBytes <- max unusedBytes zeros

                run $"after operation {index}" moment [] |> ignore

            Expect.isGreaterThan unusedBytes 50_000 "bytes that were not used")

        testCase "after every operation" (fun () ->
            let life = run "the first life" { Image = DiskImage.Empty; Allowed = [ Map.empty ] } script

            for label, moment in crashed 1 life do
                run label moment [] |> ignore)

        testCase "after every operation of a recovery and of the first write and flush that follow" (fun () ->
            let life = run "the first life" { Image = DiskImage.Empty; Allowed = [ Map.empty ] } script

            for label, moment in crashed 29 life do
                let second = run label moment [ Write change; Flush ]

                for again, moment in crashed 1 second do
                    run $"{label}, then {again}" moment [] |> ignore)
    ]
