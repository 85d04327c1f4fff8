/// The kill test believes its model, so the model must notice every kind of loss: these are its invariants on made-up recoveries.
module LsmFs.Server.Tests.KillModelTests

open System
open Expecto

let private keyCount = 3

let private randomOperation (random: Random) : Operation =
    let value () = TextClient.Bytes(string (random.Next 4))

    match random.Next 8 with
    | 0 -> Add(0u, value ())
    | 1 -> Replace(0u, value ())
    | 2 -> Append(value ())
    | 3 -> Incr 1UL
    | 4 -> Delete
    | 5 -> Gets
    | _ -> Set(uint32 (random.Next 2), random.Next 5 = 0, value ())

let private emptyState: Stored voption[] = Array.create keyCount ValueNone

let private after (state: Stored voption[]) (request: Request) : Stored voption[] =
    let struct (stored, _) = Request.apply request state[request.Key]
    state |> Array.mapi (fun key old -> if key = request.Key then stored else old)

/// A model that has sent 20 requests and had the first `acknowledged` of them acknowledged, and those requests.
let private sent (seed: int) (acknowledged: int) : KillModel * Request list =
    let random = Random seed
    let model = KillModel keyCount

    let requests = [
        for _ in 1..20 do
            let struct (request, _) = model.Send(random.Next keyCount, randomOperation random, false)
            request
    ]

    requests |> List.truncate acknowledged |> List.iter model.Acknowledge
    model, requests

/// What the server would hold after each number of requests.
let private statesOf (requests: Request list) : Stored voption[] list = List.scan after emptyState requests

let private forAll (check: int -> int -> unit) () =
    for seed in 1..300 do
        check seed (seed % 20)

/// The states that may be found: after `acknowledged` requests, or more.
let private allowed (acknowledged: int) (requests: Request list) = statesOf requests |> List.skip acknowledged

[<Tests>]
let tests =
    testList "Kill model" [
        testCase "every prefix that holds what was acknowledged is accepted (invariants 1 to 3)"
        <| forAll (fun seed acknowledged ->
            let _, requests = sent seed acknowledged

            for observed in allowed acknowledged requests do
                let model, _ = sent seed acknowledged
                Expect.isOk (model.Recover observed) $"seed {seed}"
                Expect.isEmpty model.Outstanding "nothing is open after a recovery"
                Expect.equal (Array.init keyCount model.Latest) observed "the model goes on from what was found")

        testCase "a lost acknowledged request is noticed (invariant 2)"
        <| forAll (fun seed acknowledged ->
            let _, requests = sent seed acknowledged

            for observed in statesOf requests |> List.truncate acknowledged do
                if not (List.contains observed (allowed acknowledged requests)) then
                    let model, _ = sent seed acknowledged
                    Expect.isError (model.Recover observed) $"seed {seed}")

        testCase "a request that is missing before one that happened is noticed (invariant 1)"
        <| forAll (fun seed acknowledged ->
            let _, requests = sent seed acknowledged

            for missing in requests do
                let observed =
                    requests
                    |> List.filter (fun request -> request.Number <> missing.Number)
                    |> List.fold after emptyState

                if not (List.contains observed (allowed acknowledged requests)) then
                    let model, _ = sent seed acknowledged
                    Expect.isError (model.Recover observed) $"seed {seed}, request {missing.Number}")

        testCase "a value that nobody sent is noticed (invariant 3)"
        <| forAll (fun seed acknowledged ->
            let model, requests = sent seed acknowledged
            let observed = Array.copy (List.last (statesOf requests))
            observed[seed % keyCount] <- ValueSome { Flags = 9u; Value = "invented"B; Version = 0L }
            Expect.isError (model.Recover observed) $"seed {seed}")
    ]
