namespace LsmFs.Engine

// Writing the answers of meta commands. The flags of the command are read once more, and those that ask for something are answered in their order:
//
//   HD <flags>*\r\n                           done
//   VA <bytes> <flags>*\r\n<value>\r\n        done, and the value was asked for
//   EN, NF, NS, EX <flags>*\r\n               not found (mg), not found, not stored, the cas unique is another
//   ME <key> <name>=<value>*\r\n              me

open System
open System.Runtime.CompilerServices

/// What a reply can say of an item.
[<Struct; IsByRefLike; NoEquality; NoComparison>]
type internal MetaItem = {
    /// The key as it is stored.
    Key: ReadOnlySpan<byte>
    /// The key goes out in base64.
    IsBinaryKey: bool
    ValueLength: int
    Flags: uint32
    /// Before the command.
    ExpirySeconds: uint32
    Cas: uint64
    Access: Access
    /// The command made it.
    IsNew: bool
}

/// Writing the answers of meta commands.
[<RequireQualifiedAccess>]
module internal MetaReply =

    // What is answered when, of what the flags may ask for.
    [<Literal>]
    let private echo = MetaFlags.Opaque ||| MetaFlags.ReturnKey

    let private ofGet =
        echo
        ||| MetaFlags.ReturnCas
        ||| MetaFlags.ReturnFlags
        ||| MetaFlags.ReturnFetched
        ||| MetaFlags.ReturnLastAccess
        ||| MetaFlags.ReturnSize
        ||| MetaFlags.ReturnTtl

    let private ofSet = echo ||| MetaFlags.ReturnCas ||| MetaFlags.ReturnSize

    let private ofArithmetic = echo ||| MetaFlags.ReturnCas ||| MetaFlags.ReturnTtl

    // A byte string literal is a new array each time it is evaluated.
    let private debugWord = "ME "B
    let private expiryWord = " exp="B
    let private accessWord = " la="B
    let private casWord = " cas="B
    let private fetchedWord = " fetch=yes cls=1 size="B
    let private crlf = "\r\n"B
    let private notFetchedWord = " fetch=no cls=1 size="B

    let inline private put (target: Span<byte>) (position: byref<int>) (value: byte) : unit =
        target[position] <- value
        position <- position + 1

    let private copy (target: Span<byte>) (position: byref<int>) (bytes: ReadOnlySpan<byte>) : unit =
        bytes.CopyTo(target.Slice position)
        position <- position + bytes.Length

    let private number (target: Span<byte>) (position: byref<int>) (value: uint64) : unit =
        position <- position + Change.writeDigits value (target.Slice position)

    /// Seconds that are left, -1 for ever. What is expired already has none.
    let private ttl (target: Span<byte>) (position: byref<int>) (expirySeconds: uint32) (now: uint32) : unit =
        if expirySeconds = 0u then
            put target &position (byte '-')
            put target &position (byte '1')
        else
            number target &position (uint64 (max now expirySeconds - now))

    let private key (target: Span<byte>) (position: byref<int>) (key: ReadOnlySpan<byte>) (isBinary: bool) : unit =
        if isBinary then
            position <- position + MetaKey.encode key (target.Slice position)
        else
            copy target &position key

    /// Writes what the flags ask for, as far as it is `answered`.
    let private writeFlags
        (target: Span<byte>)
        (position: byref<int>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (answered: MetaFlags)
        (item: MetaItem)
        (now: uint32)
        : unit =
        let words = MetaExecute.flagWords &command input
        let mutable options = MetaOptions()

        // Only these have the answer depend on their arguments.
        if MetaExecute.flagsOf &command &&& (MetaFlags.Ttl ||| MetaFlags.Vivify) <> MetaFlags.None then
            MetaFlags.read ReadOnlySpan<byte>.Empty words &options |> ignore

        let mutable expiry = item.ExpirySeconds
        let mutable at = 0
        let mutable more = true

        while more do
            let word = Tokens.next words &at

            if word.IsEmpty then
                more <- false
            else
                let flag = MetaFlags.ofLetter word[0]
                expiry <- MetaExecute.expiryBehind flag &options item.IsNew now expiry

                if flag &&& answered <> MetaFlags.None then
                    put target &position 32uy

                    match flag with
                    | MetaFlags.Opaque -> copy target &position word
                    | MetaFlags.ReturnKey ->
                        put target &position (byte 'k')
                        key target &position item.Key item.IsBinaryKey

                        if item.IsBinaryKey then
                            put target &position 32uy
                            put target &position (byte 'b')
                    | _ ->
                        put target &position word[0]

                        match flag with
                        | MetaFlags.ReturnCas -> number target &position item.Cas
                        | MetaFlags.ReturnFlags -> number target &position (uint64 item.Flags)
                        | MetaFlags.ReturnFetched ->
                            number target &position (if item.Access.IsFetched then 1UL else 0UL)
                        | MetaFlags.ReturnLastAccess ->
                            number target &position (uint64 (max now item.Access.LastSeconds - item.Access.LastSeconds))
                        | MetaFlags.ReturnSize -> number target &position (uint64 item.ValueLength)
                        | _ -> ttl target &position expiry now

    let private status (target: Span<byte>) (position: byref<int>) (code: string) : unit =
        put target &position (byte code[0])
        put target &position (byte code[1])

    let private lineEnd (target: Span<byte>) (position: byref<int>) : unit =
        put target &position 13uy
        put target &position 10uy

    /// The item as the command names it, of which the reply knows no more.
    let private named (command: inref<Command>) (decodedKey: ReadOnlySpan<byte>) : MetaItem = {
        Key = decodedKey
        IsBinaryKey = MetaExecute.flagsOf &command &&& MetaFlags.Base64Key <> MetaFlags.None
        ValueLength = command.ValueLength
        Flags = 0u
        ExpirySeconds = 0u
        Cas = 0UL
        Access = Unchecked.defaultof<Access>
        IsNew = false
    }

    let private ofEntry (entry: Entry) (access: Access) : MetaItem = {
        Key = entry.Key
        IsBinaryKey = entry.Marks &&& EntryMarks.BinaryKey <> EntryMarks.None || not (MetaKey.isWord entry.Key)
        ValueLength = entry.ValueLength
        Flags = entry.Flags
        ExpirySeconds = entry.ExpirySeconds
        Cas = entry.Cas
        Access = access
        IsNew = false
    }

    /// Whether the value of an item with this cas unique is sent.
    let private sendsValueOf (command: inref<Command>) (cas: uint64) : bool =
        let flags = MetaExecute.flagsOf &command

        flags &&& MetaFlags.ReturnValue <> MetaFlags.None
        && command.Verb = Verb.MetaGet
        && not (flags &&& MetaFlags.CompareCas <> MetaFlags.None && cas = command.Number)

    /// Whether a hit of this item sends its value.
    let sendsValue (command: inref<Command>) (entry: Entry) : bool = sendsValueOf &command entry.Cas

    /// The first word of what went well, and the length of the value when it is sent.
    let private outcome (target: Span<byte>) (position: byref<int>) (sendsValue: bool) (valueLength: int) : unit =
        if sendsValue then
            status target &position "VA"
            put target &position 32uy
            number target &position (uint64 valueLength)
        else
            status target &position "HD"

    let private writeHit
        (target: Span<byte>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (item: MetaItem)
        (sendsValue: bool)
        (marks: EntryMarks)
        (wins: bool)
        (now: uint32)
        : int =
        let mutable position = 0

        outcome target &position sendsValue item.ValueLength
        writeFlags target &position &command input ofGet item now

        if not item.IsNew && marks &&& EntryMarks.WinSent <> EntryMarks.None then
            put target &position 32uy
            put target &position (byte 'Z')

        if marks &&& EntryMarks.Stale <> EntryMarks.None then
            put target &position 32uy
            put target &position (byte 'X')

        if wins then
            put target &position 32uy
            put target &position (byte 'W')

        lineEnd target &position
        position

    let private writeDebug (target: Span<byte>) (entry: Entry) (context: AnswerContext) : int =
        let now = context.NowSeconds
        let access = context.Access
        let mutable position = 0
        copy target &position (ReadOnlySpan<byte> debugWord)
        let item = ofEntry entry access
        key target &position item.Key item.IsBinaryKey
        copy target &position (ReadOnlySpan<byte> expiryWord)
        ttl target &position entry.ExpirySeconds now
        copy target &position (ReadOnlySpan<byte> accessWord)
        number target &position (uint64 (max now access.LastSeconds - access.LastSeconds))
        copy target &position (ReadOnlySpan<byte> casWord)
        number target &position entry.Cas

        copy target &position (ReadOnlySpan<byte>(if access.IsFetched then fetchedWord else notFetchedWord))

        number target &position (uint64 entry.Length)
        lineEnd target &position
        position

    /// `Answer.writeHitHead` of `mg` and `me`.
    let writeHitHead
        (target: Span<byte>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (entry: Entry)
        (context: AnswerContext)
        : int =
        if command.Verb = Verb.MetaDebug then
            writeDebug target entry context
        else
            writeHit
                target
                &command
                input
                (ofEntry entry context.Access)
                (sendsValue &command entry)
                entry.Marks
                false
                context.NowSeconds

    let private writeStatus
        (target: Span<byte>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (code: string)
        (answered: MetaFlags)
        (item: MetaItem)
        (now: uint32)
        : int =
        let mutable position = 0
        status target &position code
        writeFlags target &position &command input answered item now
        lineEnd target &position
        position

    /// `Answer.writeMiss` of `mg` and `me`.
    let writeMiss (target: Span<byte>) (command: inref<Command>) (input: ReadOnlySpan<byte>) (key: ReadOnlySpan<byte>) =
        if command.Verb = Verb.MetaDebug then
            let mutable position = 0
            status target &position "EN"
            lineEnd target &position
            position
        elif MetaExecute.flagsOf &command &&& MetaFlags.Quiet <> MetaFlags.None then
            0
        else
            writeStatus target &command input "EN" echo (named &command key) 0u

    /// The new number of `ma`.
    let private writeNumber
        (target: Span<byte>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (key: ReadOnlySpan<byte>)
        (change: Change)
        (current: Entry voption)
        (context: AnswerContext)
        : int =
        let now = context.NowSeconds

        let item = {
            named &command key with
                Cas = context.Cas
                IsNew = current.IsNone
                ExpirySeconds =
                    (match current with
                     | ValueSome entry -> entry.ExpirySeconds
                     | ValueNone -> 0u)
        }

        let sendsNumber = MetaExecute.flagsOf &command &&& MetaFlags.ReturnValue <> MetaFlags.None
        let mutable position = 0

        outcome target &position sendsNumber (Reply.digitCount change.Number)
        writeFlags target &position &command input ofArithmetic item now
        lineEnd target &position

        if sendsNumber then
            number target &position change.Number
            lineEnd target &position

        position

    /// `Answer.appendChange` of a meta command.
    let appendChange
        (buffer: ByteBuffer)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (key: ReadOnlySpan<byte>)
        (change: Change)
        (current: Entry voption)
        (context: AnswerContext)
        (headLengthMax: int)
        : unit =
        let start = buffer.Length
        let target = buffer.Reserve headLengthMax
        let now = context.NowSeconds
        let isSet = command.Verb = Verb.MetaSet

        let length =
            match change.Reply with
            | ReplyCode.Stored ->
                let item = {
                    named &command key with
                        ValueLength = change.Head.Length + change.Tail.Length
                        Cas = context.Cas
                }

                writeStatus target &command input "HD" ofSet item now
            | ReplyCode.NotStored -> writeStatus target &command input "NS" ofSet (named &command key) now
            | ReplyCode.Exists ->
                writeStatus target &command input "EX" (if isSet then ofSet else echo) (named &command key) now
            | ReplyCode.NotFound ->
                writeStatus target &command input "NF" (if isSet then ofSet else echo) (named &command key) now
            | ReplyCode.Deleted -> writeStatus target &command input "HD" echo (named &command key) now
            | ReplyCode.MetaEnd -> writeStatus target &command input "EN" echo (named &command key) now
            | ReplyCode.Value ->
                match current with
                | ValueSome entry ->
                    let wins = change.Marks &&& ~~~entry.Marks &&& EntryMarks.WinSent <> EntryMarks.None
                    let item = ofEntry entry context.Access
                    writeHit target &command input item (sendsValue &command entry) entry.Marks wins now
                | ValueNone ->
                    let item = {
                        named &command key with
                            IsBinaryKey = not (MetaKey.isWord key)
                            Cas = context.Cas
                            Access = { LastSeconds = now; IsFetched = false }
                            IsNew = true
                    }

                    writeHit target &command input item (sendsValueOf &command context.Cas) EntryMarks.None true now
            | ReplyCode.Number -> writeNumber target &command input key change current context
            | reply ->
                let line = Reply.line reply
                line.CopyTo target
                line.Length

        buffer.Truncate(start + length)

        if change.Reply = ReplyCode.Value then
            match current with
            | ValueSome entry when sendsValue &command entry ->
                buffer.Append entry.Value
                buffer.Append(ReadOnlySpan<byte> crlf)
            | ValueNone when sendsValueOf &command context.Cas -> buffer.Append(ReadOnlySpan<byte> crlf)
            | _ -> ()
