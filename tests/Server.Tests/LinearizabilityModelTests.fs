/// The checker of linearizability is believed, so it must accept every history that is linearizable, and no other.
module LsmFs.Server.Tests.LinearizabilityModelTests

open System
open Expecto
open LsmFs.Server.Tests.Linearizability

/// A register that answers, with uniques as a server would give them, and histories made from it.
[<Sealed>]
type private Source(seed: int) =
    let random = Random seed
    let sessionCount = 5
    let history = ResizeArray<Operation>()
    let positions: int[] = Array.zeroCreate sessionCount
    let lastCalls: int64[] = Array.zeroCreate sessionCount
    let lastReturns: int64[] = Array.zeroCreate sessionCount
    let mutable register = Register.empty
    // What the server knows before any client does.
    let mutable unique = 0UL
    let mutable nextUnique = 1UL
    let mutable now = 0L
    // Sessions end with their server.
    let mutable connection = 0
    let mutable written = 0
    let told = ResizeArray<uint64>([ 77UL ])

    let value () =
        written <- written + 1
        // Half of them are numbers; all are different.
        if random.Next 2 = 0 then
            $"v{written}."
        else
            string (written * 1000)

    let request () : Request =
        match random.Next 12 with
        | 0
        | 1 -> Set(value ())
        | 2 -> Add(value ())
        | 3 -> Replace(value ())
        | 4 -> Append(value ())
        | 5
        | 6 -> Cas(told[max 0 (told.Count - 1 - random.Next 3)], value ())
        | 7
        | 8 -> Incr(uint64 (random.Next 3))
        | 9 -> Delete
        | _ -> Gets

    let perform (request: Request) : Outcome =
        let struct (after, outcome) = Register.apply { register with Unique = unique } request

        match request, outcome with
        | Gets, _ -> ()
        | _, (Stored | Number _ | Deleted) ->
            unique <- nextUnique
            nextUnique <- nextUnique + 1UL + uint64 (random.Next 3)
        | _ -> ()

        register <- after
        outcome

    let add session called returned request outcome =
        history.Add {
            Session = connection * sessionCount + session
            Position = positions[session]
            Called = called
            Returned = returned
            Request = request
            Outcome = outcome
        }

        positions[session] <- positions[session] + 1

    member _.Random = random
    member _.History = List.ofSeq history
    member _.Register = register
    member _.Value() = value ()
    member _.Restore(earlier: Register) = register <- { earlier with HighestUnique = register.HighestUnique }

    /// An operation of some session around a moment of its own, called up to `width` before it and answered up to `width` after it.
    member _.Add(width: int) : unit =
        now <- now + 10L
        let session = random.Next sessionCount
        let called = max lastCalls[session] (now - int64 (random.Next(width + 1)))
        let returned = max lastReturns[session] (now + int64 (random.Next(width + 1)))
        lastCalls[session] <- called
        lastReturns[session] <- returned
        let request = request ()
        let outcome = perform request

        match outcome with
        | Found(_, unique) -> told.Add unique
        | _ -> ()

        add session called returned request outcome

    /// Waits until everything has returned; nothing after it overlaps what was before.
    member _.Settle() : unit = now <- max now (Seq.max lastReturns) + 100L

    /// An operation that overlaps no other.
    member source.Alone(request: Request) : Outcome =
        source.Settle()
        let outcome = perform request
        add 0 now (now + 1L) request outcome
        lastCalls[0] <- now
        lastReturns[0] <- now + 1L
        source.Settle()
        outcome

    /// The server dies while every session waits for some answers: a prefix of what each sent has happened, in turns as they come.
    member source.Crash() : unit =
        source.Settle()
        let open' = ResizeArray<struct (int * Request)>()

        for session in 0 .. sessionCount - 1 do
            let happened = random.Next 3

            for index in 0 .. random.Next 3 do
                let request = request ()
                add session (now + int64 index) (now + 50L) request Unanswered

                if index < happened then
                    open'.Add(struct (session, request))

        // Any merge of the sessions.
        while open'.Count > 0 do
            let struct (session, _) = open'[random.Next open'.Count]
            let index = open'.FindIndex(fun struct (other, _) -> other = session)
            let struct (_, request) = open'[index]
            open'.RemoveAt index
            perform request |> ignore

        now <- now + 60L
        source.Settle()
        connection <- connection + 1

let private isAccepted (history: Operation list) = (check history).IsLinearizable

/// All orders, the plainest way: for histories of a few operations.
let rec private isLinearizableByHand (register: Register) (rest: Operation list) : bool =
    let mayBeNext (operation: Operation) =
        rest
        |> List.forall (fun other ->
            other = operation
            || not (
                other.Returned < operation.Called
                || other.Session = operation.Session && other.Position < operation.Position
            ))

    rest.IsEmpty
    || rest
       |> List.filter mayBeNext
       |> List.exists (fun operation ->
           let others = rest |> List.filter ((<>) operation)

           match Register.step register operation with
           | ValueSome next when isLinearizableByHand next others -> true
           | _ when operation.Outcome.IsUnanswered ->
               others
               |> List.filter (fun other -> other.Session <> operation.Session)
               |> isLinearizableByHand register
           | _ -> false)

