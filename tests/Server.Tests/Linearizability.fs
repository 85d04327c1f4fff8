/// Whether what clients saw of one key can be told as a story in which each operation happened at one moment between its call and
/// its return: linearizability (Herlihy, Wing, 1990), here with crashes.
module LsmFs.Server.Tests.Linearizability

// The search of Wing and Gong (1993) with Lowe's memory of configurations (2017): try each operation that may come next, go back where an
// operation would have had to come before its return, and never look twice at the same set of operations with the same register. Linearizability
// is local, so keys are checked one by one.
//
// Invariants
//   1. An operation happens between its call and its return. One without an answer does as well, or never: its server was dead at its return.
//   2. Operations of one session happen in the order they were sent, although a pipeline has them under way together. Where one never
//      happens, none after it does.
//   3. A cas unique belongs to one write. Nobody can know it before somebody was told, so a cas whose unique nobody was told since the last
//      write is of an older one; and uniques only grow.

open System
open System.Collections.Generic

/// What is asked of the key.
type Request =
    | Gets
    | Set of value: string
    | Add of value: string
    | Replace of value: string
    | Append of value: string
    | Cas of unique: uint64 * value: string
    | Incr of delta: uint64
    | Delete

/// What the client was told.
type Outcome =
    | Stored
    | NotStored
    | Exists
    | NotFound
    | Deleted
    | Number of uint64
    | NotNumeric
    | Found of value: string * unique: uint64
    | Missing
    /// Nothing: the connection broke. It happened before the return, or never.
    | Unanswered

/// A request and what became of it. Times are of one monotonic clock; a session is one connection, and `Position` the place in it.
type Operation = {
    Session: int
    Position: int
    Called: int64
    Returned: int64
    Request: Request
    Outcome: Outcome
}

/// What a key holds. `Unique` is 0 until a client is told it (invariant 3); `HighestUnique` is of the whole past.
[<Struct>]
type Register = { Value: string option; Unique: uint64; HighestUnique: uint64 }

[<RequireQualifiedAccess>]
module Register =

    let empty = { Value = None; Unique = 0UL; HighestUnique = 0UL }

    let private tryNumber (value: string) : uint64 option =
        if value.Length > 0 && value.Length <= 20 && Seq.forall Char.IsAsciiDigit value then
            match UInt64.TryParse value with
            | true, number -> Some number
            | _ -> None
        else
            None

    /// What a request leaves behind, and the answer to it; that of `Gets` has the unique 0 where nobody knows it yet.
    let apply (register: Register) (request: Request) : struct (Register * Outcome) =
        let write (value: string option) = { register with Value = value; Unique = 0UL }

        match request, register.Value with
        | Gets, Some value -> struct (register, Found(value, register.Unique))
        | Gets, None -> struct (register, Missing)
        | Set value, _
        | Add value, None
        | Replace value, Some _ -> struct (write (Some value), Stored)
        | Append value, Some old -> struct (write (Some(old + value)), Stored)
        | (Add _ | Replace _ | Append _), _ -> struct (register, NotStored)
        | Cas(unique, value), Some _ when unique = register.Unique && unique <> 0UL ->
            struct (write (Some value), Stored)
        | Cas _, Some _ -> struct (register, Exists)
        | Incr delta, Some old ->
            match tryNumber old with
            | None -> struct (register, NotNumeric)
            | Some number -> struct (write (Some(string (number + delta))), Number(number + delta))
        | Delete, Some _ -> struct (write None, Deleted)
        | (Cas _ | Incr _ | Delete), None -> struct (register, NotFound)

    /// What an operation leaves behind, if it could have been answered as it was.
    let step (register: Register) (operation: Operation) : Register voption =
        let struct (after, outcome) = apply register operation.Request

        match operation.Outcome, outcome with
        | Unanswered, _ -> ValueSome after
        | Found(value, unique), Found(expected, known) when
            value = expected
            && unique > 0UL
            && (unique = known || known = 0UL && unique > register.HighestUnique)
            ->
            ValueSome { after with Unique = unique; HighestUnique = unique }
        | Found _, _ -> ValueNone
        | told, expected -> if told = expected then ValueSome after else ValueNone

