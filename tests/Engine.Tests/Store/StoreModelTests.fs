module LsmFs.Engine.Tests.StoreModelTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures
open LsmFs.Engine.Tests.StoreModel

let private start = 1_000_000u

let private stepGen: Gen<Step> =
    // Expiry times near the clock, so that entries expire while the steps run.
    let write =
        Gen.map2
            (fun write (after: int) -> {
                write with
                    WriteExpirySeconds = (if after = 0 then 0u else start + uint32 after)
            })
            writeGen
            (Gen.frequency [ 4, Gen.constant 0; 1, Gen.choose (1, 40) ])

    Gen.frequency [
        10, Gen.listOf write |> Gen.resize 12 |> Gen.map Commit
        1, Gen.elements [ 0u; 0u; 3u; 9u ] |> Gen.map FlushAll
        2, Gen.choose (1, 6) |> Gen.map (uint32 >> Wait)
        3, Gen.constant Freeze
        3, Gen.constant Flush
        3, Gen.constant Compact
        2, Gen.constant Begin
        2, Gen.choose (0, 9) |> Gen.map End
        1, Gen.choose (0, 99) |> Gen.map SetAside
        2, Gen.constant Reopen
    ]

type StepArbitraries =
    static member Step() = Arb.fromGen stepGen

/// What the steps mean for whoever reads: nothing but commits, flushes and the clock does.
let private expect (now: uint32) (expected: Expected) (step: Step) : Expected =
    let due = expected.PendingAtSeconds <> 0u && expected.PendingAtSeconds <= now

    let current =
        if due then
            { Entries = Map.empty; PendingAtSeconds = 0u }
        else
            expected

    match step with
    | Commit writes -> {
        current with
            Entries =
                writes
                |> List.fold (fun entries write -> Map.add (modelKey write.WriteKey) write entries) current.Entries
      }
    | FlushAll 0u -> { Entries = Map.empty; PendingAtSeconds = 0u }
    | FlushAll delay -> { current with PendingAtSeconds = now + delay }
    | Wait _
    | Freeze
    | Flush
    | Compact
    | Begin
    | End _
    | SetAside _
    | Reopen -> expected

let private isLive (now: uint32) (expected: Expected) (write: Write) =
    let isFlushed = expected.PendingAtSeconds <> 0u && expected.PendingAtSeconds <= now
    let isExpired = write.WriteExpirySeconds <> 0u && write.WriteExpirySeconds <= now
    write.WriteValue.IsSome && not isFlushed && not isExpired

let private check (store: Store) (keys: string seq) (now: uint32) (expected: Expected) =
    for key in keys do
        let step = store.Find(keyBytes key, now)

        match Map.tryFind key expected.Entries with
        | Some write when isLive now expected write ->
            Expect.equal step.Outcome LookupOutcome.Found $"key {key} is there"
            Expect.equal (step.Entry.Value.ToArray()) write.WriteValue.Value "its value"
            Expect.equal step.Entry.Flags write.WriteFlags "its flags"
            Expect.equal step.Entry.ExpirySeconds write.WriteExpirySeconds "its expiry"
        | _ -> Expect.notEqual step.Outcome LookupOutcome.Found $"key {key} is not there"

    // A map of Latin-1 keys is in the order of their bytes.
    let live = [
        for KeyValue(key, write) in expected.Entries do
            if isLive now expected write then
                key, write.WriteValue.Value, write.WriteFlags, write.WriteExpirySeconds
    ]

    let scanned (bounds: KeyBounds) =
        store.Scan(now, bounds)
        |> List.map (fun bytes ->
            let entry = entryOf bytes
            modelKey (entry.Key.ToArray()), entry.Value.ToArray(), entry.Flags, entry.ExpirySeconds)

    Expect.equal (scanned KeyBounds.all) live "a scan shows what is live, in order"

    Expect.equal
        (store.CountItems(now, Int64.MaxValue, 1))
        (int64 live.Length, true)
        "invariant 1 of ItemCount: a whole count is exact"

    // Neighbours in the list of keys are no neighbours in the store, so these are narrow, wide and empty ranges.
    for from, until in keys |> Seq.truncate 6 |> Seq.pairwise do
        let isWithin (key, _, _, _) = String.CompareOrdinal(key, from) >= 0 && String.CompareOrdinal(key, until) < 0

        Expect.equal
            (scanned (KeyBounds.between (keyBytes from) (keyBytes until)))
            (List.filter isWithin live)
            "a scan within bounds shows what is within them"

