namespace LsmFs.Engine

// The words of a meta command behind its key: flags, each a letter and perhaps an argument. They are read when the line is parsed, and again when the
// command is decided and answered, so that a command stays one small struct:
//
//   mg <key> <flag>*                   ms <key> <bytes> <flag>*
//
// Also the keys in base64, which are read as generously as memcached reads them.

open System
open System.Buffers.Text
open Microsoft.FSharp.NativeInterop

/// The flags of a meta command as a set.
[<Flags>]
type MetaFlags =
    | None = 0u
    /// `b`: the key is in base64.
    | Base64Key = 0x1u
    /// `c`
    | ReturnCas = 0x2u
    /// `C`: the cas unique to compare with.
    | CompareCas = 0x4u
    /// `D`
    | Delta = 0x8u
    /// `E`: the cas unique of the item after the change.
    | NewCas = 0x10u
    /// `f`
    | ReturnFlags = 0x20u
    /// `F`
    | ClientFlags = 0x40u
    /// `h`: whether the item was read before.
    | ReturnFetched = 0x80u
    /// `I`: invalidate.
    | Invalidate = 0x100u
    /// `J`
    | Initial = 0x200u
    /// `k`
    | ReturnKey = 0x400u
    /// `l`: seconds since the item was read last.
    | ReturnLastAccess = 0x800u
    /// `L`, for proxies.
    | Location = 0x1000u
    /// `M`
    | Mode = 0x2000u
    /// `N`: make the item when there is none.
    | Vivify = 0x4000u
    /// `O`: comes back with the answer.
    | Opaque = 0x8000u
    /// `P`, for proxies.
    | Path = 0x10000u
    /// `q`: no answer when all is well.
    | Quiet = 0x20000u
    /// `R`: win the token when less than this time is left.
    | Recache = 0x40000u
    /// `s`
    | ReturnSize = 0x80000u
    /// `t`
    | ReturnTtl = 0x100000u
    /// `T`: a new time to live.
    | Ttl = 0x200000u
    /// `u`: the read is none for `h` and `l`.
    | NoAccess = 0x400000u
    /// `v`
    | ReturnValue = 0x800000u
    /// `x`: remove the value and keep the item.
    | RemoveValue = 0x1000000u

/// What the flags of a meta command say.
[<Struct; NoEquality; NoComparison>]
type MetaOptions =
    val mutable Flags: MetaFlags
    /// Seconds as the client wrote them, of `N`, `R` and `T`.
    val mutable VivifyExptime: int32
    val mutable RecacheExptime: int32
    val mutable Exptime: int32
    /// The arguments of `C` and `E`.
    val mutable CompareCas: uint64
    val mutable NewCas: uint64
    val mutable Delta: uint64
    val mutable Initial: uint64
    /// The argument of `F`.
    val mutable ClientFlags: uint32
    /// The first byte of the argument of `M`; 0 there is none.
    val mutable Mode: byte

    /// Whether a flag is among them.
    member options.Has(flag: MetaFlags) : bool = options.Flags &&& flag <> MetaFlags.None

/// Keys in base64.
[<RequireQualifiedAccess>]
module MetaKey =

    [<Literal>]
    let private padding = 64

    /// Whether a command line can name the key as it is.
    let isWord (key: ReadOnlySpan<byte>) : bool = key.IndexOfAny(32uy, 10uy, 13uy) < 0

    /// The value of a character, 64 for `=`, -1 for anything else.
    let private valueOf (character: byte) : int =
        if character >= 65uy && character <= 90uy then
            int character - 65
        elif character >= 97uy && character <= 122uy then
            int character - 71
        elif character >= 48uy && character <= 57uy then
            int character + 4
        elif character = byte '+' then
            62
        elif character = byte '/' then
            63
        elif character = byte '=' then
            padding
        else
            -1

    /// Writes a key in base64; returns the length. `target` has room for it.
    let encode (key: ReadOnlySpan<byte>) (target: Span<byte>) : int =
        let mutable consumed = 0
        let mutable written = 0
        Base64.EncodeToUtf8(key, target, &consumed, &written) |> ignore
        written

    /// Decodes a key; returns its length, 0 when it is none. As in memcached, characters of other alphabets are passed over, and what follows the group with
    /// the padding is not looked at. `target` has three quarters of the text's length.
    let decode (text: ReadOnlySpan<byte>) (target: Span<byte>) : int =
        let mutable count = 0

        for character in text do
            if valueOf character >= 0 then
                count <- count + 1

        if count = 0 || count % 4 <> 0 then
            0
        else
            let mutable length = 0
            let mutable group = 0
            let mutable inGroup = 0
            let mutable paddings = 0
            let mutable index = 0

            while index < text.Length do
                let value = valueOf text[index]
                index <- index + 1

                if value >= 0 then
                    if value = padding then
                        paddings <- paddings + 1

                    group <- (group <<< 6) ||| (value &&& 63)
                    inGroup <- inGroup + 1

                    if inGroup = 4 then
                        target[length] <- byte (group >>> 16)
                        target[length + 1] <- byte (group >>> 8)
                        target[length + 2] <- byte group
                        length <- length + 3
                        group <- 0
                        inGroup <- 0

                        if paddings > 0 then
                            index <- text.Length

            if paddings > 2 then 0 else length - paddings

