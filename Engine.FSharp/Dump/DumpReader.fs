namespace LsmFs.Engine

open System
open System.Buffers
open System.Buffers.Text

/// What a line of a dump was.
type DumpLine =
    /// The first or the last line.
    | Frame = 0
    /// An item, which the reader holds until the next line.
    | Item = 1

/// Reads a dump, line by line. Mutable, one owner.
[<Sealed>]
type DumpReader() =
    let key = ByteBuffer 256
    let value = ByteBuffer 4096
    let mutable flags = 0u
    let mutable expirySeconds = 0u
    let mutable lineCount = 0L
    let mutable itemCount = 0L
    let mutable isEnded = false

    let refuse (reason: string) : Result<DumpLine, string> = Error $"line {lineCount}: {reason}"

    /// Whether the text of a value is that of `length` bytes, which are then in `value`.
    let tryReadValue (text: ReadOnlySpan<byte>) (length: uint32) : bool =
        value.Clear()

        // Held against the text before memory is taken for it.
        if length > uint32 text.Length || text.Length <> Base64.GetMaxEncodedToUtf8Length(int length) then
            false
        else
            let mutable consumed = 0
            let mutable written = 0
            let room = Base64.GetMaxDecodedFromUtf8Length text.Length
            let status = Base64.DecodeFromUtf8(text, value.Reserve room, &consumed, &written)
            value.Truncate written
            status = OperationStatus.Done && written = int length

    let readItem (line: ReadOnlySpan<byte>) : Result<DumpLine, string> =
        let mutable rest = line
        let mutable fieldCount = 0
        let mutable valueLength = 0u
        let mutable fault = ""

        // Key, flags, expiry, length: what is left is the value.
        while fault = "" && fieldCount < 4 do
            let space = rest.IndexOf(byte ' ')
            let field = if space < 0 then rest else rest.Slice(0, space)

            rest <-
                if space < 0 then
                    ReadOnlySpan<byte>.Empty
                else
                    rest.Slice(space + 1)

            let isRead =
                match fieldCount with
                | 0 ->
                    key.Clear()
                    KeyText.tryParse key field && key.Length > 0 && key.Length <= EntryFormat.keyLengthMax
                | 1 -> Digits.tryUInt32 field &flags
                | 2 -> Digits.tryUInt32 field &expirySeconds
                | _ -> Digits.tryUInt32 field &valueLength && (space >= 0) = (valueLength > 0u)

            if not isRead then
                fault <-
                    match fieldCount with
                    | 0 -> "the first field is not the text of a key"
                    | 1 -> "the second field is not a number of flags"
                    | 2 -> "the third field is not a time in seconds"
                    | _ -> "the fourth field is not the length of the value that follows"

            fieldCount <- fieldCount + 1

        if fault <> "" then
            refuse fault
        elif not (tryReadValue rest valueLength) then
            refuse $"the fifth field is not {valueLength} bytes in base64"
        else
            itemCount <- itemCount + 1L
            Ok DumpLine.Item

    let readLast (line: ReadOnlySpan<byte>) : Result<DumpLine, string> =
        let mutable count = 0UL

        if not (Digits.tryUInt64 (line.Slice DumpFormat.lastLineStart.Length) &count) then
            refuse "this is not a line of a dump"
        elif count <> uint64 itemCount then
            refuse $"the dump had {count} items when it was written, and has {itemCount}"
        else
            isEnded <- true
            Ok DumpLine.Frame

    /// Reads the next line, without its newline; or why it cannot follow, with its number. O(length).
    member _.Read(line: ReadOnlySpan<byte>) : Result<DumpLine, string> =
        lineCount <- lineCount + 1L

        if isEnded then
            refuse "a line follows the last one"
        elif lineCount = 1L then
            if line.SequenceEqual(ReadOnlySpan<byte> DumpFormat.firstLine) then
                Ok DumpLine.Frame
            else
                refuse "the first line of a dump is '#lsmfs-dump 1'"
        elif line.StartsWith(ReadOnlySpan<byte> DumpFormat.lastLineStart) then
            readLast line
        else
            readItem line

    /// Why the dump may not end where it does, if it may not.
    member _.Refusal: string voption =
        if isEnded then
            ValueNone
        else
            ValueSome $"line {lineCount + 1L}: the dump ends without its last line: it was cut off"

    /// The key of the item.
    member _.Key: ReadOnlySpan<byte> = key.Written

    /// The value of the item.
    member _.Value: ReadOnlySpan<byte> = value.Written

    /// memcached's client flags of the item.
    member _.Flags: uint32 = flags

    /// The Unix time from which the item is expired; 0 never.
    member _.ExpirySeconds: uint32 = expirySeconds

    /// Lines so far, the one that was refused included.
    member _.LineCount: int64 = lineCount

    /// Items so far.
    member _.ItemCount: int64 = itemCount