let private run (steps: Step list) =
    let store = Store()

    let keys =
        steps
        |> List.collect (function
            | Commit writes -> writes |> List.map (fun write -> modelKey write.WriteKey)
            | _ -> [])
        |> List.append [ "a"; "absent" ]
        |> List.distinct

    ((start, { Entries = Map.empty; PendingAtSeconds = 0u }), steps)
    ||> List.fold (fun (now, expected) step ->
        let expected = expect now expected step

        match step with
        | Commit writes -> store.Commit(writes, ValueNone, now)
        | FlushAll 0u -> store.Commit([], ValueSome 0u, now)
        | FlushAll delay -> store.Commit([], ValueSome(now + delay), now)
        | Wait _ -> ()
        | Freeze -> store.Freeze()
        | Flush -> store.Flush now
        | Compact -> store.Compact now |> ignore
        | Begin -> store.Begin now |> ignore
        | End which -> store.End which
        | SetAside which -> store.SetAside which
        | Reopen -> store.Reopen()

        let now =
            match step with
            | Wait seconds -> now + seconds
            | _ -> now

        check store keys now expected
        now, expected)
    |> ignore

    store

[<Tests>]
let tests =
    let config = { config 400 with arbitrary = [ typeof<StepArbitraries> ]; endSize = 60 }

    testList "Store" [
        testPropertyWithConfig config "any history of a store reads like a map" (fun (steps: Step list) ->
            run steps |> ignore)

        testPropertyWithConfig
            { config with maxTest = 100 }
            "left alone, a store comes to an end with its compactions, and reads as before"
            (fun (steps: Step list) ->
                let store = run steps

                let entries () =
                    Version.tables store.Snapshot.Version |> Seq.sumBy (fun (_, table) -> table.Properties.EntryCount)

                let now = start + 200_000u

                while store.HasRunning do
                    store.End 0

                // Each takes an entry a level down, or out.
                let mutable left = entries () * int64 options.LevelCount + 1L

                while store.Compact now do
                    left <- left - 1L
                    Expect.isGreaterThan left 0L "it ends"

                if store.QuarantinedCount = 0 then
                    for _, table in Version.tables store.Snapshot.Version do
                        Expect.isFalse
                            (table.Properties.LatestExpirySeconds <> 0u)
                            "what has expired by now does not lie in tables of its own")

        testCase "tombstones and shadowed values do not pile up" (fun () ->
            let write index value = {
                WriteKey = [| byte (index % 50) |]
                WriteValue = value
                WriteFlags = 0u
                WriteExpirySeconds = 0u
                WriteCas = 0UL
                WriteMarks = EntryMarks.None
            }

            let round = [ Freeze; Flush; Compact; Compact; Compact ]
            let overwrite = [ for index in 0..999 -> write index (ValueSome(Array.create 20 (byte index))) ]
            let delete = [ for index in 0..49 -> write index ValueNone ]

            let steps = [
                for chunk in List.chunkBySize 50 overwrite do
                    Commit chunk
                    yield! round
                // Two flushes, as many as make level 0 due.
                for _ in 1..2 do
                    Commit delete
                    yield! List.replicate 10 round |> List.concat
            ]

            let store = run steps

            let entries =
                Version.tables store.Snapshot.Version |> Seq.sumBy (fun (_, table) -> table.Properties.EntryCount)

            Expect.isLessThanOrEqual entries 100L "at most the tombstones and the values of one level are left")
    ]
