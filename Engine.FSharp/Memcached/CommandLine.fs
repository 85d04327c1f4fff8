namespace LsmFs.Engine

// One command line: which command it is, what its arguments say, and what is wrong with it. Where releases of memcached differ, this
// follows 1.6.45: docs/PROTOCOL.md lists the differences.

open System
open Microsoft.FSharp.NativeInterop

/// Parsing a whole line.
[<RequireQualifiedAccess>]
module internal CommandLine =

    [<Literal>]
    let private space = 32uy

    [<Literal>]
    let private newline = 10uy

    [<Literal>]
    let private carriageReturn = 13uy

    /// The shortest line, end included, that can be a command.
    [<Literal>]
    let private lineBytesMin = 4

    let inline needMoreOf (wantedBytes: int) : ParseStep = {
        Kind = ParseStepKind.NeedMore
        Reply = ReplyCode.None
        Counters = Counters.None
        ConsumedBytes = 0
        WantedBytes = wantedBytes
    }

    let inline parsed (consumedBytes: int) : ParseStep = {
        Kind = ParseStepKind.Parsed
        Reply = ReplyCode.None
        Counters = Counters.None
        ConsumedBytes = consumedBytes
        WantedBytes = 0
    }

    let rejectedCounting (counters: Counters) (reply: ReplyCode) (noReply: bool) (consumedBytes: int) : ParseStep = {
        Kind = ParseStepKind.Rejected
        Reply = (if noReply then ReplyCode.None else reply)
        Counters = counters
        ConsumedBytes = consumedBytes
        WantedBytes = 0
    }

    let rejected (reply: ReplyCode) (noReply: bool) (consumedBytes: int) : ParseStep =
        rejectedCounting Counters.None reply noReply consumedBytes

    let inline close () : ParseStep = {
        Kind = ParseStepKind.Close
        Reply = ReplyCode.None
        Counters = Counters.None
        ConsumedBytes = 0
        WantedBytes = 0
    }

    /// Drops bytes of a refused value.
    let swallow (state: byref<ParserState>) (input: ReadOnlySpan<byte>) : ParseStep =
        let dropped = int (min state.SwallowBytes (int64 input.Length))
        state.SwallowBytes <- state.SwallowBytes - int64 dropped
        rejected ReplyCode.None true dropped

    let inline withoutKey (verb: Verb) (noReply: bool) : Command = {
        Verb = verb
        Dialect = Dialect.Text
        NoReply = noReply
        KeyOffset = 0
        KeyLength = 0
        KeysLength = 0
        Flags = 0u
        Exptime = 0
        Number = 0UL
        ValueOffset = 0
        ValueLength = 0
    }

    let inline withKey (verb: Verb) (noReply: bool) (keyOffset: int) (keyLength: int) : Command = {
        withoutKey verb noReply with
            KeyOffset = keyOffset
            KeyLength = keyLength
            KeysLength = keyLength
    }

    /// Whether the token begins as the last word of an HTTP request does.
    let private isHttpVersion (token: ReadOnlySpan<byte>) =
        token.Length >= 5 && CommandName.pack (token.Slice(0, 5)) = CommandName.HttpVersion

    let private isKeyTooLong (tokens: Span<int>) (index: int) = Tokens.length tokens index > ProtocolLimits.keyLengthMax

    /// A storage line is good: the value, when all of it is there.
    let takeValue (input: ReadOnlySpan<byte>) (parsedCommand: Command) (command: byref<Command>) : ParseStep =
        let finish = parsedCommand.ValueOffset + parsedCommand.ValueLength

        if input.Length - 2 < finish then
            needMoreOf (finish + 2)
        elif input[finish] <> carriageReturn || input[finish + 1] <> newline then
            rejectedCounting Counters.CmdSet ReplyCode.BadDataChunk parsedCommand.NoReply (finish + 2)
        else
            command <- parsedCommand
            parsed (finish + 2)

    let private parseRetrieval
        (line: ReadOnlySpan<byte>)
        (verb: Verb)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let mutable position = 0
        let _ = Tokens.next line &position
        let hasExptime = verb = Verb.Gat || verb = Verb.Gats
        let mutable exptime = 0
        let mutable goodExptime = true

        if hasExptime then
            goodExptime <- Digits.tryInt32 (Tokens.next line &position) &exptime

        let first = Tokens.next line &position

        if first.IsEmpty then
            rejected ReplyCode.BadCommandLineFormat false consumed
        elif not goodExptime then
            rejected ReplyCode.InvalidExptime false consumed
        else
            let keyOffset = position - first.Length
            let mutable longest = first.Length
            let mutable more = true

            while more do
                let key = Tokens.next line &position
                longest <- max longest key.Length
                more <- not key.IsEmpty

            if longest > ProtocolLimits.keyLengthMax then
                rejected ReplyCode.BadCommandLineFormat false consumed
            else
                command <- {
                    withKey verb false keyOffset first.Length with
                        KeysLength = line.Length - keyOffset
                        Exptime = exptime
                }

                parsed consumed

    let private parseStorage
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (verb: Verb)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let mutable length = 0
        let mutable flags = 0u
        let mutable exptime = 0
        let mutable unique = 0UL

        if
            count < 5
            || not (Digits.tryInt32 (Tokens.item line tokens 4) &length)
            || length < 0
            || length > Int32.MaxValue - 2
        then
            // Nothing says how long the data is: it will be read as a command, and the client is told even if it wants no reply.
            rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 5

            let isGood =
                not (isKeyTooLong tokens 1)
                && Digits.tryUInt32 (Tokens.item line tokens 2) &flags
                && Digits.tryInt32 (Tokens.item line tokens 3) &exptime
                && (verb <> Verb.Cas || (count > 5 && Digits.tryUInt64 (Tokens.item line tokens 5) &unique))

            if not isGood then
                state.SwallowBytes <- int64 length + 2L
                rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif length > valueLengthMax then
                state.SwallowBytes <- int64 length + 2L

                if verb = Verb.Set then
                    command <- withKey Verb.SetTooLarge noReply tokens[2] (tokens[3] - tokens[2])
                    parsed consumed
                else
                    rejectedCounting Counters.StoreTooLarge ReplyCode.ObjectTooLarge noReply consumed
            else
                takeValue
                    input
                    {
                        withKey verb noReply tokens[2] (tokens[3] - tokens[2]) with
                            Flags = flags
                            Exptime = exptime
                            Number = unique
                            ValueOffset = consumed
                            ValueLength = length
                    }
                    &command

    let private parseDelete
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        if count < 2 then
            rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 2
            let mutable isGood = true
            let mutable ignored = 0

            // Old clients send a delay that no longer means anything.
            for index = 2 to (if noReply then count - 2 else count - 1) do
                isGood <- isGood && Digits.tryInt32 (Tokens.item line tokens index) &ignored

            if isKeyTooLong tokens 1 then
                rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif not isGood then
                rejected ReplyCode.BadDeleteFormat noReply consumed
            else
                command <- withKey Verb.Delete noReply tokens[2] (tokens[3] - tokens[2])
                parsed consumed

    let private parseArithmetic
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (verb: Verb)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let mutable delta = 0UL

        if count < 3 then
            rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 2

            if isKeyTooLong tokens 1 then
                rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif not (Digits.tryUInt64 (Tokens.item line tokens 2) &delta) then
                rejected ReplyCode.InvalidDelta noReply consumed
            else
                command <- { withKey verb noReply tokens[2] (tokens[3] - tokens[2]) with Number = delta }

                parsed consumed

    let private parseTouch
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let mutable exptime = 0

        if count < 3 then
            rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 2

            if isKeyTooLong tokens 1 then
                rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif not (Digits.tryInt32 (Tokens.item line tokens 2) &exptime) then
                rejected ReplyCode.InvalidExptime noReply consumed
            else
                command <- {
                    withKey Verb.Touch noReply tokens[2] (tokens[3] - tokens[2]) with
                        Exptime = exptime
                }

                parsed consumed

    let private parseFlushAll
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let noReply = Tokens.endInNoreply line tokens count 1
        let mutable delay = 0

        if count <> (if noReply then 2 else 1) && not (Digits.tryInt32 (Tokens.item line tokens 1) &delay) then
            rejectedCounting Counters.CmdFlush ReplyCode.InvalidExptime noReply consumed
        else
            command <- { withoutKey Verb.FlushAll noReply with Exptime = delay }

            parsed consumed

    let private parseVerbosity
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let noReply = Tokens.endInNoreply line tokens count 1
        let mutable level = 0u

        if count < 2 || not (Digits.tryUInt32 (Tokens.item line tokens 1) &level) then
            rejected ReplyCode.BadCommandLineFormat noReply consumed
        else
            command <- { withoutKey Verb.Verbosity noReply with Number = uint64 level }

            parsed consumed

    /// A command whose arguments are understood where it is carried out.
    let private parseWithArguments
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (verb: Verb)
        (noReply: bool)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        command <-
            if count < 2 then
                withoutKey verb noReply
            else
                {
                    withKey verb noReply tokens[2] (tokens[3] - tokens[2]) with
                        KeysLength = line.Length - tokens[2]
                }

        parsed consumed

    /// A command that is answered from its line alone.
    let inline private answered
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (reply: ReplyCode)
        (consumed: int)
        : ParseStep =
        rejected reply (Tokens.endInNoreply line tokens count 1) consumed

    let private parseCacheMemlimit
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let mutable mebibytes = 0u

        if count < 2 || not (Digits.tryUInt32 (Tokens.item line tokens 1) &mebibytes) then
            answered line tokens count ReplyCode.Error consumed
        else
            command <- {
                withoutKey Verb.CacheMemlimit (Tokens.endInNoreply line tokens count 1) with
                    Number = uint64 mebibytes
            }

            parsed consumed

    let private parseUnknown
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (packed: uint64)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        if count > 1 && isHttpVersion (Tokens.item line tokens (count - 1)) then
            close ()
        elif packed = CommandName.Shutdown then
            command <- {
                withoutKey Verb.Shutdown (Tokens.endInNoreply line tokens count 1) with
                    Number =
                        (if AdminRequest.isShutdownMode line tokens count then
                             1UL
                         else
                             0UL)
            }

            parsed consumed
        else
            rejected ReplyCode.Error (Tokens.endInNoreply line tokens count 0) consumed

    /// The line whose newline is at `lineEnd`, without its end. `lineEnd` is not 0.
    let textOf (input: ReadOnlySpan<byte>) (lineEnd: int) : ReadOnlySpan<byte> =
        input.Slice(
            0,
            (if input[lineEnd - 1] = carriageReturn then
                 lineEnd - 1
             else
                 lineEnd)
        )

    /// Parses the line whose newline is at `lineEnd`, and the value behind it.
    let parse
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (lineEnd: int)
        (command: byref<Command>)
        : ParseStep =
        let consumed = lineEnd + 1

        if consumed < lineBytesMin then
            rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let line = textOf input lineEnd

            let nameLength =
                match line.IndexOf space with
                | -1 -> line.Length
                | found -> found

            let name = line.Slice(0, nameLength)

            match CommandName.packWhole name with
            | CommandName.Get -> parseRetrieval line Verb.Get consumed &command
            | CommandName.Gets -> parseRetrieval line Verb.Gets consumed &command
            | CommandName.Gat -> parseRetrieval line Verb.Gat consumed &command
            | CommandName.Gats -> parseRetrieval line Verb.Gats consumed &command
            | packed ->
                let tokens =
                    Span<int>(NativePtr.toVoidPtr (NativePtr.stackalloc<int>(2 * Tokens.countMax)), 2 * Tokens.countMax)

                let count = Tokens.split line tokens

                match packed with
                | CommandName.Set ->
                    parseStorage valueLengthMax &state input line tokens count Verb.Set consumed &command
                | CommandName.Add ->
                    parseStorage valueLengthMax &state input line tokens count Verb.Add consumed &command
                | CommandName.Replace ->
                    parseStorage valueLengthMax &state input line tokens count Verb.Replace consumed &command
                | CommandName.Append ->
                    parseStorage valueLengthMax &state input line tokens count Verb.Append consumed &command
                | CommandName.Prepend ->
                    parseStorage valueLengthMax &state input line tokens count Verb.Prepend consumed &command
                | CommandName.Cas ->
                    parseStorage valueLengthMax &state input line tokens count Verb.Cas consumed &command
                | CommandName.Delete -> parseDelete line tokens count consumed &command
                | CommandName.Incr -> parseArithmetic line tokens count Verb.Incr consumed &command
                | CommandName.Decr -> parseArithmetic line tokens count Verb.Decr consumed &command
                | CommandName.Touch -> parseTouch line tokens count consumed &command
                | CommandName.Stats -> parseWithArguments line tokens count Verb.Stats false consumed &command
                | CommandName.Version ->
                    command <- withoutKey Verb.Version false
                    parsed consumed
                | CommandName.Quit ->
                    command <- withoutKey Verb.Quit false
                    parsed consumed
                | packed when packed = 0UL && nameLength = 9 ->
                    if CommandName.pack name = CommandName.FlushAllHead && name[8] = byte 'l' then
                        parseFlushAll line tokens count consumed &command
                    elif CommandName.pack name = CommandName.VerbosityHead && name[8] = byte 'y' then
                        parseVerbosity line tokens count consumed &command
                    else
                        parseUnknown line tokens count packed consumed &command
                | CommandName.Lru -> answered line tokens count (AdminRequest.lru line tokens count) consumed
                | CommandName.Slabs -> answered line tokens count (AdminRequest.slabs line tokens count) consumed
                // Answered even to noreply. What there is to watch, there the log of a cache, is not logged here.
                | CommandName.Watch -> rejected ReplyCode.WatchNotAllowed false consumed
                | _ when CommandName.isCacheMemlimit name -> parseCacheMemlimit line tokens count consumed &command
                | _ when CommandName.isRefreshCerts name ->
                    command <- withoutKey Verb.RefreshCerts (Tokens.endInNoreply line tokens count 1)
                    parsed consumed
                | _ when CommandName.isLruCrawler name ->
                    let noReply = Tokens.endInNoreply line tokens count 1
                    parseWithArguments line tokens count Verb.LruCrawler noReply consumed &command
                | packed -> parseUnknown line tokens count packed consumed &command
