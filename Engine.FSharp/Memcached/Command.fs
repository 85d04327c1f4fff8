namespace LsmFs.Engine

// What passes between the protocol and its surroundings, as data: commands, replies and the counters a command moves.
// Offsets count from the start of the span that was given to the parser; nothing here owns bytes.

open System

/// The commands of memcached's classic text protocol, as far as a store takes part in them.
type Verb =
    | None = 0uy
    | Get = 1uy
    /// `get` with the cas unique in the reply.
    | Gets = 2uy
    /// `get` that also sets the expiry.
    | Gat = 3uy
    /// `gat` with the cas unique in the reply.
    | Gats = 4uy
    | Set = 5uy
    | Add = 6uy
    | Replace = 7uy
    | Append = 8uy
    | Prepend = 9uy
    | Cas = 10uy
    /// A `set` whose value is too large: it only removes the old value. The parser drops the bytes of the new one.
    | SetTooLarge = 11uy
    | Delete = 12uy
    | Incr = 13uy
    | Decr = 14uy
    | Touch = 15uy
    | FlushAll = 16uy
    | Version = 17uy
    | Verbosity = 18uy
    | Stats = 19uy
    | Quit = 20uy
    | LruCrawler = 21uy
    /// `mg`
    | MetaGet = 22uy
    /// `ms`, in all its modes.
    | MetaSet = 23uy
    /// `md`
    | MetaDelete = 24uy
    /// `ma`
    | MetaArithmetic = 25uy
    /// `me`
    | MetaDebug = 26uy
    | CacheMemlimit = 40uy
    /// A `flush_all` on a server that was told to refuse it: it only counts.
    | FlushRefused = 41uy
    /// `shutdown`; `Number` is 0 when the line asks for a mode that does not exist.
    | Shutdown = 45uy
    /// The server's certificates are to be read again.
    | RefreshCerts = 60uy
    /// Answered, and nothing else: what follows the answers to the quiet commands before it. Only in the binary protocol.
    | Noop = 50uy

/// How a command was written, and so how it is answered.
type Dialect =
    /// The classic text protocol.
    | Text = 0uy
    /// A meta command of the text protocol. `KeyOffset` and `KeysLength` span the key and all flags, which replies read again.
    | Meta = 1uy
    /// The binary protocol. The command's input begins with the 24 bytes of its header, from which replies take opcode and opaque.
    | Binary = 2uy

/// One parsed command. Which fields mean something depends on the verb; the others are zero.
[<Struct; NoComparison>]
type Command = {
    Verb: Verb
    Dialect: Dialect
    /// The client wants no reply, be it good or bad.
    NoReply: bool
    /// The key; the first one of a retrieval; the first argument of `stats` and `lru_crawler`. Length 0: there is none.
    KeyOffset: int
    KeyLength: int
    /// Bytes from `KeyOffset` that hold all keys of a retrieval, or all arguments of `stats` and `lru_crawler`: `Parser.nextKey` walks them.
    KeysLength: int
    /// The client's flags. Of a meta command: its `MetaFlags`.
    Flags: uint32
    /// Seconds as the client wrote them: `Execute.expirySeconds` gives them their meaning. Also the delay of `flush_all`.
    Exptime: int32
    /// The cas unique of `cas` and of the `C` of a meta command, the delta of `incr` and `decr`, the level of `verbosity`, the MiB of `cache_memlimit`.
    Number: uint64
    /// The value of a storage command; the initial number of a binary `incr` or `decr`.
    ValueOffset: int
    ValueLength: int
}

/// Commands as parsers begin them: the fields that are not given are zero.
[<RequireQualifiedAccess>]
module internal Command =

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

