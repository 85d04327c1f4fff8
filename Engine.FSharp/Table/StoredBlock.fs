namespace LsmFs.Engine

// Everything in a table but its footer is a stored block: content, compressed or not, and a trailer.
//
//   +--------------------------------------+-------------+---------+
//   | content                              | 0           | CRC-32C |
//   +-----------+--------------------------+-------------+---------+
//   | length of | content, compressed in   | 1           | CRC-32C |
//   | content   | LZ4's block format       |             |         |
//   +-----------+--------------------------+-------------+---------+
//   | length of | content, compressed into | 2           | CRC-32C |
//   | content   | one frame of Zstandard   |             |         |
//   +-----------+--------------------------+-------------+---------+
//     u32                                    u8            u32          the checksum covers everything before it
//
// The checksum is of the stored bytes, so nothing is decompressed that is not what was written. A writer stores content raw that does not shrink.

open System
open K4os.Compression.LZ4

/// Where a stored block lies in its file, trailer included.
[<Struct>]
type BlockHandle = {
    /// From the start of the file.
    OffsetBytes: int64
    /// Trailer included.
    LengthBytes: int
}

/// The content of a block where it lies; only as good as its buffer.
[<Struct; NoEquality; NoComparison>]
type BlockContent = { Bytes: byte[]; Start: int; Length: int }

/// Contents of blocks.
[<RequireQualifiedAccess>]
module BlockContent =

    /// No bytes at all.
    let empty: BlockContent = { Bytes = [||]; Start = 0; Length = 0 }

    /// A copy in the memory of `buffer`, good until the next use of it.
    let copyTo (buffer: ByteBuffer) (content: BlockContent) : BlockContent =
        buffer.Clear()
        buffer.Append(ReadOnlySpan<byte>(content.Bytes, content.Start, content.Length))
        { Bytes = buffer.Bytes; Start = 0; Length = content.Length }

/// What the bytes of a stored block are.
[<RequireQualifiedAccess>]
module internal StoredType =

    [<Literal>]
    let Raw = 0uy

    [<Literal>]
    let Lz4 = 1uy

    [<Literal>]
    let Zstd = 2uy

/// The bytes around the content of stored blocks.
[<RequireQualifiedAccess>]
module StoredBlock =

    /// Bytes of the trailer.
    [<Literal>]
    let trailerLengthBytes = 5

    /// Bytes of the content's length, in front of compressed content.
    [<Literal>]
    let internal prefixLengthBytes = 4

    /// LZ4's format cannot make more of a byte. So little is allocated for a block that lies about its length under a right checksum.
    [<Literal>]
    let private lz4RatioMax = 255L

    /// No content is longer: one entry of the largest value there can be, and what is around it.
    [<Literal>]
    let contentLengthMax = 0x40100000

    /// Appends the trailer of the stored bytes that begin at `start`.
    let internal appendTrailer (buffer: ByteBuffer) (start: int) (storedType: byte) : unit =
        buffer.AppendU8 storedType
        buffer.AppendU32(Checksum.compute (buffer.Written.Slice start))

    /// Appends content as it is, and its trailer.
    let appendRaw (buffer: ByteBuffer) (content: ReadOnlySpan<byte>) : unit =
        let start = buffer.Length
        buffer.Append content
        appendTrailer buffer start StoredType.Raw

    /// Whether a stored block whose checksum is right holds its content as it is.
    let isRaw (stored: ReadOnlySpan<byte>) : bool = stored[stored.Length - trailerLengthBytes] = StoredType.Raw

    /// Checks length, checksum and type of `stored`, a `what` that lies at `offsetBytes` in the file; answers the length of its content. O(length).
    let check
        (file: string)
        (offsetBytes: int64)
        (what: string)
        (stored: ReadOnlySpan<byte>)
        : Result<int, Corruption> =
        if stored.Length < trailerLengthBytes then
            Corruption.at file offsetBytes $"the %s{what} has %d{stored.Length} bytes, fewer than a block's trailer"
        else
            let found = Coding.readU32 stored (stored.Length - 4)
            let computed = Checksum.compute (stored.Slice(0, stored.Length - 4))
            let storedLength = stored.Length - trailerLengthBytes

            if found <> computed then
                Corruption.at
                    file
                    offsetBytes
                    $"the %s{what} (%d{stored.Length} bytes) has the checksum %08x{found}, but its bytes give %08x{computed}"
            else
                let contentLength =
                    if storedLength < prefixLengthBytes then
                        Int64.MaxValue
                    else
                        int64 (Coding.readU32 stored 0)

                match stored[storedLength] with
                | StoredType.Raw -> Ok storedLength
                | StoredType.Lz4 when contentLength <= min (int64 contentLengthMax) (lz4RatioMax * int64 storedLength) ->
                    Ok(int contentLength)
                | StoredType.Zstd when contentLength <= int64 contentLengthMax -> Ok(int contentLength)
                | StoredType.Lz4
                | StoredType.Zstd ->
                    Corruption.at
                        file
                        offsetBytes
                        $"the %s{what} is compressed, and the length it gives for its content cannot be"
                | other ->
                    Corruption.at
                        file
                        offsetBytes
                        $"the %s{what} has the stored type %d{other}, and this program knows only 0 (raw), 1 (LZ4) and 2 (Zstandard)"