/// A few operations with answers that may or may not be possible.
let private anyFew (seed: int) : Operation list =
    let random = Random seed
    let value () = string (random.Next 3)
    let unique () = uint64 (random.Next(1, 4))

    [
        for session in 0..2 do
            let isCut = random.Next 3 = 0
            let count = random.Next 3

            for position in 0 .. count - 1 do
                let called = int64 (position * 4 + random.Next 4)

                let returned =
                    if isCut && position = count - 1 then
                        12L
                    else
                        called + int64 (random.Next 6)

                let request, outcome =
                    match random.Next 9 with
                    | 0 -> Set(value ()), Stored
                    | 1 -> Add(value ()), (if random.Next 2 = 0 then Stored else NotStored)
                    | 2 -> Append(value ()), (if random.Next 2 = 0 then Stored else NotStored)
                    | 3 -> Cas(unique (), value ()), (if random.Next 2 = 0 then Stored else Exists)
                    | 4 -> Incr 1UL, Number(uint64 (random.Next 3))
                    | 5 -> Delete, (if random.Next 2 = 0 then Deleted else NotFound)
                    | 6 -> Gets, Missing
                    | _ -> Gets, Found(value (), unique ())

                {
                    Session = session
                    Position = position
                    Called = called
                    Returned = returned
                    Request = request
                    Outcome =
                        (if isCut && position = count - 1 then
                             Unanswered
                         else
                             outcome)
                }
    ]

/// A fault between two stretches of ordinary operations: with it the history must be refused, without it it is accepted.
let private isFound (name: string) (fault: Source -> bool -> unit) : Test =
    testCase $"{name} is refused"
    <| fun () ->
        for seed in 1..100 do
            let historyWith (isFaulty: bool) =
                let source = Source seed

                for _ in 1..40 do
                    source.Add 30

                fault source isFaulty

                for _ in 1..40 do
                    source.Add 30

                source.History

            Expect.isTrue (isAccepted (historyWith false)) $"seed {seed} without the fault"
            Expect.isFalse (isAccepted (historyWith true)) $"seed {seed} with the fault"

let private staleRead (source: Source) (isFaulty: bool) =
    source.Alone(Set(source.Value())) |> ignore
    let old = source.Register
    source.Alone(Set(source.Value())) |> ignore
    let current = source.Register

    if isFaulty then
        source.Restore old

    source.Alone Gets |> ignore
    source.Restore current

let private lostUpdate (source: Source) (isFaulty: bool) =
    source.Alone(Set "1") |> ignore
    let before = source.Register
    source.Alone(Incr 1UL) |> ignore

    if isFaulty then
        source.Restore before

    source.Alone(Incr 1UL) |> ignore

let private doubleApplication (source: Source) (isFaulty: bool) =
    source.Alone(Set "x") |> ignore
    source.Alone(Append "y") |> ignore

    if isFaulty then
        source.Restore { source.Register with Value = Some "xyy" }

    source.Alone Gets |> ignore

let private returnOfTheDeleted (source: Source) (isFaulty: bool) =
    source.Alone(Set "x") |> ignore
    let before = source.Register
    source.Alone Delete |> ignore

    if isFaulty then
        source.Restore before

    source.Alone(Add "z") |> ignore

let private lostByTheCrash (source: Source) (isFaulty: bool) =
    source.Alone(Set(source.Value())) |> ignore
    let before = source.Register
    source.Alone(Set(source.Value())) |> ignore

    if isFaulty then
        source.Restore before

    source.Crash()
    source.Alone Gets |> ignore

[<Tests>]
let tests =
    testList "Linearizability model" [
        testCase
            "every history of a register is accepted, pipelines and crashes included (invariants 1 to 3)"
            (fun () ->
                for seed in 1..300 do
                    let source = Source seed

                    for _ in 1..4 do
                        for _ in 1..60 do
                            source.Add(seed % 60)

                        if seed % 2 = 0 then
                            source.Crash()

                    match check source.History with
                    | Linearizable -> ()
                    | NotLinearizable story -> failtest $"seed {seed}: {story}")

        testCase "small histories with any answers: as trying every order by hand says" (fun () ->
            let mutable accepted = 0
            let mutable refused = 0

            for seed in 1..4_000 do
                let history = anyFew seed
                let expected = isLinearizableByHand Register.empty history
                Expect.equal (isAccepted history) expected $"seed {seed}: %A{history}"

                if expected then
                    accepted <- accepted + 1
                else
                    refused <- refused + 1

            Expect.isGreaterThan (min accepted refused) 300 "both happen often")

        isFound "a stale read" staleRead
        isFound "a lost update" lostUpdate
        isFound "a double application" doubleApplication
        isFound "the return of what was deleted" returnOfTheDeleted

        testCase
            "an acknowledged write that a crash takes back is refused, where nothing under way explains it"
            (fun () ->
                let refusals =
                    [ 1..200 ]
                    |> List.filter (fun seed ->
                        let source = Source seed
                        lostByTheCrash source true
                        not (isAccepted source.History))

                Expect.isGreaterThan refusals.Length 20 "refusals")

        testCase
            "a write without an answer may happen or not, but not after its server has died (invariant 1)"
            (fun () ->
                let operation session called returned request outcome = {
                    Session = session
                    Position = int called
                    Called = called
                    Returned = returned
                    Request = request
                    Outcome = outcome
                }

                let history (first: string) (second: string) = [
                    operation 0 0L 1L (Set "old") Stored
                    operation 1 2L 10L (Set "new") Unanswered
                    operation 2 11L 12L Gets (Found(first, 5UL))
                    operation 2 13L 14L Gets (Found(second, (if first = second then 5UL else 6UL)))
                ]

                Expect.isTrue (isAccepted (history "old" "old")) "it did not happen"
                Expect.isTrue (isAccepted (history "new" "new")) "it happened"
                Expect.isFalse (isAccepted (history "old" "new")) "it happened too late"
                Expect.isFalse (isAccepted (history "new" "old")) "it was taken back")
    ]
