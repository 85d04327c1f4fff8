namespace LsmFs.Engine

// The decisions of the store's commands: a pure function from command, live current entry and time to a change. The host looks the
// current entry up and carries the change out; nothing here reads a clock or writes a byte outside `scratch`. Meta commands are decided in MetaExecute.

open System

/// Deciding what commands do.
[<RequireQualifiedAccess>]
module Execute =

    /// When an entry expires that a client gave this exptime at `nowSeconds`: 0 never; negative already; up to 30 days from now on; else a Unix time.
    let expirySeconds (exptime: int32) (nowSeconds: uint32) : uint32 = Change.expirySeconds exptime nowSeconds

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
        | Verb.Touch
        | Verb.MetaGet
        | Verb.MetaSet
        | Verb.MetaDelete
        | Verb.MetaArithmetic -> true
        | _ -> false

    /// Whether the verb may change the store, and so goes through `decide`.
    let isWrite (verb: Verb) : bool =
        verb = Verb.Set || verb = Verb.FlushAll || verb = Verb.FlushRefused || needsCurrent verb

    /// Whether the command is a retrieval of the text protocol, whose keys are decided one by one and answered together.
    let isRetrieval (command: inref<Command>) : bool =
        command.Dialect = Dialect.Text && (command.Verb = Verb.Gat || command.Verb = Verb.Gats)

    /// Whether a command that is decided may answer with a value, whose length is not known before.
    let repliesWithValue (command: inref<Command>) : bool =
        command.Verb = Verb.MetaGet
        || (command.Dialect <> Dialect.Text && (command.Verb = Verb.Gat || command.Verb = Verb.Gats))

    /// Whether the command reads one key and is answered at once, unless `changes` says that what it found makes a write of it.
    let isFetch (command: inref<Command>) : bool =
        match command.Verb with
        | Verb.MetaGet -> not (MetaExecute.alwaysChanges &command)
        | Verb.MetaDebug -> true
        | Verb.Get
        | Verb.Gets -> command.Dialect <> Dialect.Text
        | _ -> false

    /// Whether a command that reads one key must change what it found, or that there is nothing.
    let changes
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (nowSeconds: uint32)
        : bool =
        command.Verb = Verb.MetaGet && MetaExecute.changes &command input current nowSeconds

    /// Whether a hit of a command that reads one key counts as the last access of the item.
    let isAccess (command: inref<Command>) : bool = command.Dialect <> Dialect.Meta || MetaExecute.isAccess &command

    /// Whether a change makes the store smaller sooner or later, so that it is carried out on a full disk too.
    let isRemoval (kind: ChangeKind) : bool = kind <> ChangeKind.Put

    /// Whether a put makes an item, and does not only change the old one.
    let makesItem (change: inref<Change>) (current: inref<Entry voption>) : bool =
        change.Access = AccessEffect.Written || current.IsNone

    /// What one key of a retrieval counts as.
    let retrievalCounters (verb: Verb) (isHit: bool) : Counters =
        match verb with
        | Verb.Gat
        | Verb.Gats -> Counters.CmdTouch ||| (if isHit then Counters.TouchHits else Counters.TouchMisses)
        | Verb.MetaDebug -> Counters.CmdMeta
        | _ -> Counters.CmdGet ||| (if isHit then Counters.GetHits else Counters.GetMisses)

    let inline private answer (command: inref<Command>) (reply: ReplyCode) (counters: Counters) : Change =
        Change.answer (if command.NoReply then ReplyCode.None else reply) counters

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
        | ValueSome entry when entry.ValueLength <= valueLengthMax - command.ValueLength -> {
            Change.join entry (value &command input) (command.Verb = Verb.Append) with
                Reply = (if command.NoReply then ReplyCode.None else ReplyCode.Stored)
          }
        // Nothing to join to, or a joined value that is too large, which memcached does not tell apart.
        | _ -> answer &command ReplyCode.NotStored Counters.CmdSet

    let private decideArithmetic (command: inref<Command>) (current: Entry voption) (scratch: Span<byte>) : Change =
        let isIncr = command.Verb = Verb.Incr
        let mutable number = 0UL

        match current with
        | ValueNone -> answer &command ReplyCode.NotFound (if isIncr then Counters.IncrMisses else Counters.DecrMisses)
        | ValueSome entry when not (Change.tryCount entry isIncr command.Number &number) ->
            answer &command ReplyCode.NonNumericValue Counters.None
        | ValueSome entry -> {
            Change.recount entry number scratch (if isIncr then Counters.IncrHits else Counters.DecrHits) with
                Reply = (if command.NoReply then ReplyCode.None else ReplyCode.Number)
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
                    Head = Span<byte>.op_Implicit(scratch.Slice(0, Change.writeDigits initial scratch))
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
            Change.keep entry ReplyCode.Touched (Counters.CmdTouch ||| Counters.TouchHits) with
                Reply =
                    (if command.NoReply then ReplyCode.None
                     elif isTouch then ReplyCode.Touched
                     else ReplyCode.Value)
                ExpirySeconds = expiryOf &command now
                Access = AccessEffect.Fetched
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
        (current: inref<Entry voption>)
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
        | Verb.MetaGet
        | Verb.MetaSet
        | Verb.MetaDelete
        | Verb.MetaArithmetic -> MetaExecute.decide &command input current nowSeconds valueLengthMax scratch
        | Verb.FlushRefused -> answer &command ReplyCode.FlushAllNotAllowed Counters.CmdFlush
        | _ -> decideFlushAll &command nowSeconds

    /// Decides a write (`isWrite`). `current` is the live entry of the key, never one that is expired, flushed or deleted, and only looked at
    /// when `needsCurrent`; of a `gat` with several keys it is the entry of one of them, and each has its own decision. `input` is the span the
    /// command was parsed from, `scratch` has at least `ProtocolLimits.scratchLength` bytes. No allocation; O(digits of a number).
    let decide
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: inref<Entry voption>)
        (nowSeconds: uint32)
        (valueLengthMax: int)
        (scratch: Span<byte>)
        : Change =
        if not (isWrite command.Verb) then
            invalidOp "only writes are decided"

        if command.Dialect = Dialect.Binary then
            match tryRefuseCas &command input current with
            | ValueSome counters -> answer &command ReplyCode.Exists counters
            | ValueNone -> decideVerb &command input &current nowSeconds valueLengthMax scratch
        elif command.Verb = Verb.Set then
            // By itself: the memory that the others need for their locals is zeroed first.
            store &command input nowSeconds Counters.CmdSet
        else
            decideVerb &command input &current nowSeconds valueLengthMax scratch
