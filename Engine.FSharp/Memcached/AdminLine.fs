namespace LsmFs.Engine

// The lines of memcached's operators, and those that are no command at all. None of them takes a value, and none needs to be fast.

open System

/// Parsing the lines that are no reads and writes of items.
[<RequireQualifiedAccess>]
module internal AdminLine =

    /// Whether the token begins as the last word of an HTTP request does.
    let private isHttpVersion (token: ReadOnlySpan<byte>) =
        token.Length >= 5 && CommandName.pack (token.Slice(0, 5)) = CommandName.HttpVersion

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
            ParseStep.rejectedCounting Counters.CmdFlush ReplyCode.InvalidExptime noReply consumed
        else
            command <- { Command.withoutKey Verb.FlushAll noReply with Exptime = delay }

            ParseStep.parsed consumed

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
            ParseStep.rejected ReplyCode.BadCommandLineFormat noReply consumed
        else
            command <- { Command.withoutKey Verb.Verbosity noReply with Number = uint64 level }

            ParseStep.parsed consumed

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
                Command.withoutKey verb noReply
            else
                {
                    Command.withKey verb noReply tokens[2] (tokens[3] - tokens[2]) with
                        KeysLength = line.Length - tokens[2]
                }

        ParseStep.parsed consumed

    /// A command that is answered from its line alone.
    let inline private answered
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (reply: ReplyCode)
        (consumed: int)
        : ParseStep =
        ParseStep.rejected reply (Tokens.endInNoreply line tokens count 1) consumed

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
                Command.withoutKey Verb.CacheMemlimit (Tokens.endInNoreply line tokens count 1) with
                    Number = uint64 mebibytes
            }

            ParseStep.parsed consumed

    let private parseUnknown
        (line: ReadOnlySpan<byte>)
        (tokens: Span<int>)
        (count: int)
        (packed: uint64)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        if count > 1 && isHttpVersion (Tokens.item line tokens (count - 1)) then
            ParseStep.close ()
        elif packed = CommandName.Shutdown then
            command <- {
                Command.withoutKey Verb.Shutdown (Tokens.endInNoreply line tokens count 1) with
                    Number =
                        (if AdminRequest.isShutdownMode line tokens count then
                             1UL
                         else
                             0UL)
            }

            ParseStep.parsed consumed
        else
            ParseStep.rejected ReplyCode.Error (Tokens.endInNoreply line tokens count 0) consumed

    /// Parses a line whose name, packed by `CommandName.packWhole`, is of no command that `CommandLine` knows. Tokens as `Tokens.split` makes them, the name first.
    let parse
        (line: ReadOnlySpan<byte>)
        (name: ReadOnlySpan<byte>)
        (packed: uint64)
        (tokens: Span<int>)
        (count: int)
        (consumed: int)
        (command: byref<Command>)
        : ParseStep =
        match packed with
        | CommandName.Stats -> parseWithArguments line tokens count Verb.Stats false consumed &command
        | packed when packed = 0UL && name.Length = 9 ->
            if CommandName.pack name = CommandName.FlushAllHead && name[8] = byte 'l' then
                parseFlushAll line tokens count consumed &command
            elif CommandName.pack name = CommandName.VerbosityHead && name[8] = byte 'y' then
                parseVerbosity line tokens count consumed &command
            else
                parseUnknown line tokens count packed consumed &command
        | CommandName.Lru -> answered line tokens count (AdminRequest.lru line tokens count) consumed
        | CommandName.Slabs -> answered line tokens count (AdminRequest.slabs line tokens count) consumed
        // Answered even to noreply. What there is to watch, there the log of a cache, is not logged here.
        | CommandName.Watch -> ParseStep.rejected ReplyCode.WatchNotAllowed false consumed
        | _ when CommandName.isCacheMemlimit name -> parseCacheMemlimit line tokens count consumed &command
        | _ when CommandName.isRefreshCerts name ->
            command <- Command.withoutKey Verb.RefreshCerts (Tokens.endInNoreply line tokens count 1)
            ParseStep.parsed consumed
        | _ when CommandName.isLruCrawler name ->
            let noReply = Tokens.endInNoreply line tokens count 1
            parseWithArguments line tokens count Verb.LruCrawler noReply consumed &command
        | packed -> parseUnknown line tokens count packed consumed &command
