namespace LsmFs.Server.Tests

// What a server may hold after it was killed, from what one connection sent to keys that it alone writes and from what was answered.
//
// Invariants
//   1. Commands of one connection take effect in the order they were sent, so after a crash the server holds what the first n of them
//      left, for one n: no command is missing before one that happened.
//   2. n is at least the number of commands acknowledged. A command is acknowledged by its answer or, with noreply, by the answer to
//      any later command of the connection.
//   3. n is at most the number of commands sent.

open System
open System.Collections.Generic

/// A value that a key may have.
[<CustomEquality; NoComparison>]
type Stored = {
    Flags: uint32
    Value: byte[]
    /// The number of the write that gave the key its cas unique.
    Version: int64
} with

    /// Whether a client sees the same.
    override stored.Equals(other: obj) =
        match other with
        | :? Stored as other ->
            stored.Flags = other.Flags
            && ReadOnlySpan<byte>(stored.Value).SequenceEqual(ReadOnlySpan<byte> other.Value)
        | _ -> false

    override stored.GetHashCode() = stored.Value.Length

    /// Enough to recognise the value by.
    override stored.ToString() =
        let shown = Text.Encoding.Latin1.GetString(stored.Value, 0, min 24 stored.Value.Length)
        $"{stored.Value.Length} bytes %A{shown} flags {stored.Flags} of write {stored.Version}"

/// A cas unique that a client was told, and the write that it belongs to.
[<Struct>]
type KnownUnique = { Unique: uint64; OfVersion: int64 }

/// What is asked of a key.
type Operation =
    | Set of flags: uint32 * isExpired: bool * value: byte[]
    | Add of flags: uint32 * value: byte[]
    | Replace of flags: uint32 * value: byte[]
    | Append of value: byte[]
    | Prepend of value: byte[]
    | Cas of flags: uint32 * value: byte[] * known: KnownUnique
    | Incr of delta: uint64
    | Delete
    | Touch of isExpired: bool
    | Gets

/// The answer that a request must get.
type Answer =
    | Line of string
    | Found of Stored
    | Missing

/// An operation as it is sent. `Number` counts the requests of a connection.
type Request = { Number: int64; Key: int; Operation: Operation; IsSilent: bool }

/// What requests do: the whole of memcached that matters here.
[<RequireQualifiedAccess>]
module Request =

    let private tryNumber (value: byte[]) : uint64 voption =
        if
            value.Length > 0
            && value.Length <= 20
            && value |> Array.forall (fun digit -> digit >= '0'B && digit <= '9'B)
        then
            ValueSome(UInt64.Parse(ReadOnlySpan<byte> value))
        else
            ValueNone

    /// What a key holds after a request, and the answer.
    let apply (request: Request) (current: Stored voption) : struct (Stored voption * Answer) =
        let stored flags value =
            struct (ValueSome { Flags = flags; Value = value; Version = request.Number }, Line "STORED")

        match request.Operation, current with
        | Set(_, true, _), _ -> struct (ValueNone, Line "STORED")
        | Set(flags, false, value), _ -> stored flags value
        | Add(flags, value), ValueNone -> stored flags value
        | Replace(flags, value), ValueSome _ -> stored flags value
        | Append value, ValueSome old -> stored old.Flags (Array.append old.Value value)
        | Prepend value, ValueSome old -> stored old.Flags (Array.append value old.Value)
        | (Add _ | Replace _ | Append _ | Prepend _), _ -> struct (current, Line "NOT_STORED")
        | Cas(flags, value, known), ValueSome old when old.Version = known.OfVersion -> stored flags value
        | Cas _, ValueSome _ -> struct (current, Line "EXISTS")
        | Incr delta, ValueSome old ->
            match tryNumber old.Value with
            | ValueNone -> struct (current, Line "CLIENT_ERROR cannot increment or decrement non-numeric value")
            | ValueSome number ->
                let text = string (number + delta)
                let struct (after, _) = stored old.Flags (TextClient.Bytes text)
                struct (after, Line text)
        | Delete, ValueSome _ -> struct (ValueNone, Line "DELETED")
        | Touch isExpired, ValueSome _ -> struct ((if isExpired then ValueNone else current), Line "TOUCHED")
        | (Cas _ | Incr _ | Delete | Touch _), ValueNone -> struct (ValueNone, Line "NOT_FOUND")
        | Gets, ValueSome old -> struct (current, Found old)
        | Gets, ValueNone -> struct (current, Missing)

    /// The bytes of a request.
    let encode (keyName: string) (request: Request) : byte[] =
        let noreply = if request.IsSilent then " noreply" else ""
        let line (text: string) = TextClient.Bytes $"{text}{noreply}\r\n"

        let storage verb (flags: uint32) exptime unique (value: byte[]) =
            Array.concat [ line $"{verb} {keyName} {flags} {exptime} {value.Length}{unique}"; value; "\r\n"B ]

        match request.Operation with
        | Set(flags, isExpired, value) -> storage "set" flags (if isExpired then -1 else 0) "" value
        | Add(flags, value) -> storage "add" flags 0 "" value
        | Replace(flags, value) -> storage "replace" flags 0 "" value
        | Append value -> storage "append" 0u 0 "" value
        | Prepend value -> storage "prepend" 0u 0 "" value
        | Cas(flags, value, known) -> storage "cas" flags 0 $" {known.Unique}" value
        | Incr delta -> line $"incr {keyName} {delta}"
        | Delete -> line $"delete {keyName}"
        | Touch isExpired -> line $"touch {keyName} {(if isExpired then -1 else 1000)}"
        | Gets -> line $"gets {keyName}"

    /// A few words for a failure.
    let describe (request: Request) : string =
        let size (value: byte[]) = $"{value.Length} bytes"
        let silent = if request.IsSilent then " noreply" else ""

        let words =
            match request.Operation with
            | Set(_, isExpired, value) -> $"set {size value}" + (if isExpired then " expired" else "")
            | Add(_, value) -> $"add {size value}"
            | Replace(_, value) -> $"replace {size value}"
            | Append value -> $"append {size value}"
            | Prepend value -> $"prepend {size value}"
            | Cas(_, value, known) -> $"cas {size value} of write {known.OfVersion}"
            | Incr delta -> $"incr {delta}"
            | Delete -> "delete"
            | Touch isExpired -> "touch" + (if isExpired then " expired" else "")
            | Gets -> "gets"

        $"request {request.Number} on key {request.Key}: {words}{silent}"

