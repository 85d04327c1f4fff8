namespace LsmFs.Engine

// The lines of `lru_crawler metadump` and `mgdump`, and of `stats cachedump`, one for each item:
//
//   key=<key> exp=<time> la=<time> cas=<cas unique> fetch=yes|no cls=1 size=<bytes> flags=<flags> \n
//   mg <key>\r\n
//   mg <key in base64> b\r\n          a key that cannot be a word of a command line
//   ITEM <key> [<bytes> b; <time> s]\r\n
//
// metadump: the key with every byte but letters, digits and `-._~` as `%` and two hexadecimal digits (percent-encoding, RFC 3986); exp is the Unix time in
// seconds at which the item expires, -1 never; la is that of the last access, and fetch whether there was any since the item was written (`Recency`). size counts
// the bytes of the encoded entry: header, key and value. A line ends with a space and \n alone, as memcached's does.
//
// cachedump: bytes of the value, and the Unix time in seconds at which the item expires, 0 never. The list is cut at 2 MiB, as memcached cuts it. A key that
// cannot be a word of a command line is left out: nothing in the line could say where it ends.

open System
open System.Buffers.Text
open System.Globalization

/// How the items of a list are written.
type KeyListFormat =
    | Metadump = 0uy
    | Mgdump = 1uy
    | Cachedump = 2uy

/// A list of keys that a client asked for.
[<Struct>]
type KeyList = {
    Format: KeyListFormat
    ItemCountMax: int64
    /// Bytes of all lines before the last.
    LengthMax: int64
    /// The last line.
    Finish: ReplyCode
}

/// How much of a list was written.
[<Struct; NoEquality; NoComparison>]
type KeyListProgress =
    val mutable ItemCount: int64
    val mutable LengthBytes: int64