/// Compresses blocks while a table is built. Mutable, one owner.
[<Sealed>]
type BlockEncoder(compression: Compression) =
    /// The fastest that still finds repeated keys and fields; measured in docs/ARCHITECTURE.md.
    let zstdLevel = 1

    let zstd =
        if compression = Compression.Zstd then
            ValueSome(new ZstdSharp.Compressor(zstdLevel))
        else
            ValueNone

    /// Compresses to a target that is too small for what would not pay; 0 when it does not fit.
    let compress (content: ReadOnlySpan<byte>) (target: Span<byte>) : int =
        match zstd with
        | ValueSome compressor ->
            let mutable written = 0

            if compressor.TryWrap(content, target, &written) then
                written
            else
                0
        | ValueNone -> max 0 (LZ4Codec.Encode(content, target, LZ4Level.L00_FAST))

    /// Appends content as a stored block; raw when compressing saves less than an eighth of it. O(length).
    member _.Append(buffer: ByteBuffer, content: ReadOnlySpan<byte>) : unit =
        let start = buffer.Length
        let room = content.Length - content.Length / 8 - StoredBlock.prefixLengthBytes

        if compression = Compression.None || room <= 0 then
            StoredBlock.appendRaw buffer content
        else
            buffer.AppendU32(uint32 content.Length)
            let written = compress content (buffer.Reserve room)

            if written = 0 then
                buffer.Truncate start
                StoredBlock.appendRaw buffer content
            else
                buffer.Truncate(start + StoredBlock.prefixLengthBytes + written)

                let storedType =
                    if compression = Compression.Zstd then
                        StoredType.Zstd
                    else
                        StoredType.Lz4

                StoredBlock.appendTrailer buffer start storedType

/// Opens stored blocks: checksum first, then the content. Mutable, one owner; what it opened is good until it opens the next one.
[<Sealed>]
type BlockDecoder() =
    let mutable content = Array.Empty<byte>()
    let mutable zstd: ZstdSharp.Decompressor voption = ValueNone

    let zstdDecompressor () : ZstdSharp.Decompressor =
        match zstd with
        | ValueSome decompressor -> decompressor
        | ValueNone ->
            let decompressor = new ZstdSharp.Decompressor()
            zstd <- ValueSome decompressor
            decompressor

    /// How many bytes of content come out; -1 when the bytes are no such thing.
    let decompress (storedType: byte) (compressed: ReadOnlySpan<byte>) (length: int) : int =
        if content.Length < length then
            content <- GC.AllocateUninitializedArray<byte> length

        let target = Span<byte>(content, 0, length)

        if length = 0 then
            -1
        elif storedType = StoredType.Lz4 then
            LZ4Codec.Decode(compressed, target)
        else
            let mutable written = 0

            try
                if (zstdDecompressor ()).TryUnwrap(compressed, target, &written) then
                    written
                else
                    -1
            with :? ZstdSharp.ZstdException ->
                -1

    /// Opens a stored block of `handle.LengthBytes` bytes at `offset` in `stored`: raw content is given where it lies, other content in a buffer of
    /// the decoder's own. O(length); allocates only when a block is longer than all before.
    member _.Open
        (file: string, handle: BlockHandle, what: string, stored: byte[], offset: int)
        : Result<BlockContent, Corruption> =
        let block = ReadOnlySpan<byte>(stored, offset, handle.LengthBytes)

        match StoredBlock.check file handle.OffsetBytes what block with
        | Error corruption -> Error corruption
        | Ok length when StoredBlock.isRaw block -> Ok { Bytes = stored; Start = offset; Length = length }
        | Ok length ->
            let storedLength = block.Length - StoredBlock.trailerLengthBytes

            let compressed =
                block.Slice(StoredBlock.prefixLengthBytes, storedLength - StoredBlock.prefixLengthBytes)

            if decompress block[storedLength] compressed length = length then
                Ok { Bytes = content; Start = 0; Length = length }
            else
                Corruption.at
                    file
                    handle.OffsetBytes
                    $"in a compressed %s{what} whose checksum is right, the bytes do not give the %d{length} bytes of content that it speaks of"
