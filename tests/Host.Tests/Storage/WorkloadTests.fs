module LsmFs.Host.Tests.WorkloadTests

// What LsmFs.Simulation offers to others, used as they would: a workload of their own, with a check of their own.

open System
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Simulation

/// Each value is another one. A pair of keys is written in one batch.
type private Step =
    | Put of key: int * number: int
    | PutPair of key: int * number: int
    | Delete of key: int
    | Flush

let private keyOf (key: int) : byte[] = Text.Encoding.ASCII.GetBytes $"key-{key}"

let private keyCount = 6

/// What happened, as far as it is known to have: what a workload that is a pure function of its store cannot tell.
type private Seen() =
    member val Acknowledged = 0 with get, set
    member val Unacknowledged = 0 with get, set
    member val Checks = 0 with get, set

/// What a key may hold, step by step: what was acknowledged, or what came after it and was not.
let private possible (key: int) (past: PastStep<Step> list) : int voption list =
    let after (step: Step) : int voption voption =
        match step with
        | Put(own, number) when own = key -> ValueSome(ValueSome number)
        | PutPair(own, number) when own = key || own + 1 = key -> ValueSome(ValueSome number)
        | Delete own when own = key -> ValueSome ValueNone
        | _ -> ValueNone

    (([ ValueNone ], past): int voption list * PastStep<Step> list)
    ||> List.fold (fun values step ->
        match after step.Step with
        | ValueSome value when step.IsAcknowledged -> [ value ]
        | ValueSome value -> value :: values
        | ValueNone -> values)

type private Map(durability: Durability, seen: Seen) =
    inherit Workload<Step>()
    override _.Durability = durability

    override _.Next random =
        let key = random.Next(keyCount - 1)

        match random.Next 10 with
        | 0 -> Delete key
        | 1
        | 2
        | 3 -> PutPair(key, random.Next())
        | 4 -> Flush
        | _ -> Put(key, random.Next())

    override _.Run(store, step) =
        let value (number: int) : byte[] = Array.append (BitConverter.GetBytes number) (Array.zeroCreate 150)

        match step with
        | Put(key, number) -> store.Write(WriteBatch().Put(ReadOnlySpan(keyOf key), ReadOnlySpan(value number)))
        | PutPair(key, number) ->
            store.Write(
                WriteBatch()
                    .Put(ReadOnlySpan(keyOf key), ReadOnlySpan(value number))
                    .Put(ReadOnlySpan(keyOf (key + 1)), ReadOnlySpan(value number))
            )
        | Delete key -> store.Write(WriteBatch().Delete(ReadOnlySpan(keyOf key)))
        | Flush -> store.Flush()

    override _.Check(store, past) =
        seen.Checks <- seen.Checks + 1
        seen.Acknowledged <- max seen.Acknowledged (past |> List.filter _.IsAcknowledged |> List.length)

        seen.Unacknowledged <-
            max seen.Unacknowledged (past |> List.filter (fun step -> not step.IsAcknowledged) |> List.length)

        for key in 0 .. keyCount - 1 do
            let found =
                match store.Get(ReadOnlySpan(keyOf key)) with
                | null -> ValueNone
                | bytes -> ValueSome(BitConverter.ToInt32(bytes, 0))

            possible key past |> Expect.contains $"key {key}" found

let private verifies (durability: Durability) (seedCount: int) =
    let seen = Seen()
    Workload.verify (Map(durability, seen)) 1 seedCount
    Expect.isGreaterThan "acknowledged steps" (seen.Acknowledged, 20)
    Expect.isGreaterThan "checks" (seen.Checks, seedCount)

    if durability <> Durability.Memory then
        Expect.isGreaterThan "steps that were cut short" (seen.Unacknowledged, 2)

/// A disk whose syncs of the log do nothing.
type private Liar() =
    inherit Map(Durability.Sync, Seen())

    override _.FaultOf operation =
        if operation.Kind = "sync" && operation.File.EndsWith ".wal" then
            Some SyncIgnored
        else
            None

type private Dead() =
    inherit Map(Durability.Sync, Seen())

    override _.FaultOf operation =
        if operation.Kind = "create" then
            Some(Fails(DiskErrors.noSpace ()))
        else
            None

[<Tests>]
let tests =
    testList "Workload" [
        testCase "a store keeps what it says under sync" (fun () -> verifies Durability.Sync 400)
        testCase "and under os" (fun () -> verifies Durability.Os 200)
        testCase "and under memory" (fun () -> verifies Durability.Memory 100)

        testCase "a seed gives the same run every time" (fun () ->
            let workload = Map(Durability.Sync, Seen())

            for seed in 1..50 do
                let schedule = Workload.schedule workload seed
                Workload.schedule workload seed |> Expect.equal "the schedule" schedule
                let once = Workload.trace workload schedule
                Workload.trace workload schedule |> Expect.equal $"what happens in seed {seed}" once)

        testCase "a disk that lies is found out, by a write and a power cut" (fun () ->
            match Workload.find (Liar()) 1 400 with
            | None -> failtest "no seed failed"
            | Some failure ->
                Expect.isLessThan (string failure) (failure.Schedule.Length, 3)
                Expect.stringContains "the trace" "the power is lost" (string failure)
                Workload.run (Liar()) failure.Schedule |> Expect.equal "what is wrong" (Some failure.Message)
                Workload.run (Map(Durability.Sync, Seen())) failure.Schedule |> Expect.isNone "an honest disk"

                Expect.throwsT<WorkloadFailedException> "a test fails" (fun () ->
                    Workload.verify (Liar()) failure.Seed 1))

        testCase "a store that never opens is a failure, and no endless loop" (fun () ->
            match Workload.run (Dead()) [] with
            | Some message -> Expect.stringContains "the reason" "the store does not open" message
            | None -> failtest "it opened")
    ]