/// Writing the lists of keys.
[<RequireQualifiedAccess>]
module KeyListing =

    // A byte string literal is a new array each time it is evaluated.
    let private hexDigits = "0123456789ABCDEF"B
    let private keyWord = "key="B
    let private expWord = " exp="B
    let private accessWord = " la="B
    let private casWord = " cas="B
    let private fetchedWord = " fetch=yes cls=1 size="B
    let private notFetchedWord = " fetch=no cls=1 size="B
    let private flagsWord = " flags="B
    let private metadumpEnd = " \n"B
    let private mgWord = "mg "B
    let private binaryEnd = " b\r\n"B
    let private lineEnd = "\r\n"B
    let private itemWord = "ITEM "B
    let private bytesWord = " ["B
    let private secondsWord = " b; "B
    let private itemEnd = " s]\r\n"B

    [<Literal>]
    let private numberLengthMax = 20

    let inline private word (buffer: ByteBuffer) (bytes: byte[]) = buffer.Append(ReadOnlySpan<byte> bytes)

    let private number (buffer: ByteBuffer) (value: uint64) : unit =
        let mutable written = 0
        let text = buffer.Reserve numberLengthMax
        value.TryFormat(text, &written, ReadOnlySpan<char>.Empty, CultureInfo.InvariantCulture) |> ignore
        buffer.Truncate(buffer.Length - numberLengthMax + written)

    let private isUnreserved (value: byte) : bool =
        Char.IsAsciiLetterOrDigit(char value)
        || value = byte '-'
        || value = byte '.'
        || value = byte '_'
        || value = byte '~'

    let private percentEncoded (buffer: ByteBuffer) (key: ReadOnlySpan<byte>) : unit =
        for value in key do
            if isUnreserved value then
                buffer.AppendU8 value
            else
                let encoded = buffer.Reserve 3
                encoded[0] <- byte '%'
                encoded[1] <- hexDigits[int value >>> 4]
                encoded[2] <- hexDigits[int value &&& 15]

    let private base64 (buffer: ByteBuffer) (key: ReadOnlySpan<byte>) : unit =
        MetaKey.encode key (buffer.Reserve(Base64.GetMaxEncodedToUtf8Length key.Length)) |> ignore

    /// Appends the line of an item in a `metadump`. O(key), no allocation beside the buffer's.
    let appendMetadump (buffer: ByteBuffer) (entry: Entry) (access: Access) : unit =
        word buffer keyWord
        percentEncoded buffer entry.Key
        word buffer expWord

        if entry.ExpirySeconds = 0u then
            buffer.AppendU8(byte '-')
            buffer.AppendU8(byte '1')
        else
            number buffer (uint64 entry.ExpirySeconds)

        word buffer accessWord
        number buffer (uint64 access.LastSeconds)
        word buffer casWord
        number buffer entry.Cas
        word buffer (if access.IsFetched then fetchedWord else notFetchedWord)
        number buffer (uint64 entry.Length)
        word buffer flagsWord
        number buffer (uint64 entry.Flags)
        word buffer metadumpEnd

    /// Appends the line of an item in an `mgdump`: the meta command that gets it. O(key), no allocation beside the buffer's.
    let appendMgdump (buffer: ByteBuffer) (entry: Entry) : unit =
        word buffer mgWord

        if entry.Marks &&& EntryMarks.BinaryKey = EntryMarks.None && MetaKey.isWord entry.Key then
            buffer.Append entry.Key
            word buffer lineEnd
        else
            base64 buffer entry.Key
            word buffer binaryEnd

    /// Bytes of all lines of a `cachedump` and its end, at most.
    [<Literal>]
    let cachedumpLengthMax = 2097152

    /// Appends the line of an item in a `cachedump`; false, and nothing appended, when it has no line. O(key), no allocation beside the buffer's.
    let tryAppendCachedump (buffer: ByteBuffer) (entry: Entry) : bool =
        if MetaKey.isWord entry.Key then
            word buffer itemWord
            buffer.Append entry.Key
            word buffer bytesWord
            number buffer (uint64 entry.ValueLength)
            word buffer secondsWord
            number buffer (uint64 entry.ExpirySeconds)
            word buffer itemEnd
            true
        else
            false

    /// The list that an `lru_crawler` line asks for: `CrawlerAction.Metadump` or `Mgdump`.
    let ofCrawler (request: CrawlerRequest) : KeyList = {
        Format =
            (if request.Action = CrawlerAction.Metadump then
                 KeyListFormat.Metadump
             else
                 KeyListFormat.Mgdump)
        ItemCountMax = Int64.MaxValue
        LengthMax = Int64.MaxValue
        Finish = request.Reply
    }

    /// The list that a `stats cachedump` line asks for: `StatsTopic.Cachedump`.
    let ofStats (request: StatsRequest) : KeyList = {
        Format = KeyListFormat.Cachedump
        ItemCountMax = int64 request.ItemCountMax
        LengthMax = int64 (cachedumpLengthMax - (Reply.line request.Reply).Length)
        Finish = request.Reply
    }

    /// Appends the line of the next item of a list, of which `progress` says how much was written before; false, and nothing appended, when the list
    /// takes no more. `access` is the item's last.
    let tryAppend
        (list: KeyList)
        (buffer: ByteBuffer)
        (entry: Entry)
        (access: Access)
        (progress: byref<KeyListProgress>)
        : bool =
        if progress.ItemCount >= list.ItemCountMax then
            false
        else
            let start = buffer.Length

            let hasLine =
                match list.Format with
                | KeyListFormat.Metadump ->
                    appendMetadump buffer entry access
                    true
                | KeyListFormat.Mgdump ->
                    appendMgdump buffer entry
                    true
                | _ -> tryAppendCachedump buffer entry

            let length = progress.LengthBytes + int64 (buffer.Length - start)

            if length > list.LengthMax then
                buffer.Truncate start
                false
            else
                progress.LengthBytes <- length
                progress.ItemCount <- progress.ItemCount + (if hasLine then 1L else 0L)
                true
