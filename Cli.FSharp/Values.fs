namespace LsmFs.Cli

open System
open System.Globalization
open System.IO
open System.Net
open LsmFs.Engine

/// The values behind the flags: text -> value, or the one line that says what would have been accepted.
[<RequireQualifiedAccess>]
module Values =

    let private kibibyte = 1024L
    let private mebibyte = 1024L * 1024L

    /// Connections when `-c` is not given.
    let connectionCountDefault = 1024

    /// The most event loops that `-t` takes.
    let threadCountMax = 1024

    /// Memory when `-m` is not given.
    let memoryBudgetBytesDefault = 64L * mebibyte

    /// The largest value when `-I` is not given.
    let valueSizeBytesDefault = 1 <<< 20

    /// The port when neither `-p` nor `-l` names one.
    let portDefault = 11211

    /// The address when `-l` is not given.
    let hostDefault = "127.0.0.1"

    /// The mode of a unix domain socket when `-a` is not given.
    let unixModeDefault = UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.UserExecute

    /// Connections that wait to be accepted when `-b` is not given.
    let backlogCountDefault = 1024

    /// A connection's share of a turn when `-R` is not given.
    let requestCountDefault = 2048

    /// The folder when `--data` is not given.
    let dataFolderDefault = "./data"

    // Digits only: no sign, no space, no separator, so that "1 0", "+5" or "0x10" is junk here as anywhere.
    let private tryNumber (text: string) : int64 voption =
        match Int64.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture) with
        | true, number -> ValueSome number
        | _ -> ValueNone

    let private within (least: int64) (most: int64) (number: int64 voption) : int64 option =
        match number with
        | ValueSome number when number >= least && number <= most -> Some number
        | _ -> None

    // Formatting costs more than all the parsing of a good command line, and start-up counts: only a refusal formats.
    let private orRefuse (flag: string) (accepted: unit -> string) (text: string) (value: 'value option) =
        match value with
        | Some value -> Ok value
        | None -> Error $"{flag} takes {accepted ()}, not '{text}'"

    /// A number that is only checked: what it says has no meaning here.
    let checkNumber (flag: string) (least: int64) (most: int64) (text: string) : Result<unit, string> =
        tryNumber text
        |> within least most
        |> Option.map ignore
        |> orRefuse flag (fun () -> $"a number from {least} to {most}") text

    /// A number with or without a fraction, above `floor`, that is only checked.
    let checkFactor (flag: string) (floor: float) (text: string) : Result<unit, string> =
        match Double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture) with
        | true, factor when factor > floor -> Some()
        | _ -> None
        |> orRefuse flag (fun () -> $"a number above {floor}") text

    /// One of a few words, that is only checked.
    let checkWord (flag: string) (words: string list) (text: string) : Result<unit, string> =
        (if List.contains text words then Some() else None)
        |> orRefuse flag (fun () -> String.Join(" or ", words)) text

    /// The value of `-U`, which is only checked.
    let checkUdpPort (text: string) : Result<unit, string> =
        if text = "-1" then
            Ok()
        else
            checkNumber "-U" 0L 65535L text

    /// The value of `-p`. 0 and memcached's -1 take any free port.
    let parsePort (text: string) : Result<int, string> =
        (if text = "-1" then ValueSome 0L else tryNumber text)
        |> within 0L 65535L
        |> Option.map int
        |> orRefuse "-p" (fun () -> "a TCP port from 1 to 65535, or 0 for any free one") text

    /// The value of `-c`.
    let parseConnectionCount (text: string) : Result<int, string> =
        tryNumber text
        |> within 1L (int64 Int32.MaxValue)
        |> Option.map int
        |> orRefuse "-c" (fun () -> "a number of connections of at least 1") text

    /// The value of `-a`: the nine bits of a file's mode, in octal.
    let parseUnixMode (text: string) : Result<UnixFileMode, string> =
        (if
             text.Length >= 1
             && text.Length <= 4
             && text |> Seq.forall (fun digit -> digit >= '0' && digit <= '7')
         then
             ValueSome(int64 (Convert.ToInt32(text, 8)))
         else
             ValueNone)
        |> within 0L 0o777L
        |> Option.map (fun mode -> enum<UnixFileMode>(int mode))
        |> orRefuse "-a" (fun () -> "the octal mode of a file, such as 700 or 0770") text

    /// The value of `-b`.
    let parseBacklog (text: string) : Result<int, string> =
        tryNumber text
        |> within 0L (int64 Int32.MaxValue)
        |> Option.map int
        |> orRefuse "-b" (fun () -> "a number of connections") text

    /// The value of `-R`.
    let parseRequestCount (text: string) : Result<int, string> =
        tryNumber text
        |> within 1L (int64 Int32.MaxValue)
        |> Option.map int
        |> orRefuse "-R" (fun () -> "a number of requests of at least 1") text

    /// The value of `-o idle_timeout`.
    let parseIdleTimeout (text: string) : Result<int, string> =
        tryNumber text
        |> within 0L (int64 Int32.MaxValue)
        |> Option.map int
        |> orRefuse "-o idle_timeout" (fun () -> "a number of seconds, or 0 for never") text

    /// The value of `-o ssl_wbuf_size` when it is not given, in bytes.
    let tlsWriteBufferBytesDefault = 16384

    /// The value of `-o ssl_wbuf_size`, in KiB, as bytes.
    let parseTlsWriteBuffer (text: string) : Result<int, string> =
        tryNumber text
        |> within 1L 16384L
        |> Option.map (fun kibibytes -> int (kibibytes * kibibyte))
        |> orRefuse "-o ssl_wbuf_size" (fun () -> "a number of KiB from 1 to 16384") text

    /// The value of `-t`.
    let parseThreadCount (text: string) : Result<int, string> =
        tryNumber text
        |> within 1L (int64 threadCountMax)
        |> Option.map int
        |> orRefuse "-t" (fun () -> $"a number of threads from 1 to {threadCountMax}") text

    /// The value of `-m`, in MiB, as bytes.
    let parseMemoryBudget (text: string) : Result<int64, string> =
        let least = Options.memoryBudgetBytesMin / mebibyte

        tryNumber text
        |> within least (int64 Int32.MaxValue)
        |> Option.map (fun mebibytes -> mebibytes * mebibyte)
        |> orRefuse "-m" (fun () -> $"a number of MiB of at least {least}") text

    /// The value of `serve`'s `-m`, in MiB, as bytes: a start script for memcached may ask for less than there is a use for.
    let parseMemoryLimit (text: string) : Result<int64, string> =
        match tryNumber text with
        | ValueSome number when number >= 1L && number * mebibyte < Options.memoryBudgetBytesMin ->
            Ok(number * mebibyte)
        | _ -> parseMemoryBudget text

    /// The value of `-I`: bytes, or with a suffix k or m KiB or MiB.
    let parseValueSize (text: string) : Result<int, string> =
        let digits, unit =
            if text.EndsWith('k') || text.EndsWith('K') then
                text[.. text.Length - 2], kibibyte
            elif text.EndsWith('m') || text.EndsWith('M') then
                text[.. text.Length - 2], mebibyte
            else
                text, 1L

        match tryNumber digits with
        // The bound before the product, which could overflow.
        | ValueSome number when number <= 1024L * mebibyte -> ValueSome(number * unit)
        | _ -> ValueNone
        |> within kibibyte (1024L * mebibyte)
        |> Option.map int
        |> orRefuse "-I" (fun () -> "a size from 1k to 1024m, such as 512k or 4m") text

    /// The value of `-B`.
    let parseProtocol (text: string) : Result<BindingProtocol, string> =
        match text with
        | "auto" -> Some BindingProtocol.Negotiating
        | "ascii" -> Some BindingProtocol.Ascii
        | "binary" -> Some BindingProtocol.Binary
        | _ -> None
        |> orRefuse "-B" (fun () -> "auto, ascii or binary") text

    /// The value of `--durability`.
    let parseDurability (text: string) : Result<Durability, string> =
        match text with
        | "sync" -> Some Durability.Sync
        | "os" -> Some Durability.Os
        | "memory" -> Some Durability.Memory
        | _ -> None
        |> orRefuse "--durability" (fun () -> "sync, os or memory") text

    /// The value of `--compression`.
    let parseCompression (text: string) : Result<Compression, string> =
        match text with
        | "none" -> Some Compression.None
        | "lz4" -> Some Compression.Lz4
        | "zstd" -> Some Compression.Zstd
        | _ -> None
        |> orRefuse "--compression" (fun () -> "none, lz4 or zstd") text

    /// The value of a flag that names a folder.
    let parseFolder (flag: string) (text: string) : Result<string, string> =
        (if String.IsNullOrWhiteSpace text then None else Some text)
        |> orRefuse flag (fun () -> "the path of a folder") text

    /// The value of `-u`.
    let parseUser (text: string) : Result<string, string> =
        (if String.IsNullOrWhiteSpace text then None else Some text)
        |> orRefuse "-u" (fun () -> "the name of a user") text

    /// The value of `--data`.
    let parseDataFolder: string -> Result<string, string> = parseFolder "--data"

    /// The value of a flag that names a file.
    let parseFile (flag: string) (text: string) : Result<string, string> =
        (if String.IsNullOrWhiteSpace text then None else Some text)
        |> orRefuse flag (fun () -> "the path of a file") text

    // A name of digits and dots is an IPv4 address or a mistake, such as a port in the wrong place.
    let private isHost (host: string) : bool =
        let isAddress, address = IPAddress.TryParse host

        if host = "*" then
            true
        elif host.Contains ':' then
            isAddress
        elif host |> Seq.forall (fun character -> Char.IsAsciiDigit character || character = '.') then
            isAddress && host = string address
        else
            Uri.CheckHostName host = UriHostNameType.Dns

    let private tryAddress (port: int) (text: string) : ListenAddress option =
        let at (host: string) (port: int) =
            if isHost host then
                Some(ListenAddress.At(host, port))
            else
                None

        let atPort (host: string) (portText: string) =
            match parsePort portText with
            | Ok port -> at host port
            | Error _ -> None

        let bracket = text.IndexOf ']'
        let colon = text.IndexOf ':'

        if text.StartsWith '[' && bracket > colon && colon > 0 then
            match text[1 .. bracket - 1], text[bracket + 1 ..] with
            | host, "" -> at host port
            | host, rest when rest[0] = ':' -> atPort host rest[1..]
            | _ -> None
        elif colon >= 0 && text.LastIndexOf ':' = colon then
            atPort text[.. colon - 1] text[colon + 1 ..]
        else
            at text port

    /// The longest name that memcached's `tag[...]:` takes.
    let private tagLengthMax = 8

    // `word[value]:` or `word_value_:` at the start of an address: the value and what follows, or no value when it is something else.
    let private tryMark (word: string) (text: string) : struct (string voption * string) =
        let isMarked =
            text.StartsWith(word, StringComparison.Ordinal)
            && text.Length > word.Length
            && (text[word.Length] = '[' || text[word.Length] = '_')

        if not isMarked then
            ValueNone, text
        else
            let start = word.Length + 1
            let closing = if text[word.Length] = '[' then "]:" else "_:"

            match text.IndexOf(closing, start, StringComparison.Ordinal) with
            | -1 -> ValueNone, text
            | finish -> ValueSome text[start .. finish - 1], text[finish + closing.Length ..]

    let private tlsPrefixes = [ "notls:", ListenTls.Off; "btls:", ListenTls.Basic; "mtls:", ListenTls.Mutual ]

    /// One address of `-l`: host, host:port, [IPv6], [IPv6]:port, or IPv6 without a port, behind memcached's prefixes `notls:`, `btls:` or
    /// `mtls:`, `proto[...]:` and `tag[...]:`, in this order. `port` is for those without one.
    let parseAddress (port: int) (text: string) : Result<ListenAddress, string> =
        let tls, marked =
            tlsPrefixes
            |> List.tryFind (fun (prefix, _) -> text.StartsWith(prefix, StringComparison.Ordinal))
            |> Option.map (fun (prefix, tls) -> tls, text[prefix.Length ..])
            |> Option.defaultValue (ListenTls.Default, text)

        let struct (protocol, tagged) = tryMark "proto" marked
        let struct (tag, plain) = tryMark "tag" tagged

        let protocol =
            match protocol with
            | ValueNone -> Ok ValueNone
            | ValueSome "ascii" -> Ok(ValueSome BindingProtocol.Ascii)
            | ValueSome "binary" -> Ok(ValueSome BindingProtocol.Binary)
            | ValueSome "negotiating"
            | ValueSome "auto" -> Ok(ValueSome BindingProtocol.Negotiating)
            | ValueSome other -> Error $"proto[...] of -l takes ascii, binary or negotiating, not '{other}'"

        let tag =
            match tag with
            | ValueNone -> Ok ""
            | ValueSome name when name.Length >= 1 && name.Length <= tagLengthMax -> Ok name
            | ValueSome name -> Error $"tag[...] of -l takes a name of 1 to {tagLengthMax} characters, not '{name}'"

        match protocol, tag with
        | Error refusal, _
        | _, Error refusal -> Error refusal
        | Ok protocol, Ok tag ->
            tryAddress port plain
            |> orRefuse "-l" (fun () -> "addresses such as 127.0.0.1, localhost:11212, [::1]:11211 or *") text
            |> Result.map (fun address -> { address with Protocol = protocol; Tag = tag; Tls = tls })

    /// The value of `--server`: one address of a server, which is a place to connect to.
    let parseServer (port: int) (text: string) : Result<ListenAddress, string> =
        tryAddress port text
        |> Option.filter (fun address -> address.Host <> "*" && address.Port > 0)
        |> orRefuse "--server" (fun () -> "an address such as 127.0.0.1:11211, localhost or [::1]:11212") text

    /// Every value of `-l`, each a list with commas (or semicolons, as memcached takes them); `port` is for those without one.
    let parseAddresses (port: int) (texts: string list) : Result<ListenAddress list, string> =
        let rec parseAll parsed rest =
            match rest with
            | [] -> Ok(List.rev parsed)
            | text :: rest ->
                match parseAddress port text with
                | Ok address -> parseAll (address :: parsed) rest
                | Error refusal -> Error refusal

        match texts |> List.collect (fun text -> List.ofArray (text.Split([| ','; ';' |]))) with
        | [] -> Ok [ ListenAddress.At(hostDefault, port) ]
        | addresses -> parseAll [] addresses
