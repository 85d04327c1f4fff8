namespace LsmFs.Engine

// The words of a command line: splitting it at spaces, and telling names apart.

open System

/// Command names, and arguments that are words, as little-endian numbers of their first 8 bytes, so that telling them apart is comparing numbers.
[<RequireQualifiedAccess>]
module internal CommandName =

    [<Literal>]
    let Get = 0x746567UL

    [<Literal>]
    let Gets = 0x73746567UL

    [<Literal>]
    let Gat = 0x746167UL

    [<Literal>]
    let Gats = 0x73746167UL

    [<Literal>]
    let Set = 0x746573UL

    [<Literal>]
    let Add = 0x646461UL

    [<Literal>]
    let Cas = 0x736163UL

    [<Literal>]
    let Incr = 0x72636E69UL

    [<Literal>]
    let Decr = 0x72636564UL

    [<Literal>]
    let Quit = 0x74697571UL

    [<Literal>]
    let Touch = 0x6863756F74UL

    [<Literal>]
    let Stats = 0x7374617473UL

    [<Literal>]
    let Delete = 0x6574656C6564UL

    [<Literal>]
    let Append = 0x646E65707061UL

    [<Literal>]
    let Replace = 0x6563616C706572UL

    [<Literal>]
    let Prepend = 0x646E6570657270UL

    [<Literal>]
    let Version = 0x6E6F6973726576UL

    [<Literal>]
    let Shutdown = 0x6E776F6474756873UL

    /// The first 8 of the 9 bytes of `flush_all`.
    [<Literal>]
    let FlushAllHead = 0x6C615F6873756C66UL

    /// The first 8 of the 9 bytes of `verbosity`.
    [<Literal>]
    let VerbosityHead = 0x7469736F62726576UL

    [<Literal>]
    let Noreply = 0x796C7065726F6EUL

    [<Literal>]
    let On = 0x6E6FUL

    [<Literal>]
    let Off = 0x66666FUL

    [<Literal>]
    let Dump = 0x706D7564UL

    [<Literal>]
    let Settings = 0x73676E6974746573UL

    [<Literal>]
    let Items = 0x736D657469UL

    [<Literal>]
    let Slabs = 0x7362616C73UL

    [<Literal>]
    let Sizes = 0x73657A6973UL

    [<Literal>]
    let Conns = 0x736E6E6F63UL

    [<Literal>]
    let Lsm = 0x6D736CUL

    [<Literal>]
    let Extstore = 0x65726F7473747865UL

    [<Literal>]
    let Proxy = 0x79786F7270UL

    [<Literal>]
    let Detail = 0x6C6961746564UL

    [<Literal>]
    let Reset = 0x7465736572UL

    /// The first 8 of the 9 bytes of `cachedump`.
    [<Literal>]
    let CachedumpHead = 0x6D75646568636163UL

    [<Literal>]
    let All = 0x6C6C61UL

    [<Literal>]
    let Hash = 0x68736168UL

    [<Literal>]
    let Crawl = 0x6C77617263UL

    [<Literal>]
    let Metadump = 0x706D75646174656DUL

    [<Literal>]
    let Mgdump = 0x706D7564676DUL

    [<Literal>]
    let Enable = 0x656C62616E65UL

    [<Literal>]
    let Disable = 0x656C6261736964UL

    [<Literal>]
    let Sleep = 0x7065656C73UL

    [<Literal>]
    let Tocrawl = 0x6C776172636F74UL

    [<Literal>]
    let Lru = 0x75726CUL

    [<Literal>]
    let Tune = 0x656E7574UL

    [<Literal>]
    let Mode = 0x65646F6DUL

    [<Literal>]
    let Flat = 0x74616C66UL

    [<Literal>]
    let TempTtl = 0x6C74745F706D6574UL

    [<Literal>]
    let Reassign = 0x6E67697373616572UL

    [<Literal>]
    let Automove = 0x65766F6D6F747561UL

    [<Literal>]
    let Ratio = 0x6F69746172UL

    [<Literal>]
    let Window = 0x776F646E6977UL

    [<Literal>]
    let Watch = 0x6863746177UL

    /// The first 8 of the 14 bytes of `cache_memlimit`.
    [<Literal>]
    let CacheMemlimitHead = 0x656D5F6568636163UL

    /// The other 6.
    [<Literal>]
    let CacheMemlimitTail = 0x74696D696C6DUL

    /// The first 8 of the 11 bytes of `lru_crawler`.
    [<Literal>]
    let LruCrawlerHead = 0x776172635F75726CUL

    /// The first 8 of the 13 bytes of `refresh_certs`, and the others.
    [<Literal>]
    let RefreshCertsHead = 0x5F68736572666572UL

    [<Literal>]
    let RefreshCertsTail = 0x7374726563UL

    /// `HTTP/`, which begins the last word of an HTTP request.
    [<Literal>]
    let HttpVersion = 0x2F50545448UL

    /// The first 8 bytes of a name as a little-endian number.
    let pack (name: ReadOnlySpan<byte>) : uint64 =
        let mutable packed = 0UL

        for index = min name.Length 8 - 1 downto 0 do
            packed <- (packed <<< 8) ||| uint64 name[index]

        packed

    /// `pack` of a name that no other name of up to 8 bytes shares: 0 for a longer one, and for one that ends in a zero byte.
    let packWhole (name: ReadOnlySpan<byte>) : uint64 =
        if name.Length > 8 || (name.Length > 0 && name[name.Length - 1] = 0uy) then
            0UL
        else
            pack name

    /// Whether the name is `lru_crawler`.
    let isLruCrawler (name: ReadOnlySpan<byte>) : bool =
        name.Length = 11
        && pack name = LruCrawlerHead
        && name[8] = byte 'l'
        && name[9] = byte 'e'
        && name[10] = byte 'r'

    /// Whether the name is `cache_memlimit`.
    let isCacheMemlimit (name: ReadOnlySpan<byte>) : bool =
        name.Length = 14 && pack name = CacheMemlimitHead && pack (name.Slice 8) = CacheMemlimitTail

    /// Whether the name is `refresh_certs`.
    let isRefreshCerts (name: ReadOnlySpan<byte>) : bool =
        name.Length = 13 && pack name = RefreshCertsHead && pack (name.Slice 8) = RefreshCertsTail

    /// Whether the name is `cachedump`.
    let isCachedump (name: ReadOnlySpan<byte>) : bool =
        name.Length = 9 && pack name = CachedumpHead && name[8] = byte 'p'

