namespace LsmFs.Engine

// The decisions of the store's commands: a pure function from command, live current entry and time to a change. The host looks the
// current entry up and carries the change out; nothing here reads a clock or writes a byte outside `scratch`.

open System
open System.Runtime.CompilerServices

/// What a decision does to the key.
type ChangeKind =
    | Nothing = 0uy
    /// The key gets the value `Head ++ Tail` with the flags, expiry and cas of the change.
    | Put = 1uy
    | Delete = 2uy
    /// Every entry so far is flushed when `ExpirySeconds` comes; 0 at once.
    | FlushAll = 3uy

/// The decision of a command, as data. Its spans lie in the input, in the current entry, or in the scratch memory: carry it out before
/// any of these change.
[<Struct; IsByRefLike; NoEquality; NoComparison>]
type Change = {
    Kind: ChangeKind
    /// The answer; `None` when the client wants none.
    Reply: ReplyCode
    /// What the command counts as.
    Counters: Counters
    /// The client's flags.
    Flags: uint32
    /// Unix time in seconds; 0 never. Of a flush: when it happens.
    ExpirySeconds: uint32
    /// The cas unique of the new entry; 0 lets its sequence number stand for it.
    Cas: uint64
    /// What meta commands remember of the new entry.
    Marks: EntryMarks
    /// The new number, for `ReplyCode.Number`.
    Number: uint64
    /// The new value is `Head` followed by `Tail`.
    Head: ReadOnlySpan<byte>
    Tail: ReadOnlySpan<byte>
}

