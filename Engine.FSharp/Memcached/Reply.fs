namespace LsmFs.Engine

// Writing replies into the caller's memory. Every writer has a length function beside it that says how much room it takes, or may take;
// a writer given less throws and leaves the memory in an unspecified state.
//
//   VALUE <key> <flags> <bytes>[ <cas unique>]\r\n<data>\r\n      one for each hit of a retrieval, then END\r\n
//   STAT <name> <value>\r\n                                       one for each statistic, then END\r\n

open System
open System.Text

/// What a reply says beside the command and the item.
[<Struct>]
type AnswerContext = {
    /// The Unix time in seconds.
    NowSeconds: uint32
    /// The cas unique of the item after the change.
    Cas: uint64
    /// When the item was read before.
    Access: Access
}

/// Writing replies.
[<RequireQualifiedAccess>]
module Reply =

    /// The release of memcached that the protocol follows, and what `version` answers: clients decide by it what a server can do. libmemcached
    /// takes a server whose version begins with 0 for broken, and expects the habits of its time from one before 1.6.
    [<Literal>]
    let memcachedRelease = "1.6.45"

    let private lineOf (reply: ReplyCode) : string =
        match reply with
        | ReplyCode.Stored -> "STORED"
        | ReplyCode.NotStored -> "NOT_STORED"
        | ReplyCode.Exists -> "EXISTS"
        | ReplyCode.NotFound -> "NOT_FOUND"
        | ReplyCode.Deleted -> "DELETED"
        | ReplyCode.Touched -> "TOUCHED"
        | ReplyCode.Ok -> "OK"
        | ReplyCode.End -> "END"
        | ReplyCode.Reset -> "RESET"
        | ReplyCode.Error -> "ERROR"
        | ReplyCode.BadCommandLineFormat -> "CLIENT_ERROR bad command line format"
        | ReplyCode.BadDeleteFormat -> "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
        | ReplyCode.BadDataChunk -> "CLIENT_ERROR bad data chunk"
        | ReplyCode.NonNumericValue -> "CLIENT_ERROR cannot increment or decrement non-numeric value"
        | ReplyCode.InvalidDelta -> "CLIENT_ERROR invalid numeric delta argument"
        | ReplyCode.InvalidExptime -> "CLIENT_ERROR invalid exptime argument"
        | ReplyCode.ObjectTooLarge -> "SERVER_ERROR object too large for cache"
        | ReplyCode.ShutdownNotEnabled -> "SERVER_ERROR: shutdown not enabled"
        | ReplyCode.FlushAllNotAllowed -> "CLIENT_ERROR flush_all not allowed"
        | ReplyCode.TooManyConnections -> "ERROR Too many open connections"
        | ReplyCode.BadDetailFormat -> "CLIENT_ERROR usage: stats detail on|off|dump"
        | ReplyCode.BadCommandLine -> "CLIENT_ERROR bad command line"
        | ReplyCode.IllegalSlabClass -> "CLIENT_ERROR Illegal slab id"
        | ReplyCode.CrawlerBusy -> "BUSY currently processing crawler request"
        | ReplyCode.BadSlabClass -> "BADCLASS invalid class id"
        | ReplyCode.CrawlerDisabled -> "CLIENT_ERROR lru crawler disabled"
        | ReplyCode.CrawlerNotStarted -> "ERROR failed to start lru crawler thread"
        | ReplyCode.CrawlerFailed -> "ERROR an unknown error happened"
        | ReplyCode.SleepTooLong -> "CLIENT_ERROR sleep must be one second or less"
        | ReplyCode.MetaEnd -> "EN"
        | ReplyCode.MetaNoop -> "MN"
        | ReplyCode.InvalidFlag -> "CLIENT_ERROR invalid flag"
        | ReplyCode.DuplicateFlag -> "CLIENT_ERROR duplicate flag"
        | ReplyCode.InvalidOrDuplicateFlag -> "CLIENT_ERROR invalid or duplicate flag"
        | ReplyCode.TooManyFlags -> "CLIENT_ERROR options flags are too long"
        | ReplyCode.BadToken -> "CLIENT_ERROR bad token in command line format"
        | ReplyCode.BadDelta -> "CLIENT_ERROR invalid numeric delta value"
        | ReplyCode.BadInitial -> "CLIENT_ERROR invalid numeric initial value"
        | ReplyCode.BadKeyEncoding -> "CLIENT_ERROR error decoding key"
        | ReplyCode.OpaqueTooLong -> "CLIENT_ERROR opaque token too long"
        | ReplyCode.InvalidSetMode -> "CLIENT_ERROR invalid mode for ms M token"
        | ReplyCode.InvalidArithmeticMode -> "CLIENT_ERROR invalid mode for ma M token"
        | ReplyCode.LruPercentTooLarge -> "ERROR hot and warm pcts must not exceed 80"
        | ReplyCode.LruFactorTooSmall -> "ERROR hot/warm age factors must be greater than 0"
        | ReplyCode.BadReassignClass -> "BADCLASS invalid src or dst class id"
        | ReplyCode.SameSlabClass -> "SAME src and dst class are identical"
        | ReplyCode.NoSparePage -> "NOSPARE source class has no spare pages"
        | ReplyCode.BadAutomoveWindow -> "CLIENT_ERROR automove window too low or too high"
        | ReplyCode.MemoryLimitTooSmall -> "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"
        | ReplyCode.MemoryLimitNotAdjusted -> "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust"
        | ReplyCode.WatchNotAllowed -> "CLIENT_ERROR watch commands not allowed"
        | ReplyCode.CachedumpNotAllowed -> "CLIENT_ERROR stats cachedump not allowed"
        | ReplyCode.DetailNotAllowed -> "CLIENT_ERROR stats detail not allowed"
        | ReplyCode.MetadumpNotAllowed -> "ERROR metadump not allowed"
        | ReplyCode.MgdumpNotAllowed -> "ERROR key dump not allowed"
        | ReplyCode.InvalidShutdownMode -> "CLIENT_ERROR invalid shutdown mode"
        | ReplyCode.Unauthenticated -> "CLIENT_ERROR unauthenticated"
        | ReplyCode.AuthenticationFailure -> "CLIENT_ERROR authentication failure"
        | ReplyCode.BadAuthenticationFormat -> "CLIENT_ERROR bad authentication token format"
        | ReplyCode.BadTermination -> "CLIENT_ERROR bad command line termination"
        | ReplyCode.AuthenticationTooLong -> "CLIENT_ERROR auth token too long"
        | ReplyCode.TlsNotEnabled -> "Error TLS not enabled"
        | _ -> ""

    let private lines: byte[][] =
        Array.init (1 + int (Array.max (Enum.GetValues<ReplyCode>()))) (fun code ->
            match lineOf (LanguagePrimitives.EnumOfValue(byte code)) with
            | "" -> [||]
            | line -> Encoding.ASCII.GetBytes(line + "\r\n"))

    // A byte string literal is a new array each time it is evaluated.
    let private valueWord = "VALUE "B
    let private statWord = "STAT "B
    let private versionWord = "VERSION "B
    let private serverErrorWord = "SERVER_ERROR "B

    /// Room that any fixed line fits in, in bytes.
    let lineLengthMax: int = lines |> Array.map _.Length |> Array.max

    /// Room for the longest uint64 and a line end.
    [<Literal>]
    let numberLengthMax = 22

    /// Room for the longest VALUE line, without the value: the words, a key, two 32-bit numbers and a 64-bit one.
    [<Literal>]
    let valueLineLengthMax = 301

    /// The reply as it goes out, line end included. Empty for `None`, and for `Number` and `Value`, which have more to say.
    let line (reply: ReplyCode) : ReadOnlySpan<byte> = ReadOnlySpan<byte> lines[int reply]

    /// Writes a number, no line end; returns its length.
    let private writeDigits (number: uint64) (target: Span<byte>) : int =
        let mutable written = 0

        if not (number.TryFormat(target, &written)) then
            raise (ArgumentException("no room for a number", nameof target))

        written

    let private writeLineEnd (target: Span<byte>) : int =
        target[1] <- 10uy
        target[0] <- 13uy
        2

    /// Writes a number and a line end, the answer of `incr` and `decr`; returns its length, at most `numberLengthMax`.
    let writeNumber (target: Span<byte>) (number: uint64) : int =
        let length = writeDigits number target
        length + writeLineEnd (target.Slice length)

    let internal digitCount (number: uint64) : int =
        let mutable count = 1
        let mutable rest = number / 10UL

        while rest > 0UL do
            count <- count + 1
            rest <- rest / 10UL

        count

    /// Bytes of the VALUE line, the value and its line end. `hasCas` for `gets` and `gats`.
    let valueLength (keyLength: int) (flags: uint32) (valueLength: int) (cas: uint64) (hasCas: bool) : int =
        6
        + keyLength
        + 1
        + digitCount (uint64 flags)
        + 1
        + digitCount (uint64 valueLength)
        + (if hasCas then 1 + digitCount cas else 0)
        + 2
        + valueLength
        + 2

    /// Writes the VALUE line alone, for a caller that sends the value (and `\r\n` behind it) from where it lies; returns its length, at most
    /// `valueLineLengthMax`.
    let writeValueLine
        (target: Span<byte>)
        (key: ReadOnlySpan<byte>)
        (flags: uint32)
        (valueLength: int)
        (cas: uint64)
        (hasCas: bool)
        : int =
        let mutable length = 6
        ReadOnlySpan<byte>(valueWord).CopyTo target
        key.CopyTo(target.Slice length)
        length <- length + key.Length
        target[length] <- 32uy
        length <- length + 1
        length <- length + writeDigits (uint64 flags) (target.Slice length)
        target[length] <- 32uy
        length <- length + 1
        length <- length + writeDigits (uint64 valueLength) (target.Slice length)

        if hasCas then
            target[length] <- 32uy
            length <- length + 1
            length <- length + writeDigits cas (target.Slice length)

        length + writeLineEnd (target.Slice length)

    /// Writes the VALUE line, the value and its line end; returns their length, which is `valueLength`.
    let writeValue
        (target: Span<byte>)
        (key: ReadOnlySpan<byte>)
        (flags: uint32)
        (value: ReadOnlySpan<byte>)
        (cas: uint64)
        (hasCas: bool)
        : int =
        let lineLength = writeValueLine target key flags value.Length cas hasCas
        value.CopyTo(target.Slice lineLength)
        let length = lineLength + value.Length
        length + writeLineEnd (target.Slice length)

    /// `valueLength` of an entry.
    let entryLength (entry: Entry) (hasCas: bool) : int =
        valueLength entry.KeyLength entry.Flags entry.ValueLength entry.Cas hasCas

    /// `writeValue` of an entry.
    let writeEntry (target: Span<byte>) (entry: Entry) (hasCas: bool) : int =
        writeValue target entry.Key entry.Flags entry.Value entry.Cas hasCas

    /// Bytes of `STAT name value` with its line end. Names and values are ASCII.
    let statLength (name: string) (value: string) : int = 5 + name.Length + 1 + value.Length + 2

    /// Writes `STAT name value` and a line end; returns `statLength`.
    let writeStat (target: Span<byte>) (name: string) (value: string) : int =
        ReadOnlySpan<byte>(statWord).CopyTo target
        let mutable length = 5
        length <- length + Encoding.ASCII.GetBytes(name.AsSpan(), target.Slice length)
        target[length] <- 32uy
        length <- length + 1
        length <- length + Encoding.ASCII.GetBytes(value.AsSpan(), target.Slice length)
        length + writeLineEnd (target.Slice length)

    /// Bytes of `SERVER_ERROR reason` with its line end.
    let serverErrorLength (reason: string) : int = 13 + reason.Length + 2

    /// Writes `SERVER_ERROR <reason>` and a line end, for a write that the store refuses; returns `serverErrorLength`. The reason is ASCII.
    let writeServerError (target: Span<byte>) (reason: string) : int =
        ReadOnlySpan<byte>(serverErrorWord).CopyTo target
        let length = 13 + Encoding.ASCII.GetBytes(reason.AsSpan(), target.Slice 13)
        length + writeLineEnd (target.Slice length)

    /// Bytes of the answer to `version`.
    let versionLength (version: string) : int = 8 + version.Length + 2

    /// Writes `VERSION <version>` and a line end; returns `versionLength`. Clients want the version, which is ASCII, to end in `n.n.n`.
    let writeVersion (target: Span<byte>) (version: string) : int =
        ReadOnlySpan<byte>(versionWord).CopyTo target
        let length = 8 + Encoding.ASCII.GetBytes(version.AsSpan(), target.Slice 8)
        length + writeLineEnd (target.Slice length)