/// The outcome of a check.
type Verdict =
    | Linearizable
    /// In words: the operation that cannot have happened before it returned, and those around it.
    | NotLinearizable of story: string

let private describe (operation: Operation) : string =
    $"session {operation.Session} #{operation.Position} [{operation.Called} .. {operation.Returned}] %A{operation.Request} -> %A{operation.Outcome}"

/// Which operations are settled, from the first word of them that is not full to the last that is not empty, and what the key holds then.
[<Sealed; AllowNullLiteral>]
type private Configuration(firstWord: int, words: uint64[], register: Register) =
    let hash =
        let mutable hash = HashCode()
        hash.Add firstWord
        hash.AddBytes(Runtime.InteropServices.MemoryMarshal.AsBytes(ReadOnlySpan<uint64> words))
        hash.Add register.Unique
        hash.Add(Option.toObj register.Value)
        hash.ToHashCode()

    member private _.Same(otherFirst: int, otherWords: uint64[], otherRegister: Register) =
        firstWord = otherFirst
        && register.Unique = otherRegister.Unique
        && register.HighestUnique = otherRegister.HighestUnique
        && String.Equals(Option.toObj register.Value, Option.toObj otherRegister.Value)
        && ReadOnlySpan<uint64>(words).SequenceEqual(ReadOnlySpan<uint64> otherWords)

    override _.GetHashCode() = hash

    override _.Equals(other: obj) =
        match other with
        | :? Configuration as other -> other.Same(firstWord, words, register)
        | _ -> false

/// The operations that are settled: happened, or given up.
[<Sealed>]
type private SettledSet(count: int) =
    let words: uint64[] = Array.zeroCreate (count / 64 + 1)
    let mutable settledCount = 0
    // Words before it are full; the next ones may be.
    let mutable full = 0
    // Words behind it are empty.
    let mutable high = 0

    member _.Count = settledCount
    member _.Contains(operation: int) = words[operation / 64] >>> operation % 64 &&& 1UL = 1UL

    member set.Flip(operation: int) =
        let word = operation / 64
        words[word] <- words[word] ^^^ (1UL <<< operation % 64)
        settledCount <- settledCount + (if set.Contains operation then 1 else -1)
        full <- min full word
        high <- max high word

    /// Whether an operation is settled now.
    member _.Snapshot() : int -> bool =
        let words = Array.copy words
        fun operation -> words[operation / 64] >>> operation % 64 &&& 1UL = 1UL

    /// The same for the same set and register, and for nothing else.
    member _.With(register: Register) : Configuration =
        while full < words.Length && words[full] = UInt64.MaxValue do
            full <- full + 1

        while high > 0 && words[high] = 0UL do
            high <- high - 1

        Configuration(full, words[full..high], register)

/// A decision of the search: these operations are settled, and what the register was before.
[<Struct>]
type private Decision = { Settled: int list; Happened: bool; Before: Register }

/// Calls and returns in the order of time, as a list from which settled operations are lifted, and into which they are put back in reverse.
[<Sealed>]
type private EventList(operations: Operation[]) =
    let count = operations.Length

    // A call is the number of its operation, a return the same and `count`.
    let order =
        [| 0 .. 2 * count - 1 |]
        |> Array.sortBy (fun event ->
            if event < count then
                struct (operations[event].Called, 0, event)
            else
                struct (operations[event - count].Returned, 1, event))

    let head = 2 * count
    let next = Array.create (2 * count + 1) head
    let previous = Array.create (2 * count + 1) head

    do
        let all = Array.append order [| head |]
        let mutable last = head

        for event in all do
            next[last] <- event
            previous[event] <- last
            last <- event

    let remove (event: int) =
        next[previous[event]] <- next[event]
        previous[next[event]] <- previous[event]

    let restore (event: int) =
        next[previous[event]] <- event
        previous[next[event]] <- event

    member _.First = next[head]
    member _.After(event: int) = next[event]
    member _.IsReturn(event: int) = event >= count
    member _.OperationOf(event: int) = if event >= count then event - count else event

    member _.Lift(operation: int) =
        remove operation
        remove (operation + count)

    member _.PutBack(operation: int) =
        restore (operation + count)
        restore operation

