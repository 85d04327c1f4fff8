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

    let private isKeyTooLong (tokens: Span<int>) (index: int) = Tokens.length tokens index > ProtocolLimits.keyLengthMax

    /// A storage line is good: the value, when all of it is there.
    let takeValue (input: ReadOnlySpan<byte>) (parsedCommand: Command) (command: byref<Command>) : ParseStep =
        let finish = parsedCommand.ValueOffset + parsedCommand.ValueLength

        if input.Length - 2 < finish then
            ParseStep.needMoreOf (finish + 2)
        elif input[finish] <> carriageReturn || input[finish + 1] <> newline then
            ParseStep.rejectedCounting Counters.CmdSet ReplyCode.BadDataChunk parsedCommand.NoReply (finish + 2)
        else
            command <- parsedCommand
            ParseStep.parsed (finish + 2)

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
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
        elif not goodExptime then
            ParseStep.rejected ReplyCode.InvalidExptime false consumed
        else
            let keyOffset = position - first.Length
            let mutable longest = first.Length
            let mutable more = true

            while more do
                let key = Tokens.next line &position
                longest <- max longest key.Length
                more <- not key.IsEmpty

            if longest > ProtocolLimits.keyLengthMax then
                ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
            else
                command <- {
                    Command.withKey verb false keyOffset first.Length with
                        KeysLength = line.Length - keyOffset
                        Exptime = exptime
                }

                ParseStep.parsed consumed

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
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 5

            let isGood =
                not (isKeyTooLong tokens 1)
                && Digits.tryUInt32 (Tokens.item line tokens 2) &flags
                && Digits.tryInt32 (Tokens.item line tokens 3) &exptime
                && (verb <> Verb.Cas || (count > 5 && Digits.tryUInt64 (Tokens.item line tokens 5) &unique))

            if not isGood then
                state.SwallowBytes <- int64 length + 2L
                ParseStep.rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif length > valueLengthMax then
                state.SwallowBytes <- int64 length + 2L

                if verb = Verb.Set then
                    command <- Command.withKey Verb.SetTooLarge noReply tokens[2] (tokens[3] - tokens[2])
                    ParseStep.parsed consumed
                else
                    ParseStep.rejectedCounting Counters.StoreTooLarge ReplyCode.ObjectTooLarge noReply consumed
            else
                takeValue
                    input
                    {
                        Command.withKey verb noReply tokens[2] (tokens[3] - tokens[2]) with
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
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 2
            let mutable isGood = true
            let mutable ignored = 0

            // Old clients send a delay that no longer means anything.
            for index = 2 to (if noReply then count - 2 else count - 1) do
                isGood <- isGood && Digits.tryInt32 (Tokens.item line tokens index) &ignored

            if isKeyTooLong tokens 1 then
                ParseStep.rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif not isGood then
                ParseStep.rejected ReplyCode.BadDeleteFormat noReply consumed
            else
                command <- Command.withKey Verb.Delete noReply tokens[2] (tokens[3] - tokens[2])
                ParseStep.parsed consumed

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
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 2

            if isKeyTooLong tokens 1 then
                ParseStep.rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif not (Digits.tryUInt64 (Tokens.item line tokens 2) &delta) then
                ParseStep.rejected ReplyCode.InvalidDelta noReply consumed
            else
                command <- {
                    Command.withKey verb noReply tokens[2] (tokens[3] - tokens[2]) with
                        Number = delta
                }

                ParseStep.parsed consumed

    let private parseTouch
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let mutable exptime = 0

        if count < 3 then
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let noReply = Tokens.endInNoreply line tokens count 2

            if isKeyTooLong tokens 1 then
                ParseStep.rejected ReplyCode.BadCommandLineFormat noReply consumed
            elif not (Digits.tryInt32 (Tokens.item line tokens 2) &exptime) then
                ParseStep.rejected ReplyCode.InvalidExptime noReply consumed
            else
                command <- {
                    Command.withKey Verb.Touch noReply tokens[2] (tokens[3] - tokens[2]) with
                        Exptime = exptime
                }

                ParseStep.parsed consumed

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
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
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
                | CommandName.Version ->
                    command <- Command.withoutKey Verb.Version false
                    ParseStep.parsed consumed
                | CommandName.Quit ->
                    command <- Command.withoutKey Verb.Quit false
                    ParseStep.parsed consumed
                | packed -> AdminLine.parse line name packed tokens count consumed &command
