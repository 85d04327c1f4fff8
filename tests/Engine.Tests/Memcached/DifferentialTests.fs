/// The same random requests to memcached and to LsmFs, whose answers must be the same byte for byte, and the counters at the end: docs/TESTING.md tells
/// how to repeat a seed and how to add to what is asked.
module LsmFs.Engine.Tests.DifferentialTests

open System
open Expecto
open LsmFs.Engine.Tests.Peer
open LsmFs.Engine.Tests.Script

let private number (variable: string) : int option =
    match Int32.TryParse(string (Environment.GetEnvironmentVariable variable)) with
    | true, number -> Some number
    | _ -> None

/// A seed whose script alone is run.
let private onlySeed = number "LSMFS_DIFFERENTIAL_SEED"

/// Requests instead of those that an ordinary run sends.
let private requestCount (ordinary: int) = number "LSMFS_DIFFERENTIAL_COMMANDS" |> Option.defaultValue ordinary

/// Runs scripts of one seed after the other until so many requests were sent; the first that differs is made short and told.
let private compare (scriptOf: int -> Script) (ordinary: int) (expected: Side) (actual: Side) : unit =
    let first = onlySeed |> Option.defaultWith (fun () -> Random.Shared.Next 1_000_000_000)
    let wanted = if onlySeed.IsSome then 1 else requestCount ordinary
    let mutable seed = first
    let mutable sent = 0

    while sent < wanted do
        let script = scriptOf seed

        match
            (try
                run expected actual script
             with error ->
                 failtestf "seed %d: %s" seed error.Message)
        with
        | Some found ->
            let short, difference = shrink expected actual script

            match difference with
            | Some difference ->
                failtestf "seed %d, LSMFS_DIFFERENTIAL_SEED=%d repeats it:\n%s" seed seed (tell short difference)
            | None -> failtestf "seed %d differed once and not again:\n%s" seed (tell { script with Items = [] } found)
        | None ->
            sent <- sent + script.Items.Length
            seed <- seed + 1

    printfn $"{sent} requests of seeds {first} to {seed - 1}: every answer the same"

[<Tests>]
let tests =
    testList "Memcached peers, random commands" [
        peerTest "the engine's parser and decisions" (fun peer ->
            compare
                (ClassicStreams.script ClassicStreams.request ClassicStreams.beginning peer.IsOld)
                20_000
                (programSide peer)
                (interpreterSide ()))
    ]

[<Tests>]
let programTests =
    testList "Program, random commands" [
        for half in 1..2 do
            yield!
                pairTest $"classic requests, {half}" (fun peer program ->
                    compare
                        (ClassicStreams.script ClassicStreams.request ClassicStreams.beginning peer.IsOld)
                        350_000
                        (programSide peer)
                        (programSide program))

        for half in 1..2 do
            yield!
                pairTest $"meta and classic requests, {half}" (fun peer program ->
                    compare
                        (ClassicStreams.script MetaStreams.request MetaStreams.beginning peer.IsOld)
                        250_000
                        (programSide peer)
                        (programSide program))
    ]
