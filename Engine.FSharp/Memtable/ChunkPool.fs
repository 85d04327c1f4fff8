namespace LsmFs.Engine

open System
open System.Collections.Generic
open System.Numerics

/// A free list of the byte arrays that memtables take memory in: a page touched before costs no page fault, and inserts are several times faster for it.
/// The arrays lie on the pinned heap, so their addresses hold still and nodes can be aligned to cache lines. One owner; not synchronised.
/// Throws `ArgumentOutOfRangeException` unless `chunkSizeBytes` is a power of two from 4 KiB to 1 GiB; at most `heldBytesMax` bytes wait for their next use.
[<Sealed>]
type ChunkPool(chunkSizeBytes: int, heldBytesMax: int64) =
    do
        if chunkSizeBytes < 4096 || not (BitOperations.IsPow2 chunkSizeBytes) then
            raise (
                ArgumentOutOfRangeException(nameof chunkSizeBytes, "a chunk is a power of two from 4096 bytes to 1 GiB")
            )

    let held = Stack<byte[]>()

    /// Bytes of every chunk.
    member _.ChunkSizeBytes: int = chunkSizeBytes

    /// Bytes of the chunks that wait for their next use.
    member _.HeldBytes: int64 = int64 held.Count * int64 chunkSizeBytes

    /// A chunk with unspecified content: one that was returned, or a new one.
    member _.Rent() : byte[] =
        if held.Count > 0 then
            held.Pop()
        else
            GC.AllocateUninitializedArray<byte>(chunkSizeBytes, pinned = true)

    /// Takes back a chunk that `Rent` gave and nobody uses any more, or leaves it to the garbage collector when enough are held.
    /// Throws `ArgumentException` for an array of another length.
    member pool.Return(chunk: byte[]) : unit =
        if chunk.Length <> chunkSizeBytes then
            invalidArg (nameof chunk) "not a chunk of this pool"

        if pool.HeldBytes + int64 chunkSizeBytes <= heldBytesMax then
            held.Push chunk
