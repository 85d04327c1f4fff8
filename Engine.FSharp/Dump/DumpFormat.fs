namespace LsmFs.Engine

// A dump is lines of ASCII, each ended by a newline: a first line, one for each item, a last line.
//
//   #lsmfs-dump 1
//   <key> <flags> <expiry> <length> <value>
//   ...
//   #end <items>
//
// The key is in the text of KeyText; flags, expiry (Unix seconds, 0 never) and length (bytes of the value) are decimal; the value is in base64
// (RFC 4648, with padding). One space lies between two fields. Without a value, length 0, the line ends behind the length.

open System
open System.Buffers.Text
open System.Globalization

/// Writing dumps.
[<RequireQualifiedAccess>]
module DumpFormat =

    /// The first line.
    let firstLine = "#lsmfs-dump 1"B

    /// What the last line begins with.
    let lastLineStart = "#end "B

    [<Literal>]
    let private numberLengthMax = 20

    let private appendNumber (buffer: ByteBuffer) (value: int64) : unit =
        let mutable written = 0
        let text = buffer.Reserve numberLengthMax
        value.TryFormat(text, &written, ReadOnlySpan<char>.Empty, CultureInfo.InvariantCulture) |> ignore
        buffer.Truncate(buffer.Length - numberLengthMax + written)

    let private appendField (buffer: ByteBuffer) (value: int64) : unit =
        buffer.AppendU8(byte ' ')
        appendNumber buffer value

    let private appendValue (buffer: ByteBuffer) (value: ReadOnlySpan<byte>) : unit =
        let text = buffer.Reserve(Base64.GetMaxEncodedToUtf8Length value.Length)
        let mutable consumed = 0
        let mutable written = 0
        Base64.EncodeToUtf8(value, text, &consumed, &written) |> ignore

    /// Appends the first line.
    let appendFirst (buffer: ByteBuffer) : unit =
        buffer.Append firstLine
        buffer.AppendU8(byte '\n')

    /// Appends the line of a value's entry. A value must have less than 1.5 GiB, or its text has no room in an array.
    let appendItem (buffer: ByteBuffer) (entry: Entry) : unit =
        KeyText.append buffer entry.Key

        appendField buffer (int64 entry.Flags)
        appendField buffer (int64 entry.ExpirySeconds)
        appendField buffer (int64 entry.ValueLength)

        if entry.ValueLength > 0 then
            buffer.AppendU8(byte ' ')
            appendValue buffer entry.Value

        buffer.AppendU8(byte '\n')

    /// Appends the last line.
    let appendLast (buffer: ByteBuffer) (itemCount: int64) : unit =
        buffer.Append lastLineStart
        appendNumber buffer itemCount
        buffer.AppendU8(byte '\n')
