module LsmFs.Host.Tests.SimulationTests

// Every promise of the design, in schedules that nobody has thought of: docs/TESTING.md says how, and how to see a failing seed again.

open System
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Simulation

/// Seeds of a test run, unless the machine is so slow that they would take longer than this. Always the same: new ones are for `build.fsx simulate`.
let private seedCount = 1500
let private timeMax = TimeSpan.FromSeconds 20.0

let private runSeeds (first: int) =
    let statistics = Statistics()

    match Simulator.runSeeds statistics first seedCount timeMax ignore with
    | Some(seed, message) ->
        let failure = Simulator.explain seed message
        let lines = String.concat "\n" failure.Trace
        failtest $"seed {seed}: {failure.Message}\n{lines}\ndotnet fsi build.fsx simulate -- --seed {seed}"
    | None ->
        Expect.isGreaterThan "acknowledged writes" (statistics.Acknowledged, 0L)
        Expect.isGreaterThan "flushes" (statistics.Flushes, 0L)
        Expect.isGreaterThan "compactions" (statistics.Compactions, 0L)
        Expect.isGreaterThan "power losses" (statistics.PowerLosses, 0L)
        Expect.isGreaterThan "steps within others" (statistics.Nested, 0L)
        statistics

[<Tests>]
let tests =
    testList "Simulation" [
        testCase "the same seeds keep every promise" (fun () -> runSeeds 1 |> ignore)

        testCase "and so do others, far from them" (fun () -> runSeeds 11_000 |> ignore)

        testCase "seeds that have found a fault, of the store or of the model, and are not among them" (fun () ->
            for seed in [ 20476; 37115; 41095; 116692; 124356; 152191; 216450; 1000545 ] do
                Simulator.run (Statistics()) (Generate.schedule seed) |> Expect.isNone $"seed {seed}")

        testCase "a seed gives the same run every time" (fun () ->
            for seed in 1..200 do
                let schedule = Generate.schedule seed
                let once = Simulator.trace schedule
                Simulator.trace schedule |> Expect.equal $"what happens in seed {seed}" once)

        testCase "a store without threads does what it is told, and calls that wait come to an end" (fun () ->
            let machine = SimulatedMachine()
            use store = machine.OpenStore Durability.Sync

            for number in 0..99 do
                let value: byte[] = Array.create 500 (byte number)
                store.Write(WriteBatch().Put(ReadOnlySpan<byte> "key"B, ReadOnlySpan<byte> value))

            store.Flush()
            store.TryRun StoreWork.Flush |> Expect.isFalse "nothing is left to flush"

            while store.TryRun StoreWork.Compaction do
                ()

            store.CountItems() |> Expect.equal "items" 1L
            machine.Crash NothingUnsynced
            use again = machine.OpenStore Durability.Sync
            again.Get(ReadOnlySpan<byte> "key"B) |> Expect.equal "the last value" (Array.create 500 99uy))

        testCase "a store with threads of its own is not told what to do" (fun () ->
            let disk = SimulatedDisk()

            use store =
                Store.Open(
                    StoreOptions(DataFolder = "/simulated", FileSystem = disk.FileSystem),
                    Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance
                )

            Expect.throwsT<InvalidOperationException> "refused" (fun () -> store.TryRun StoreWork.Flush |> ignore))
    ]
