namespace LsmFs.Engine

open System

/// Keys as people and line-wise tools read them: printable ASCII stands for itself; every other byte, and '%' and '#', is '%' and two
/// upper-case hexadecimal digits (percent-encoding, RFC 3986, with a set of its own). There is one text for a key.
[<RequireQualifiedAccess>]
module KeyText =

    let private digits = "0123456789ABCDEF"B

    let private isPlain (value: byte) : bool = value > 32uy && value < 127uy && value <> byte '%' && value <> byte '#'

    /// Appends the text of a key, at most three bytes for each of the key's.
    let append (buffer: ByteBuffer) (key: ReadOnlySpan<byte>) : unit =
        for value in key do
            if isPlain value then
                buffer.AppendU8 value
            else
                let encoded = buffer.Reserve 3
                encoded[0] <- byte '%'
                encoded[1] <- digits[int value >>> 4]
                encoded[2] <- digits[int value &&& 15]

    /// The text of a key.
    let ofKey (key: byte[]) : string =
        let buffer = ByteBuffer(key.Length * 3)
        append buffer (ReadOnlySpan<byte> key)
        Text.Encoding.ASCII.GetString buffer.Written

    let private digitOf (value: byte) : int = digits.AsSpan().IndexOf value

    /// Appends the key that `text` stands for; false when it stands for none, and then part of it may have been appended.
    let tryParse (buffer: ByteBuffer) (text: ReadOnlySpan<byte>) : bool =
        let mutable isWhole = true
        let mutable at = 0

        while isWhole && at < text.Length do
            if isPlain text[at] then
                buffer.AppendU8 text[at]
                at <- at + 1
            elif text[at] <> byte '%' || text.Length - at < 3 then
                isWhole <- false
            else
                let high = digitOf text[at + 1]
                let low = digitOf text[at + 2]

                if high < 0 || low < 0 || isPlain (byte (high * 16 + low)) then
                    isWhole <- false
                else
                    buffer.AppendU8(byte (high * 16 + low))
                    at <- at + 3

        isWhole
