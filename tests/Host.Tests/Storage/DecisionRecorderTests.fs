module LsmFs.Host.Tests.DecisionRecorderTests

open System
open System.IO
open System.Text
open System.Threading
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders

let private logsOf (folder: string) : string list =
    Directory.GetFiles(folder, "*.decisions") |> Array.sort |> List.ofArray

let private replay (path: string) : ReplayStep list =
    let name = string (Path.GetFileName path)

    match FileName.tryParse name with
    | Some(StoreFile.Decisions number) ->
        match DecisionReplay.replay number name (File.ReadAllBytes path) with
        | Ok steps -> steps
        | Error corruption -> failtest $"{corruption}"
    | _ -> failtest $"{name} is not the name of a decision log"

let private decisionsOf (steps: ReplayStep list) : ReplayedDecision list =
    steps
    |> List.choose (fun step ->
        match step.Decision with
        | ValueSome decision -> Some decision
        | ValueNone -> None)

/// Writes, overwrites and deletes until the store has flushed and compacted many times.
let private work (store: Store) =
    for round in 0..400 do
        let batch = WriteBatch()
        let value: byte[] = Array.create 60 (byte round)

        for index in 0..9 do
            let key = Encoding.ASCII.GetBytes $"key {(round * 37 + index * 11) % 900:D4}"

            if index = 3 then
                batch.Delete key |> ignore
            else
                batch.Put(key, value) |> ignore

        store.Write batch

    store.Flush()

    SpinWait.SpinUntil((fun () -> (nextPlan store).IsNone), 30_000) |> Expect.isTrue "compacted"

[<Tests>]
let tests =
    testList "DecisionRecorder" [
        testCase "replay of a store's decisions decides the same, and ends in the store's version" (fun () ->
            withFolder (fun folder ->
                let store = openStore folder

                try
                    work store
                finally
                    store.Dispose()

                // Only now: until it is closed a compaction may be running.
                let version = store.Current.Version
                let steps = replay (List.exactlyOne (logsOf folder))
                let decisions = decisionsOf steps
                decisions.Length > 10 |> Expect.isTrue $"{decisions.Length} plans"

                for decision in decisions do
                    decision.Verdict |> Expect.equal (CompactionPlan.print decision.Plan) Same

                let last = List.last steps
                last.State.Running |> Expect.isEmpty "every job has ended"
                last.State.Version |> Expect.equal "the version" version))

        testCase "each opening begins a log, and of the older ones three stay" (fun () ->
            withFolder (fun folder ->
                for _ in 1..6 do
                    use store = openStore folder
                    store.Write(WriteBatch().Put("key"B, "value"B))
                    store.Flush()

                let logs = logsOf folder
                logs.Length |> Expect.equal "logs" 4

                for path in logs do
                    replay path |> List.isEmpty |> Expect.isFalse path))

        testCase "a damaged decision log is nothing to the store" (fun () ->
            withFolder (fun folder ->
                (use store = openStore folder
                 work store)

                File.WriteAllText(List.exactlyOne (logsOf folder), "not a decision log")
                use store = openStore folder
                store.Write(WriteBatch().Put("key"B, "value"B))
                store.Flush()
                store.Get "key"B |> Expect.equal "the value" "value"B))
    ]