/// Reading the flags of meta commands.
[<RequireQualifiedAccess>]
module MetaFlags =

    /// The longest opaque, its letter included, in bytes.
    [<Literal>]
    let opaqueLengthMax = 32

    // A key of 250 characters has at most this many bytes.
    [<Literal>]
    let private decodedLengthMax = 189

    /// The words a line may have, name and key included.
    [<Literal>]
    let wordCountMax = 20

    /// The flag of a letter; None when there is no such flag.
    let ofLetter (letter: byte) : MetaFlags =
        match char letter with
        | 'b' -> MetaFlags.Base64Key
        | 'c' -> MetaFlags.ReturnCas
        | 'C' -> MetaFlags.CompareCas
        | 'D' -> MetaFlags.Delta
        | 'E' -> MetaFlags.NewCas
        | 'f' -> MetaFlags.ReturnFlags
        | 'F' -> MetaFlags.ClientFlags
        | 'h' -> MetaFlags.ReturnFetched
        | 'I' -> MetaFlags.Invalidate
        | 'J' -> MetaFlags.Initial
        | 'k' -> MetaFlags.ReturnKey
        | 'l' -> MetaFlags.ReturnLastAccess
        | 'L' -> MetaFlags.Location
        | 'M' -> MetaFlags.Mode
        | 'N' -> MetaFlags.Vivify
        | 'O' -> MetaFlags.Opaque
        | 'P' -> MetaFlags.Path
        | 'q' -> MetaFlags.Quiet
        | 'R' -> MetaFlags.Recache
        | 's' -> MetaFlags.ReturnSize
        | 't' -> MetaFlags.ReturnTtl
        | 'T' -> MetaFlags.Ttl
        | 'u' -> MetaFlags.NoAccess
        | 'v' -> MetaFlags.ReturnValue
        | 'x' -> MetaFlags.RemoveValue
        | _ -> MetaFlags.None

    /// Whether a word can be a flag at all: it begins with a digit, a letter, or one of the six bytes between upper and lower case.
    let private isFlagWord (word: ReadOnlySpan<byte>) : bool =
        let first = word[0]
        (first >= 48uy && first <= 57uy) || (first >= 65uy && first <= 122uy)

    /// Whether all words can be flags. What cannot be is an unparsable line, of which not even the length of the value is believed.
    let areWords (words: ReadOnlySpan<byte>) : bool =
        let mutable position = 0
        let mutable good = true
        let mutable more = true

        while more do
            let word = Tokens.next words &position

            if word.IsEmpty then
                more <- false
            elif not (isFlagWord word) then
                good <- false
                more <- false

        good

    /// Reads one flag's argument; what is wrong with it.
    let private readArgument
        (flag: MetaFlags)
        (argument: ReadOnlySpan<byte>)
        (key: ReadOnlySpan<byte>)
        (options: byref<MetaOptions>)
        : ReplyCode =
        let inline good (isGood: bool) (reply: ReplyCode) = if isGood then ReplyCode.None else reply

        match flag with
        | MetaFlags.Vivify -> good (Digits.tryInt32 argument &options.VivifyExptime) ReplyCode.BadToken
        | MetaFlags.Recache -> good (Digits.tryInt32 argument &options.RecacheExptime) ReplyCode.BadToken
        | MetaFlags.Ttl -> good (Digits.tryInt32 argument &options.Exptime) ReplyCode.BadToken
        | MetaFlags.CompareCas -> good (Digits.tryUInt64 argument &options.CompareCas) ReplyCode.BadToken
        | MetaFlags.NewCas -> good (Digits.tryUInt64 argument &options.NewCas) ReplyCode.BadToken
        | MetaFlags.Delta -> good (Digits.tryUInt64 argument &options.Delta) ReplyCode.BadDelta
        | MetaFlags.Initial -> good (Digits.tryUInt64 argument &options.Initial) ReplyCode.BadInitial
        | MetaFlags.ClientFlags -> good (Digits.tryUInt32 argument &options.ClientFlags) ReplyCode.BadCommandLineFormat
        | MetaFlags.Base64Key ->
            let target =
                Span<byte>(NativePtr.toVoidPtr (NativePtr.stackalloc<byte> decodedLengthMax), decodedLengthMax)

            good (MetaKey.decode key target > 0) ReplyCode.BadKeyEncoding
        | MetaFlags.Mode ->
            options.Mode <- (if argument.IsEmpty then 0uy else argument[0])
            ReplyCode.None
        | _ -> ReplyCode.None

    /// Reads the words behind the key (and the length of the value), which is at most 250 bytes long; returns what is wrong with them, None when nothing is. A flag that is unknown or comes
    /// twice ends the reading; of several bad arguments the last one is told. O(words), no allocation.
    let read (key: ReadOnlySpan<byte>) (words: ReadOnlySpan<byte>) (options: byref<MetaOptions>) : ReplyCode =
        options <- MetaOptions()
        options.Delta <- 1UL
        let mutable reply = ReplyCode.None
        let mutable isOpaqueTooLong = false
        let mutable position = 0
        let mutable more = true

        while more do
            let word = Tokens.next words &position

            if word.IsEmpty then
                more <- false
            else
                let flag = ofLetter word[0]

                if flag = MetaFlags.None then
                    reply <- ReplyCode.InvalidFlag
                    more <- false
                elif options.Has flag then
                    reply <- ReplyCode.DuplicateFlag
                    more <- false
                else
                    options.Flags <- options.Flags ||| flag
                    isOpaqueTooLong <- isOpaqueTooLong || (flag = MetaFlags.Opaque && word.Length > opaqueLengthMax)

                    match readArgument flag (word.Slice 1) key &options with
                    | ReplyCode.None -> ()
                    // memcached knows no words of its own for bad client flags, and keeps those of an error before them.
                    | ReplyCode.BadCommandLineFormat when reply <> ReplyCode.None -> ()
                    | wrong -> reply <- wrong

        if reply = ReplyCode.None && isOpaqueTooLong then
            ReplyCode.OpaqueTooLong
        else
            reply
