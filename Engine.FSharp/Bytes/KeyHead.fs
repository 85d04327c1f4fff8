namespace LsmFs.Engine

open System
open System.Buffers.Binary
open System.Runtime.CompilerServices
open System.Runtime.InteropServices

/// The first bytes of a key as one number, so that most comparisons of keys are comparisons of integers.
[<RequireQualifiedAccess>]
module KeyHead =

    /// The 8 bytes of `key` from `skip` on, big-endian, zeros after its end. Of two keys with the same first `skip` bytes, the one
    /// with the smaller head is the smaller key; equal heads say nothing (`a` and `a\0` have the same).
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let compute (key: ReadOnlySpan<byte>) (skip: int) : uint64 =
        let start = &MemoryMarshal.GetReference key
        let rest = key.Length - skip

        if rest >= 8 then
            BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<uint64>(&Unsafe.Add(&start, skip)))
        elif rest <= 0 then
            0UL
        elif key.Length >= 8 then
            // The last 8 bytes of the key, with those before the rest shifted out.
            let last =
                BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<uint64>(&Unsafe.Add(&start, key.Length - 8)))

            last <<< (8 * (8 - rest))
        else
            let mutable head = 0UL

            for index in skip .. key.Length - 1 do
                head <- head ||| (uint64 key[index] <<< (56 - 8 * (index - skip)))

            head