/// Every answer that is a fixed line, and those whose line the host completes (`Number`, `Value`, `Version`, `Stats`).
type ReplyCode =
    /// No answer at all: `noreply`, a miss inside a retrieval, bytes that were dropped.
    | None = 0uy
    | Stored = 1uy
    | NotStored = 2uy
    | Exists = 3uy
    | NotFound = 4uy
    | Deleted = 5uy
    | Touched = 6uy
    | Ok = 7uy
    | End = 8uy
    | Reset = 9uy
    /// The new value of `incr` and `decr`: `Change.Number` and a line end.
    | Number = 10uy
    /// A `VALUE` line and the value.
    | Value = 11uy
    | Error = 12uy
    | BadCommandLineFormat = 13uy
    | BadDeleteFormat = 14uy
    | BadDataChunk = 15uy
    | NonNumericValue = 16uy
    | InvalidDelta = 17uy
    | InvalidExptime = 18uy
    | ObjectTooLarge = 19uy
    | ShutdownNotEnabled = 20uy
    /// `flush_all` on a server that was told to refuse it.
    | FlushAllNotAllowed = 21uy
    /// A connection beyond the limit, before it is closed.
    | TooManyConnections = 22uy
    /// `stats detail` without a word it knows.
    | BadDetailFormat = 23uy
    /// `stats cachedump` with too few words.
    | BadCommandLine = 24uy
    | IllegalSlabClass = 25uy
    /// One list of keys more than may be under way.
    | CrawlerBusy = 26uy
    /// `lru_crawler` with a slab class that there cannot be.
    | BadSlabClass = 27uy
    /// `lru_crawler disable` came before.
    | CrawlerDisabled = 28uy
    /// `lru_crawler enable` when it is enabled.
    | CrawlerNotStarted = 29uy
    | CrawlerFailed = 30uy
    /// `lru_crawler sleep` for more than a second.
    | SleepTooLong = 31uy
    /// Ends a list of meta commands; also a miss of `mg` and `me`.
    | MetaEnd = 32uy
    /// `mn`
    | MetaNoop = 33uy
    /// A meta command with a flag that is none.
    | InvalidFlag = 34uy
    | DuplicateFlag = 35uy
    /// What `ma` says of both, and of flags with a bad argument.
    | InvalidOrDuplicateFlag = 36uy
    | TooManyFlags = 37uy
    /// A flag with a bad number.
    | BadToken = 38uy
    | BadDelta = 39uy
    | BadInitial = 40uy
    | BadKeyEncoding = 41uy
    | OpaqueTooLong = 42uy
    | InvalidSetMode = 43uy
    | InvalidArithmeticMode = 44uy
    /// `lru tune` with more than can be given away.
    | LruPercentTooLarge = 64uy
    | LruFactorTooSmall = 65uy
    /// `slabs reassign` with a slab class that there cannot be.
    | BadReassignClass = 66uy
    | SameSlabClass = 67uy
    | NoSparePage = 68uy
    | BadAutomoveWindow = 69uy
    | MemoryLimitTooSmall = 70uy
    | MemoryLimitNotAdjusted = 71uy
    | WatchNotAllowed = 72uy
    /// `stats cachedump` on a server that was told to list no keys; and so on.
    | CachedumpNotAllowed = 73uy
    | DetailNotAllowed = 74uy
    | MetadumpNotAllowed = 75uy
    | MgdumpNotAllowed = 76uy
    | InvalidShutdownMode = 77uy
    /// A command of a client that must authenticate first.
    | Unauthenticated = 96uy
    /// The user is unknown, or has another password.
    | AuthenticationFailure = 97uy
    /// The data of an authentication has no space between user and password.
    | BadAuthenticationFormat = 98uy
    /// The data of an authentication does not end where it was announced to.
    | BadTermination = 99uy
    | AuthenticationTooLong = 100uy
    /// `refresh_certs` on a server without TLS.
    | TlsNotEnabled = 101uy

/// The counters of `stats` that one command adds one to. `Counter.names` says what they are called there.
[<Flags>]
type Counters =
    | None = 0u
    | CmdGet = 0x1u
    | CmdSet = 0x2u
    | CmdFlush = 0x4u
    | CmdTouch = 0x8u
    | GetHits = 0x10u
    | GetMisses = 0x20u
    | DeleteHits = 0x40u
    | DeleteMisses = 0x80u
    | IncrHits = 0x100u
    | IncrMisses = 0x200u
    | DecrHits = 0x400u
    | DecrMisses = 0x800u
    | CasHits = 0x1000u
    | CasMisses = 0x2000u
    | CasBadval = 0x4000u
    | TouchHits = 0x8000u
    | TouchMisses = 0x10000u
    | StoreTooLarge = 0x20000u
    | AuthCmds = 0x40000u
    | AuthErrors = 0x80000u
    | CmdMeta = 0x100000u

/// The counters by name.
[<RequireQualifiedAccess>]
module Counter =

    /// The name of every counter in `stats`; the position is the number of its bit in `Counters`.
    let names: string[] = [|
        "cmd_get"
        "cmd_set"
        "cmd_flush"
        "cmd_touch"
        "get_hits"
        "get_misses"
        "delete_hits"
        "delete_misses"
        "incr_hits"
        "incr_misses"
        "decr_hits"
        "decr_misses"
        "cas_hits"
        "cas_misses"
        "cas_badval"
        "touch_hits"
        "touch_misses"
        "store_too_large"
        "auth_cmds"
        "auth_errors"
        "cmd_meta"
    |]

/// What an operator forbade. memcached's flags `-F` and `-X`.
[<Struct>]
type Restrictions = {
    /// `flush_all` is refused.
    NoFlush: bool
    /// Whatever lists keys is refused: `stats cachedump`, `stats detail`, `lru_crawler metadump` and `mgdump`.
    NoDump: bool
}

/// The protocol's fixed limits, in bytes.
[<RequireQualifiedAccess>]
module ProtocolLimits =

    /// The longest key.
    [<Literal>]
    let keyLengthMax = 250

    /// The longest command line, its end not counted; a longer one closes the connection.
    [<Literal>]
    let lineLengthMax = 2048

    /// The longest line of `get` and `gets`, which may hold any number of keys.
    [<Literal>]
    let retrievalLineLengthMax = 8388608

    /// The largest value unless the operator says otherwise.
    [<Literal>]
    let valueLengthMaxDefault = 1048576

    /// Bytes of scratch memory that `Execute.decide` asks for: the digits of the largest number.
    [<Literal>]
    let scratchLength = 20

    /// Bytes of scratch memory that `Answer.key` asks for.
    [<Literal>]
    let keyScratchLength = 256