/// The keys of one connection.
[<Sealed>]
type KillModel(keyCount: int) =
    let acknowledged: Stored voption[] = Array.create keyCount ValueNone
    let latest: Stored voption[] = Array.create keyCount ValueNone
    let outstanding = Queue<Request>()
    // For the reader of a failure.
    let histories = Array.init keyCount (fun _ -> Queue<Request>())
    let historyLength = 12
    let mutable sentCount = 0L
    let mutable acknowledgedWriteCount = 0L

    /// What a key holds once everything sent has happened.
    member _.Latest(key: int) : Stored voption = latest[key]

    /// The last requests on a key, in words.
    member _.History(key: int) : string =
        String.Join("\n  ", Seq.append [ "the last requests on the key:" ] (Seq.map Request.describe histories[key]))

    /// Requests sent and not acknowledged, oldest first.
    member _.Outstanding: Request seq = outstanding

    /// Writes acknowledged, and so checked at the next recovery.
    member _.AcknowledgedWriteCount = acknowledgedWriteCount

    /// A request is about to be sent; the answer it must get.
    member _.Send(key: int, operation: Operation, isSilent: bool) : struct (Request * Answer) =
        sentCount <- sentCount + 1L

        let request = { Number = sentCount; Key = key; Operation = operation; IsSilent = isSilent }

        let struct (after, answer) = Request.apply request latest[key]
        latest[key] <- after
        outstanding.Enqueue request
        histories[key].Enqueue request

        if histories[key].Count > historyLength then
            histories[key].Dequeue() |> ignore

        struct (request, answer)

    /// A request was answered, and so all before it have happened.
    member _.Acknowledge(request: Request) : unit =
        let mutable isDone = false

        while not isDone do
            let next = outstanding.Dequeue()
            let struct (after, _) = Request.apply next acknowledged[next.Key]
            acknowledged[next.Key] <- after
            acknowledgedWriteCount <- acknowledgedWriteCount + (if next.Operation.IsGets then 0L else 1L)
            isDone <- next.Number = request.Number

    /// Takes what a recovered server holds for what happened, if requests 1 to n account for it (invariants 1 to 3); returns how many
    /// unacknowledged requests turned out to have happened, or what is wrong.
    member model.Recover(observed: Stored voption[]) : Result<int, string> =
        let state = Array.copy acknowledged
        let wrong = HashSet<int>()
        let candidates = Array.init keyCount (fun key -> [ struct (0L, state[key]) ])

        let check key =
            (if state[key] = observed[key] then
                 wrong.Remove key
             else
                 wrong.Add key)
            |> ignore

        Seq.iter check (seq { 0 .. keyCount - 1 })
        let mutable happened = if wrong.Count = 0 then 0 else -1
        let mutable count = 0

        if happened = 0 then
            Array.blit state 0 latest 0 keyCount

        for request in outstanding do
            count <- count + 1
            let struct (after, _) = Request.apply request state[request.Key]
            state[request.Key] <- after
            candidates[request.Key] <- struct (request.Number, after) :: candidates[request.Key]
            check request.Key

            if wrong.Count = 0 then
                happened <- count
                Array.blit state 0 latest 0 keyCount

        if happened >= 0 then
            outstanding.Clear()
            Array.blit latest 0 acknowledged 0 keyCount
            Ok happened
        else
            let show (value: Stored voption) =
                match value with
                | ValueSome stored -> string stored
                | ValueNone -> "nothing"

            let lines =
                seq {
                    for key in 0 .. keyCount - 1 do
                        if not (candidates[key] |> List.exists (fun struct (_, value) -> value = observed[key])) then
                            $"key {key} holds {show observed[key]}, acknowledged was {show acknowledged[key]}"
                            model.History key

                    "sent and not acknowledged:"
                    yield! outstanding |> Seq.map Request.describe
                }

            Error(
                String.Join(
                    "\n  ",
                    Seq.append [ "no prefix of the requests explains the values" ] (Seq.truncate 60 lines)
                )
            )