/// The words of a line.
[<RequireQualifiedAccess>]
module internal Tokens =

    [<Literal>]
    let private space = 32uy

    /// Tokens of a line that are looked at; memcached ignores what follows, `noreply` included.
    [<Literal>]
    let countMax = 23

    /// Takes the next token off a line; empty when there is none left. `position` starts at 0.
    let next (line: ReadOnlySpan<byte>) (position: byref<int>) : ReadOnlySpan<byte> =
        let mutable start = position

        while start < line.Length && line[start] = space do
            start <- start + 1

        let rest = line.Slice start

        let length =
            match rest.IndexOf space with
            | -1 -> rest.Length
            | found -> found

        position <- start + length
        rest.Slice(0, length)

    /// Start and end of each token of the line, one after the other in `tokens`; returns how many there are, at most `countMax`.
    let split (line: ReadOnlySpan<byte>) (tokens: Span<int>) : int =
        let mutable position = 0
        let mutable count = 0
        let mutable more = true

        while more && count < countMax do
            let length = (next line &position).Length

            if length = 0 then
                more <- false
            else
                tokens[2 * count] <- position - length
                tokens[2 * count + 1] <- position
                count <- count + 1

        count

    /// The token with this number.
    let inline item (line: ReadOnlySpan<byte>) (tokens: Span<int>) (index: int) : ReadOnlySpan<byte> =
        line.Slice(tokens[2 * index], tokens[2 * index + 1] - tokens[2 * index])

    /// Its length.
    let inline length (tokens: Span<int>) (index: int) : int = tokens[2 * index + 1] - tokens[2 * index]

    /// Whether the token is the word `noreply`.
    let isNoreply (token: ReadOnlySpan<byte>) : bool = token.Length = 7 && CommandName.pack token = CommandName.Noreply

    /// Whether the last token is `noreply`, and not one of the first `required`.
    let endInNoreply (line: ReadOnlySpan<byte>) (tokens: Span<int>) (count: int) (required: int) : bool =
        count > required && isNoreply (item line tokens (count - 1))
