namespace LsmFs.Engine

open System
open System.Buffers.Binary
open System.Runtime.CompilerServices
open System.Runtime.InteropServices

/// Big-endian integers in spans of bytes: the only number format in LsmFs files.
/// Every function throws `ArgumentOutOfRangeException` when the span is too short.
[<RequireQualifiedAccess>]
module Coding =

    /// Reads a big-endian u16 at `offset`.
    let inline readU16 (bytes: ReadOnlySpan<byte>) (offset: int) : uint16 =
        BinaryPrimitives.ReadUInt16BigEndian(bytes.Slice offset)

    /// Reads a big-endian u32 at `offset`.
    let inline readU32 (bytes: ReadOnlySpan<byte>) (offset: int) : uint32 =
        BinaryPrimitives.ReadUInt32BigEndian(bytes.Slice offset)

    /// Reads a big-endian u64 at `offset`.
    let inline readU64 (bytes: ReadOnlySpan<byte>) (offset: int) : uint64 =
        BinaryPrimitives.ReadUInt64BigEndian(bytes.Slice offset)

    /// Writes a big-endian u16 at `offset`.
    let inline writeU16 (bytes: Span<byte>) (offset: int) (value: uint16) : unit =
        BinaryPrimitives.WriteUInt16BigEndian(bytes.Slice offset, value)

    /// Writes a big-endian u32 at `offset`.
    let inline writeU32 (bytes: Span<byte>) (offset: int) (value: uint32) : unit =
        BinaryPrimitives.WriteUInt32BigEndian(bytes.Slice offset, value)

    /// Writes a big-endian u64 at `offset`.
    let inline writeU64 (bytes: Span<byte>) (offset: int) (value: uint64) : unit =
        BinaryPrimitives.WriteUInt64BigEndian(bytes.Slice offset, value)

/// Big-endian integers read from arrays without a bounds check: for bytes that were validated before, on hot paths only.
[<RequireQualifiedAccess>]
module internal Unchecked =

    let inline private at (bytes: byte[]) (offset: int) : byref<byte> =
        &Unsafe.Add(&MemoryMarshal.GetArrayDataReference bytes, offset)

    let inline readU16 (bytes: byte[]) (offset: int) : uint16 =
        BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<uint16>(&at bytes offset))

    let inline readU32 (bytes: byte[]) (offset: int) : uint32 =
        BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<uint32>(&at bytes offset))

    let inline readU64 (bytes: byte[]) (offset: int) : uint64 =
        BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<uint64>(&at bytes offset))
