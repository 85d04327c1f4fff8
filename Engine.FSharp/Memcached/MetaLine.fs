namespace LsmFs.Engine

// One line of a meta command: mg ms md ma mn me, a key, and flags.

open System

/// Parsing meta commands.
[<RequireQualifiedAccess>]
module internal MetaLine =

    [<Literal>]
    let private carriageReturn = 13uy

    [<Literal>]
    let private space = 32uy

    /// Whether the line is that of a meta command; its newline is at `lineEnd`.
    let isMeta (input: ReadOnlySpan<byte>) (lineEnd: int) : bool =
        lineEnd >= 3
        && input[0] = byte 'm'
        && (input[2] = space || (input[2] = carriageReturn && lineEnd = 3))
        && (match char input[1] with
            | 'g'
            | 's'
            | 'd'
            | 'a'
            | 'n'
            | 'e' -> true
            | _ -> false)

    let private verbOf (letter: byte) : Verb =
        match char letter with
        | 'g' -> Verb.MetaGet
        | 's' -> Verb.MetaSet
        | 'd' -> Verb.MetaDelete
        | 'a' -> Verb.MetaArithmetic
        | _ -> Verb.MetaDebug

    let private wordCount (words: ReadOnlySpan<byte>) : int =
        let mutable position = 0
        let mutable count = 0

        while not (Tokens.next words &position).IsEmpty do
            count <- count + 1

        count

    /// What is wrong with the flags of a command, None when nothing is. `wordsBefore` are the words of the line before them.
    let private judge
        (verb: Verb)
        (key: ReadOnlySpan<byte>)
        (flags: ReadOnlySpan<byte>)
        (wordsBefore: int)
        (options: byref<MetaOptions>)
        : ReplyCode =
        let isArithmetic = verb = Verb.MetaArithmetic

        if wordsBefore + wordCount flags > MetaFlags.wordCountMax then
            if isArithmetic then
                ReplyCode.InvalidOrDuplicateFlag
            else
                ReplyCode.TooManyFlags
        else
            match MetaFlags.read key flags &options with
            | ReplyCode.None
            | ReplyCode.OpaqueTooLong as reply ->
                let mode = char options.Mode

                if not (options.Has MetaFlags.Mode) then
                    reply
                elif verb = Verb.MetaSet && "EAPRS".IndexOf mode < 0 then
                    ReplyCode.InvalidSetMode
                elif isArithmetic && "I+D-".IndexOf mode < 0 then
                    ReplyCode.InvalidArithmeticMode
                else
                    reply
            | _ when isArithmetic -> ReplyCode.InvalidOrDuplicateFlag
            | reply -> reply

    let private parseSet
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (line: ReadOnlySpan<byte>)
        (key: ReadOnlySpan<byte>)
        (keyOffset: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        let mutable position = keyOffset + key.Length
        let mutable length = 0
        let mutable options = MetaOptions()
        let hasLength = Digits.tryInt32 (Tokens.next line &position) &length

        if
            not hasLength
            || length < 0
            || length > Int32.MaxValue - 2
            || not (MetaFlags.areWords (line.Slice position))
        then
            // Nothing says how long the data is: it will be read as a command.
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
        else
            let reply =
                if key.Length > ProtocolLimits.keyLengthMax then
                    ReplyCode.BadCommandLineFormat
                else
                    judge Verb.MetaSet key (line.Slice position) 3 &options

            if reply <> ReplyCode.None then
                state.SwallowBytes <- int64 length + 2L
                ParseStep.rejected reply false consumed
            else
                let parsed = {
                    Command.withKey Verb.MetaSet false keyOffset key.Length with
                        Dialect = Dialect.Meta
                        KeysLength = line.Length - keyOffset
                        Flags = uint32 options.Flags
                        Number = options.CompareCas
                        ValueOffset = consumed
                        ValueLength = length
                }

                if length > valueLengthMax then
                    state.SwallowBytes <- int64 length + 2L
                    command <- { parsed with Verb = Verb.SetTooLarge; ValueOffset = 0; ValueLength = 0 }
                    ParseStep.parsed consumed
                else
                    CommandLine.takeValue input parsed &command

    /// Parses the line of a meta command (`isMeta`) whose newline is at `lineEnd`, and the value behind it.
    let parse
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (lineEnd: int)
        (command: byref<Command>)
        : ParseStep =
        let consumed = lineEnd + 1

        let line = CommandLine.textOf input lineEnd
        let mutable position = 2
        let key = Tokens.next line &position
        let keyOffset = position - key.Length

        if line[1] = byte 'n' then
            ParseStep.rejected ReplyCode.MetaNoop false consumed
        elif key.IsEmpty then
            ParseStep.rejected ReplyCode.BadCommandLineFormat false consumed
        elif line[1] = byte 's' then
            parseSet valueLengthMax &state input line key keyOffset consumed &command
        else
            let verb = verbOf line[1]
            let flags = line.Slice position
            let mutable options = MetaOptions()

            let reply =
                // Flags mean nothing to `me`, `b` included.
                if verb = Verb.MetaDebug then
                    if key.Length > ProtocolLimits.keyLengthMax then
                        ReplyCode.BadCommandLineFormat
                    else
                        ReplyCode.None
                elif not (MetaFlags.areWords flags) then
                    ReplyCode.BadCommandLineFormat
                elif key.Length > ProtocolLimits.keyLengthMax then
                    if verb = Verb.MetaArithmetic then
                        ReplyCode.InvalidOrDuplicateFlag
                    else
                        ReplyCode.BadCommandLineFormat
                else
                    judge verb key flags 2 &options

            if reply <> ReplyCode.None then
                ParseStep.rejected reply false consumed
            else
                command <- {
                    Command.withKey verb false keyOffset key.Length with
                        Dialect = Dialect.Meta
                        KeysLength = line.Length - keyOffset
                        Flags = uint32 options.Flags
                        Number = options.CompareCas
                }

                ParseStep.parsed consumed