/// Deciding what commands do.
[<RequireQualifiedAccess>]
module Execute =

    /// The longest relative expiry in seconds, 30 days: what is larger is a Unix time.
    [<Literal>]
    let relativeExptimeMax = 2592000

    /// The Unix time of an entry that is expired from the start.
    [<Literal>]
    let private alwaysExpired = 1u

    // What a number leaves of a longer old value is blank, as in memcached; past this length, where no number was meant, it is cut.
    let private blanks: byte[] = Array.create 4096 32uy

    /// When an entry expires that a client gave this exptime at `nowSeconds`: 0 never; negative already; up to 30 days from now on; else a Unix time.
    let expirySeconds (exptime: int32) (nowSeconds: uint32) : uint32 =
        if exptime = 0 then
            0u
        elif exptime < 0 then
            alwaysExpired
        elif exptime > relativeExptimeMax then
            uint32 exptime
        else
            uint32 (min (uint64 nowSeconds + uint64 exptime) 0xFFFFFFFFUL)

    /// Whether the decision depends on the current entry, so that the host must look it up.
    let needsCurrent (verb: Verb) : bool =
        match verb with
        | Verb.Gat
        | Verb.Gats
        | Verb.Add
        | Verb.Replace
        | Verb.Append
        | Verb.Prepend
        | Verb.Cas
        | Verb.SetTooLarge
        | Verb.Delete
        | Verb.Incr
        | Verb.Decr
        | Verb.Touch -> true
        | _ -> false

    /// Whether the verb may change the store, and so goes through `decide`.
    let isWrite (verb: Verb) : bool =
        verb = Verb.Set || verb = Verb.FlushAll || verb = Verb.FlushRefused || needsCurrent verb

    /// Whether the command is a retrieval of the text protocol, whose keys are decided one by one and answered together.
    let isRetrieval (command: inref<Command>) : bool =
        command.Dialect = Dialect.Text && (command.Verb = Verb.Gat || command.Verb = Verb.Gats)

    /// Whether a command that is decided may answer with a value, whose length is not known before.
    let repliesWithValue (command: inref<Command>) : bool =
        command.Dialect <> Dialect.Text && (command.Verb = Verb.Gat || command.Verb = Verb.Gats)

    /// Whether a change makes the store smaller sooner or later, so that it is carried out on a full disk too.
    let isRemoval (kind: ChangeKind) : bool = kind <> ChangeKind.Put

    /// What one key of a retrieval counts as.
    let retrievalCounters (verb: Verb) (isHit: bool) : Counters =
        match verb with
        | Verb.Gat
        | Verb.Gats -> Counters.CmdTouch ||| (if isHit then Counters.TouchHits else Counters.TouchMisses)
        | _ -> Counters.CmdGet ||| (if isHit then Counters.GetHits else Counters.GetMisses)

    let inline private answer (command: inref<Command>) (reply: ReplyCode) (counters: Counters) : Change = {
        Kind = ChangeKind.Nothing
        Reply = (if command.NoReply then ReplyCode.None else reply)
        Counters = counters
        Flags = 0u
        ExpirySeconds = 0u
        Cas = 0UL
        Marks = EntryMarks.None
        Number = 0UL
        Head = ReadOnlySpan<byte>.Empty
        Tail = ReadOnlySpan<byte>.Empty
    }

    /// When the entry of this command expires. An exptime of the binary protocol has no sign.
    let inline private expiryOf (command: inref<Command>) (now: uint32) : uint32 =
        if command.Dialect = Dialect.Binary && command.Exptime < 0 then
            uint32 command.Exptime
        else
            expirySeconds command.Exptime now

    let inline private value (command: inref<Command>) (input: ReadOnlySpan<byte>) =
        input.Slice(command.ValueOffset, command.ValueLength)

    let inline private store (command: inref<Command>) (input: ReadOnlySpan<byte>) now (counters: Counters) : Change = {
        answer &command ReplyCode.Stored counters with
            Kind = ChangeKind.Put
            Flags = command.Flags
            ExpirySeconds = expiryOf &command now
            Head = value &command input
    }

    let private decideCas (command: inref<Command>) (input: ReadOnlySpan<byte>) (current: Entry voption) now : Change =
        match current with
        | ValueNone -> answer &command ReplyCode.NotFound (Counters.CmdSet ||| Counters.CasMisses)
        | ValueSome entry when entry.Cas = command.Number ->
            store &command input now (Counters.CmdSet ||| Counters.CasHits)
        | ValueSome _ -> answer &command ReplyCode.Exists (Counters.CmdSet ||| Counters.CasBadval)

    let private decideJoin
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (valueLengthMax: int)
        : Change =
        match current with
        | ValueSome entry when entry.ValueLength <= valueLengthMax - command.ValueLength ->
            let isAppend = command.Verb = Verb.Append

            {
                answer &command ReplyCode.Stored Counters.CmdSet with
                    Kind = ChangeKind.Put
                    Flags = entry.Flags
                    ExpirySeconds = entry.ExpirySeconds
                    Head = (if isAppend then entry.Value else value &command input)
                    Tail = (if isAppend then value &command input else entry.Value)
            }
        // Nothing to join to, or a joined value that is too large, which memcached does not tell apart.
        | _ -> answer &command ReplyCode.NotStored Counters.CmdSet

    /// Writes the digits of a number; returns how many.
    let private writeDigits (number: uint64) (target: Span<byte>) : int =
        let mutable written = 0
        number.TryFormat(target, &written) |> ignore
        written

    let private decideArithmetic (command: inref<Command>) (current: Entry voption) (scratch: Span<byte>) : Change =
        let isIncr = command.Verb = Verb.Incr
        let mutable number = 0UL

        match current with
        | ValueNone -> answer &command ReplyCode.NotFound (if isIncr then Counters.IncrMisses else Counters.DecrMisses)
        | ValueSome entry when not (Digits.tryStored entry.Value &number) ->
            answer &command ReplyCode.NonNumericValue Counters.None
        | ValueSome entry ->
            let result =
                if isIncr then number + command.Number
                elif command.Number > number then 0UL
                else number - command.Number

            let length = writeDigits result scratch

            let padding =
                if entry.ValueLength <= blanks.Length then
                    max 0 (entry.ValueLength - length)
                else
                    0

            {
                answer &command ReplyCode.Number (if isIncr then Counters.IncrHits else Counters.DecrHits) with
                    Kind = ChangeKind.Put
                    Flags = entry.Flags
                    ExpirySeconds = entry.ExpirySeconds
                    // memcached counts in place while the number has room there, and makes a new item otherwise.
                    Marks =
                        (if length <= entry.ValueLength then
                             entry.Marks
                         else
                             EntryMarks.None)
                    Number = result
                    Head = Span<byte>.op_Implicit(scratch.Slice(0, length))
                    Tail = ReadOnlySpan<byte>(blanks, 0, padding)
            }

    /// A binary `incr` or `decr` of a key that is not there: it gets the initial number, unless the client does not want it to.
    let private decideCreation
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (now: uint32)
        (scratch: Span<byte>)
        : Change =
        if uint32 command.Exptime = BinaryFormat.doNotCreate then
            decideArithmetic &command ValueNone scratch
        else
            let initial = Coding.readU64 input command.ValueOffset

            {
                answer &command ReplyCode.Number Counters.None with
                    Kind = ChangeKind.Put
                    ExpirySeconds = expiryOf &command now
                    Number = initial
                    Head = Span<byte>.op_Implicit(scratch.Slice(0, writeDigits initial scratch))
            }

    /// What a binary command counts as whose cas unique the item must have, and does not; none when it has, or the command asks for none.
    let private tryRefuseCas
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        : Counters voption =
        let cas = BinaryFormat.cas input

        match current with
        | ValueSome entry when cas <> 0UL && cas <> entry.Cas ->
            match command.Verb with
            | Verb.Append
            | Verb.Prepend -> ValueSome Counters.CmdSet
            | Verb.Delete -> ValueSome Counters.None
            // That an empty value is no number comes first.
            | Verb.Incr
            | Verb.Decr when entry.ValueLength > 0 -> ValueSome Counters.None
            | _ -> ValueNone
        | _ -> ValueNone

    /// `touch`, and one key of `gat`: value, flags and cas unique stay.
    let private decideTouch (command: inref<Command>) (current: Entry voption) now : Change =
        let isTouch = command.Verb = Verb.Touch

        match current with
        | ValueNone ->
            answer
                &command
                (if isTouch || command.Dialect = Dialect.Binary then
                     ReplyCode.NotFound
                 else
                     ReplyCode.None)
                (Counters.CmdTouch ||| Counters.TouchMisses)
        | ValueSome entry -> {
            answer
                &command
                (if isTouch then ReplyCode.Touched else ReplyCode.Value)
                (Counters.CmdTouch ||| Counters.TouchHits) with
                Kind = ChangeKind.Put
                Flags = entry.Flags
                ExpirySeconds = expiryOf &command now
                Cas = entry.Cas
                Marks = entry.Marks
                Head = entry.Value
          }

    let inline private remove (command: inref<Command>) (reply: ReplyCode) (counters: Counters) : Change = {
        answer &command reply counters with
            Kind = ChangeKind.Delete
    }

    let private decideFlushAll (command: inref<Command>) now : Change =
        let at =
            if command.Exptime > 0 || command.Dialect = Dialect.Binary then
                expiryOf &command now
            else
                0u

        {
            answer &command ReplyCode.Ok Counters.CmdFlush with
                Kind = ChangeKind.FlushAll
                ExpirySeconds = (if at <= now then 0u else at)
        }

    let private decideVerb
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (nowSeconds: uint32)
        (valueLengthMax: int)
        (scratch: Span<byte>)
        : Change =
        match command.Verb with
        | Verb.Set -> store &command input nowSeconds Counters.CmdSet
        | Verb.Add ->
            if current.IsSome then
                answer &command ReplyCode.NotStored Counters.CmdSet
            else
                store &command input nowSeconds Counters.CmdSet
        | Verb.Replace ->
            if current.IsSome then
                store &command input nowSeconds Counters.CmdSet
            else
                answer &command ReplyCode.NotStored Counters.CmdSet
        | Verb.Append
        | Verb.Prepend -> decideJoin &command input current valueLengthMax
        | Verb.Cas -> decideCas &command input current nowSeconds
        | Verb.SetTooLarge ->
            if current.IsSome then
                remove &command ReplyCode.ObjectTooLarge Counters.StoreTooLarge
            else
                answer &command ReplyCode.ObjectTooLarge Counters.StoreTooLarge
        | Verb.Delete ->
            if current.IsSome then
                remove &command ReplyCode.Deleted Counters.DeleteHits
            else
                answer &command ReplyCode.NotFound Counters.DeleteMisses
        | Verb.Incr
        | Verb.Decr when command.Dialect = Dialect.Binary && current.IsNone ->
            decideCreation &command input nowSeconds scratch
        | Verb.Incr
        | Verb.Decr -> decideArithmetic &command current scratch
        | Verb.Touch
        | Verb.Gat
        | Verb.Gats -> decideTouch &command current nowSeconds
        | Verb.FlushRefused -> answer &command ReplyCode.FlushAllNotAllowed Counters.CmdFlush
        | _ -> decideFlushAll &command nowSeconds

    /// Decides a write (`isWrite`). `current` is the live entry of the key, never one that is expired, flushed or deleted, and only looked at
    /// when `needsCurrent`; of a `gat` with several keys it is the entry of one of them, and each has its own decision. `input` is the span the
    /// command was parsed from, `scratch` has at least `ProtocolLimits.scratchLength` bytes. No allocation; O(digits of a number).
    let decide
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (nowSeconds: uint32)
        (valueLengthMax: int)
        (scratch: Span<byte>)
        : Change =
        if not (isWrite command.Verb) then
            invalidOp "only writes are decided"

        if command.Dialect = Dialect.Binary then
            match tryRefuseCas &command input current with
            | ValueSome counters -> answer &command ReplyCode.Exists counters
            | ValueNone -> decideVerb &command input current nowSeconds valueLengthMax scratch
        else
            decideVerb &command input current nowSeconds valueLengthMax scratch
