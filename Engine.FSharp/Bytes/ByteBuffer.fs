namespace LsmFs.Engine

open System
open System.Runtime.CompilerServices

/// A growable run of bytes that encoders append to. One owner, no sharing: `Clear` keeps the memory for the next use.
/// `ArrayBufferWriter<byte>` of the base library would do, but hides its array, and checksums and lengths are patched in place here.
[<Sealed>]
type ByteBuffer(capacityBytes: int) =
    let mutable bytes: byte[] = Array.zeroCreate (max 16 capacityBytes)
    let mutable length = 0

    let grow (extra: int) =
        let wanted = int64 length + int64 extra

        if wanted > int64 Array.MaxLength then
            raise (OutOfMemoryException "a buffer cannot exceed the largest array")

        let doubled = min (int64 bytes.Length * 2L) (int64 Array.MaxLength)
        Array.Resize(&bytes, int (max wanted doubled))

    /// Bytes written so far.
    member _.Length = length

    /// The array behind the buffer; only the first `Length` bytes mean anything, and growth replaces it.
    member _.Bytes = bytes

    /// What was written, valid until the next append.
    member _.Written = ReadOnlySpan<byte>(bytes, 0, length)

    /// Part of what was written, to be patched in place.
    member _.Patch(offset: int, count: int) : Span<byte> =
        if offset + count > length then
            raise (ArgumentOutOfRangeException(nameof count))

        Span<byte>(bytes, offset, count)

    /// Appends `count` bytes of unspecified content and returns them to be filled. Amortised O(count).
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member _.Reserve(count: int) : Span<byte> =
        if count > bytes.Length - length then
            grow count

        let start = length
        length <- length + count
        Span<byte>(bytes, start, count)

    /// Appends `count` bytes of unspecified content, to be patched later.
    member buffer.Skip(count: int) : unit =
        let _ = buffer.Reserve count
        ()

    /// Appends a copy of `source`.
    member inline buffer.Append(source: ReadOnlySpan<byte>) : unit = source.CopyTo(buffer.Reserve source.Length)

    /// Appends one byte.
    member inline buffer.AppendU8(value: byte) : unit = buffer.Reserve(1)[0] <- value

    /// Appends a big-endian u16.
    member inline buffer.AppendU16(value: uint16) : unit = Coding.writeU16 (buffer.Reserve 2) 0 value

    /// Appends a big-endian u32.
    member inline buffer.AppendU32(value: uint32) : unit = Coding.writeU32 (buffer.Reserve 4) 0 value

    /// Appends a big-endian u64.
    member inline buffer.AppendU64(value: uint64) : unit = Coding.writeU64 (buffer.Reserve 8) 0 value

    /// Forgets what follows the first `count` bytes.
    member _.Truncate(count: int) : unit =
        if count < 0 || count > length then
            raise (ArgumentOutOfRangeException(nameof count))

        length <- count

    /// Forgets the content and keeps the memory.
    member _.Clear() : unit = length <- 0

    /// Forgets the content, and the memory too when more than `keepBytes` of it are held.
    member _.ClearAndTrim(keepBytes: int) : unit =
        length <- 0

        if bytes.Length > keepBytes then
            bytes <- Array.zeroCreate (max 16 keepBytes)

    /// A copy of what was written.
    member buffer.ToArray() : byte[] = buffer.Written.ToArray()
