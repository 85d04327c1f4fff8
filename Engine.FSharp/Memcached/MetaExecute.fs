namespace LsmFs.Engine

// What the meta commands do. `mg` is a read, unless it has something to change: a new expiry (T), an item to make (N), or a win token to give, of which
// an item that is stale, or soon expires (R), has one.
//
// Marks of an item: stale by `md I`, or by `ms I` with an older cas unique; the win token is sent to the first who asks then. A new value clears both.

open System

/// Deciding meta commands.
[<RequireQualifiedAccess>]
module internal MetaExecute =

    /// The flags of a command.
    let flagsOf (command: inref<Command>) : MetaFlags = LanguagePrimitives.EnumOfValue command.Flags

    let inline private has (command: inref<Command>) (flag: MetaFlags) : bool = command.Flags &&& uint32 flag <> 0u

    /// Whether the key is in base64.
    let hasBase64Key (command: inref<Command>) : bool = has &command MetaFlags.Base64Key

    /// The flags as the client wrote them: what stands behind the key, and behind the length of the value when there is one.
    let flagWords (command: inref<Command>) (input: ReadOnlySpan<byte>) : ReadOnlySpan<byte> =
        let behindKey =
            input.Slice(command.KeyOffset + command.KeyLength, command.KeysLength - command.KeyLength)

        let mutable position = 0

        if command.Verb = Verb.MetaSet then
            let _ = Tokens.next behindKey &position
            ()

        behindKey.Slice position

    let private read (command: inref<Command>) (input: ReadOnlySpan<byte>) (options: byref<MetaOptions>) : unit =
        // The parser has seen that nothing is wrong with them.
        MetaFlags.read (input.Slice(command.KeyOffset, command.KeyLength)) (flagWords &command input) &options
        |> ignore

    let inline private hasMark (entry: Entry) (mark: EntryMarks) : bool = entry.Marks &&& mark <> EntryMarks.None

    /// The expiry that holds behind a flag: flags are carried out one after the other.
    let expiryBehind
        (flag: MetaFlags)
        (options: inref<MetaOptions>)
        (isNew: bool)
        (now: uint32)
        (expirySeconds: uint32)
        : uint32 =
        match flag with
        | MetaFlags.Ttl -> Change.expirySeconds options.Exptime now
        | MetaFlags.Vivify when isNew -> Change.expirySeconds options.VivifyExptime now
        | _ -> expirySeconds

    /// Carries out N, R and T, in their order: the expiry behind all of them; `wins` when R has found that the rest of the time is short.
    let private carryOutTimes
        (words: ReadOnlySpan<byte>)
        (options: inref<MetaOptions>)
        (isNew: bool)
        (now: uint32)
        (expirySeconds: uint32)
        (wins: byref<bool>)
        : uint32 =
        let mutable expiry = expirySeconds
        let mutable position = 0
        let mutable more = true

        while more do
            let word = Tokens.next words &position

            if word.IsEmpty then
                more <- false
            else
                let flag = MetaFlags.ofLetter word[0]
                expiry <- expiryBehind flag &options isNew now expiry

                if
                    flag = MetaFlags.Recache && expiry <> 0u && expiry < Change.expirySeconds options.RecacheExptime now
                then
                    wins <- true

        expiry

    /// Whether an `mg` changes whatever it finds.
    let alwaysChanges (command: inref<Command>) : bool = has &command MetaFlags.Ttl

    /// Whether an `mg` with this find has something to change.
    let changes (command: inref<Command>) (input: ReadOnlySpan<byte>) (current: Entry voption) (now: uint32) : bool =
        match current with
        | ValueNone -> has &command MetaFlags.Vivify
        | ValueSome entry when has &command MetaFlags.Ttl -> true
        | ValueSome entry when hasMark entry EntryMarks.WinSent -> false
        | ValueSome entry when hasMark entry EntryMarks.Stale -> true
        | ValueSome entry when has &command MetaFlags.Recache ->
            let mutable options = MetaOptions()
            read &command input &options
            let mutable wins = false
            carryOutTimes (flagWords &command input) &options false now entry.ExpirySeconds &wins |> ignore
            wins
        | _ -> false

    /// Whether a hit counts as an access.
    let isAccess (command: inref<Command>) : bool = command.Verb = Verb.MetaGet && not (has &command MetaFlags.NoAccess)

    /// The answer when all went well, which `q` silences.
    let inline private unlessQuiet (command: inref<Command>) (reply: ReplyCode) : ReplyCode =
        if has &command MetaFlags.Quiet then
            ReplyCode.None
        else
            reply

    let private decideGet
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (now: uint32)
        : Change =
        let mutable options = MetaOptions()
        read &command input &options
        let words = flagWords &command input
        let mutable wins = false

        let counters =
            if options.Has MetaFlags.Ttl then
                Counters.CmdTouch ||| Counters.TouchHits
            else
                Counters.CmdGet ||| Counters.GetHits

        let access =
            if options.Has MetaFlags.NoAccess then
                AccessEffect.Kept
            else
                AccessEffect.Fetched

        match current with
        | ValueSome entry ->
            let expiry = carryOutTimes words &options false now entry.ExpirySeconds &wins
            let isSent = hasMark entry EntryMarks.WinSent
            let wins = not isSent && (wins || hasMark entry EntryMarks.Stale)

            if wins || options.Has MetaFlags.Ttl then
                {
                    Change.keep entry ReplyCode.Value counters with
                        ExpirySeconds = expiry
                        Marks =
                            (if wins then
                                 entry.Marks ||| EntryMarks.WinSent
                             else
                                 entry.Marks)
                        Access = access
                }
            else
                // Somebody else has won meanwhile.
                Change.answer ReplyCode.Value counters
        | ValueNone when options.Has MetaFlags.Vivify -> {
            Change.answer ReplyCode.Value counters with
                Kind = ChangeKind.Put
                ExpirySeconds = carryOutTimes words &options true now 0u &wins
                Cas = options.NewCas
                Marks = EntryMarks.WinSent
                Access =
                    (if options.Has MetaFlags.NoAccess then
                         AccessEffect.Written
                     else
                         AccessEffect.Fetched)
          }
        | ValueNone -> Change.answer (unlessQuiet &command ReplyCode.MetaEnd) (Counters.CmdGet ||| Counters.GetMisses)

    /// The mark of an item whose key came in base64.
    let inline private keyMark (command: inref<Command>) : EntryMarks =
        if has &command MetaFlags.Base64Key then
            EntryMarks.BinaryKey
        else
            EntryMarks.None

    /// A new item with the value of the command.
    let private store
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (options: inref<MetaOptions>)
        (expirySeconds: uint32)
        (counters: Counters)
        : Change = {
        Change.answer (unlessQuiet &command ReplyCode.Stored) counters with
            Kind = ChangeKind.Put
            Flags = options.ClientFlags
            ExpirySeconds = expirySeconds
            Cas = options.NewCas
            Marks = keyMark &command
            Head = input.Slice(command.ValueOffset, command.ValueLength)
    }

    let private decideJoin
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (options: inref<MetaOptions>)
        (current: Entry voption)
        (now: uint32)
        (valueLengthMax: int)
        : Change =
        match current with
        | ValueNone when has &command MetaFlags.Vivify ->
            store &command input &options (Change.expirySeconds options.VivifyExptime now) Counters.CmdSet
        | ValueNone -> Change.answer ReplyCode.NotStored Counters.CmdSet
        // Here a cas unique of 0 is none.
        | ValueSome entry when options.CompareCas <> 0UL && entry.Cas <> options.CompareCas ->
            Change.answer ReplyCode.Exists Counters.CmdSet
        | ValueSome entry when entry.ValueLength > valueLengthMax - command.ValueLength ->
            Change.answer ReplyCode.NotStored Counters.CmdSet
        | ValueSome entry ->
            let value = input.Slice(command.ValueOffset, command.ValueLength)

            {
                Change.join entry value (options.Mode = byte 'A') with
                    Reply = unlessQuiet &command ReplyCode.Stored
                    Cas = options.NewCas
            }

    let private decideSet
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (now: uint32)
        (valueLengthMax: int)
        : Change =
        let mutable options = MetaOptions()
        read &command input &options
        let expiry = Change.expirySeconds options.Exptime now

        match char options.Mode with
        | 'A'
        | 'P' -> decideJoin &command input &options current now valueLengthMax
        | 'E' ->
            if current.IsSome then
                Change.answer ReplyCode.NotStored Counters.CmdSet
            else
                store &command input &options expiry Counters.CmdSet
        | mode when not (options.Has MetaFlags.CompareCas) ->
            if mode = 'R' && current.IsNone then
                Change.answer ReplyCode.NotStored Counters.CmdSet
            else
                store &command input &options expiry Counters.CmdSet
        | _ ->
            match current with
            | ValueNone -> Change.answer ReplyCode.NotFound (Counters.CmdSet ||| Counters.CasMisses)
            | ValueSome entry when entry.Cas = options.CompareCas ->
                store &command input &options expiry (Counters.CmdSet ||| Counters.CasHits)
            | ValueSome entry when
                options.Has MetaFlags.Invalidate && options.CompareCas <> 0UL && options.CompareCas < entry.Cas
                  ->
                  {
                      store &command input &options entry.ExpirySeconds (Counters.CmdSet ||| Counters.CasHits) with
                          Marks = keyMark &command ||| EntryMarks.Stale ||| (entry.Marks &&& EntryMarks.WinSent)
                  }
            | ValueSome _ -> Change.answer ReplyCode.Exists (Counters.CmdSet ||| Counters.CasBadval)

    let private decideDelete
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (now: uint32)
        : Change =
        let mutable options = MetaOptions()
        read &command input &options
        let deleted = unlessQuiet &command ReplyCode.Deleted
        let invalidates = options.Has MetaFlags.Invalidate
        let expiry = Change.expirySeconds options.Exptime now

        match current with
        | ValueNone -> Change.answer ReplyCode.NotFound Counters.DeleteMisses
        | ValueSome entry when options.Has MetaFlags.CompareCas && entry.Cas <> options.CompareCas ->
            Change.answer ReplyCode.Exists Counters.DeleteMisses
        | ValueSome entry when options.Has MetaFlags.RemoveValue -> {
            Change.answer deleted (if invalidates then Counters.None else Counters.DeleteHits) with
                Kind = ChangeKind.Put
                Flags = options.ClientFlags
                ExpirySeconds = expiry
                Cas =
                    (if options.NewCas <> 0UL then options.NewCas
                     elif invalidates then 0UL
                     else entry.Cas)
                Marks = (if invalidates then EntryMarks.Stale else EntryMarks.None)
          }
        | ValueSome entry when invalidates -> {
            Change.keep entry deleted Counters.None with
                ExpirySeconds =
                    (if options.Has MetaFlags.Ttl then
                         expiry
                     else
                         entry.ExpirySeconds)
                Cas = options.NewCas
                Marks = (entry.Marks &&& ~~~EntryMarks.WinSent) ||| EntryMarks.Stale
          }
        | ValueSome _ -> { Change.answer deleted Counters.DeleteHits with Kind = ChangeKind.Delete }

    let private decideArithmetic
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (now: uint32)
        (scratch: Span<byte>)
        : Change =
        let mutable options = MetaOptions()
        read &command input &options
        let words = flagWords &command input
        let isIncr = options.Mode <> byte 'D' && options.Mode <> byte '-'
        let mutable number = 0UL
        let mutable wins = false
        let counted = unlessQuiet &command ReplyCode.Number

        match current with
        | ValueNone when options.Has MetaFlags.Vivify ->
            let length = Change.writeDigits options.Initial scratch

            {
                Change.answer counted Counters.None with
                    Kind = ChangeKind.Put
                    ExpirySeconds = carryOutTimes words &options true now 0u &wins
                    Cas = options.NewCas
                    Number = options.Initial
                    Head = Span<byte>.op_Implicit(scratch.Slice(0, length))
            }
        | ValueNone -> Change.answer ReplyCode.NotFound (if isIncr then Counters.IncrMisses else Counters.DecrMisses)
        | ValueSome entry when entry.ValueLength = 0 -> Change.answer ReplyCode.NonNumericValue Counters.None
        // Here a cas unique of 0 is none.
        | ValueSome entry when options.CompareCas <> 0UL && entry.Cas <> options.CompareCas ->
            Change.answer ReplyCode.Exists Counters.None
        | ValueSome entry when not (Change.tryCount entry isIncr options.Delta &number) ->
            Change.answer ReplyCode.NonNumericValue Counters.None
        | ValueSome entry -> {
            Change.recount entry number scratch (if isIncr then Counters.IncrHits else Counters.DecrHits) with
                Reply = counted
                ExpirySeconds = carryOutTimes words &options false now entry.ExpirySeconds &wins
                Cas = options.NewCas
          }

    /// `Execute.decide` of a meta command.
    let decide
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (current: Entry voption)
        (now: uint32)
        (valueLengthMax: int)
        (scratch: Span<byte>)
        : Change =
        match command.Verb with
        | Verb.MetaGet -> decideGet &command input current now
        | Verb.MetaSet -> decideSet &command input current now valueLengthMax
        | Verb.MetaDelete -> decideDelete &command input current now
        | _ -> decideArithmetic &command input current now scratch