/// Checks the operations of one key.
let check (history: Operation seq) : Verdict =
    let operations =
        history |> Seq.sortBy (fun operation -> operation.Called, operation.Position) |> Array.ofSeq

    let count = operations.Length
    // The neighbours in the session (invariant 2), -1 for none.
    let before = Array.create count -1
    let after = Array.create count -1

    for _, session in Array.indexed operations |> Array.groupBy (fun (_, operation) -> operation.Session) do
        for (first, _), (second, _) in
            session |> Array.sortBy (fun (_, operation) -> operation.Position) |> Array.pairwise do
            before[second] <- first
            after[first] <- second

    let events = EventList operations
    let settled = SettledSet count
    let seen = HashSet<Configuration>()
    let decisions = Stack<Decision>()
    let mutable verdict = ValueNone
    let mutable register = Register.empty
    let mutable event = events.First
    // For the story: how far the best attempt came.
    let mutable furthest = struct (-1, -1, (fun (_: int) -> false), [], Register.empty)

    let remember (blocked: int) =
        let struct (most, _, _, _, _) = furthest

        if settled.Count > most then
            let last = decisions |> Seq.truncate 5 |> Seq.collect _.Settled |> Seq.rev |> List.ofSeq
            furthest <- struct (settled.Count, blocked, settled.Snapshot(), last, register)

    let story () =
        let struct (most, blocked, isSettled, last, register) = furthest
        let from, until = operations[blocked].Called, operations[blocked].Returned

        let around =
            operations
            |> Seq.indexed
            |> Seq.filter (fun (_, other) -> other.Returned >= from && other.Called <= until)
            |> Seq.truncate 40

        String.Join(
            "\n",
            seq {
                $"{most} of {count} operations have an order; after it the key holds %A{register}, and this cannot have happened in time:"
                "  " + describe operations[blocked]
                "the last of that order:"

                for index in last do
                    "  " + describe operations[index]

                "under way meanwhile:"

                for index, other in around do
                    (if isSettled index then "  before  " else "  open    ") + describe other
            }
        )

    let settle (happened: bool) (chosen: int list) (next: Register) =
        decisions.Push { Settled = chosen; Happened = happened; Before = register }

        for operation in chosen do
            settled.Flip operation
            events.Lift operation

        register <- next
        event <- events.First

    /// Takes back decisions until one had an alternative: the next event after the call that was chosen. False when none is left.
    let rec backtrack () : bool =
        if decisions.Count = 0 then
            false
        else
            let last = decisions.Pop()

            for operation in List.rev last.Settled do
                events.PutBack operation
                settled.Flip operation

            register <- last.Before

            if last.Happened then
                event <- events.After(List.head last.Settled)
                true
            else
                // Giving up is what is tried last.
                backtrack ()

    /// An operation and all that its session sent after it.
    let rec withFollowers (operation: int) : int list =
        if operation < 0 then
            []
        else
            operation :: withFollowers after[operation]

    let isNew (chosen: int list) (next: Register) : bool =
        List.iter settled.Flip chosen
        let isNew = seen.Add(settled.With next)
        List.iter settled.Flip chosen
        isNew

    let retreat () : unit =
        if not (backtrack ()) then
            verdict <- ValueSome(NotLinearizable(story ()))

    while verdict.IsNone do
        if settled.Count = count then
            verdict <- ValueSome Linearizable
        else
            let operation = events.OperationOf event

            if not (events.IsReturn event) then
                let isNext = before[operation] < 0 || settled.Contains before[operation]

                match
                    (if isNext then
                         Register.step register operations[operation]
                     else
                         ValueNone)
                with
                | ValueSome next when isNew [ operation ] next -> settle true [ operation ] next
                | _ -> event <- events.After event
            elif operations[operation].Outcome.IsUnanswered then
                let givenUp = withFollowers operation

                if isNew givenUp register then
                    settle false givenUp register
                else
                    retreat ()
            else
                remember operation
                retreat ()

    verdict.Value
