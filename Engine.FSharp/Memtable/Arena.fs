namespace LsmFs.Engine

// Memory that is only ever appended to and given back all at once.
//
// Invariants
// 1. An offset stays valid, and the bytes it was allocated for stay at their address, until `Rewind` passes it or `Release`.
// 2. A reader that learned an offset through an acquire read finds its chunk: the chunk is in the table before the offset is handed out.
// 3. Every chunk taken from the pool goes back exactly once, by `Rewind` or by `Release`; an array made for one large
//    allocation never does. Such an array is longer than a chunk, which is how the two are told apart.
// 4. Sizes follow from the allocations alone, not from the addresses of chunks: a memtable is full after the same writes every time.

open System
open System.Numerics
open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open System.Runtime.Intrinsics.X86

/// How far an arena had been filled.
[<Struct; NoEquality; NoComparison>]
type internal ArenaMark = { ChunkCount: int; Current: int; Position: int; Limit: int; SizeBytes: int64 }

/// A bump allocator over chunks. An offset is a u32 in units of 8 bytes: the index of the chunk above the place in the chunk,
/// 32 GiB in all. One writer; `Locate` and `EntryAt` on any thread.
[<Sealed>]
type internal Arena(pool: ChunkPool) =
    let chunkSizeBytes = pool.ChunkSizeBytes
    let placeBits = BitOperations.Log2(uint32 chunkSizeBytes) - 3
    let placeMask = (1u <<< placeBits) - 1u
    // A chunk is used from its first cache line on, so that all chunks hold the same wherever they lie.
    let usableSizeBytes = chunkSizeBytes - 64
    let mutable chunks: byte[][] = Array.zeroCreate 8
    let mutable chunkCount = 0
    // The chunk that is being filled, up to the limit; there is none yet when the position is there.
    let mutable current = 0
    let mutable position = 0
    let mutable limit = 0
    let mutable sizeBytes = 0L

    let addChunk (chunk: byte[]) : int =
        if uint64 chunkCount >= (1UL <<< (32 - placeBits)) then
            invalidOp "the memtable's arena is full"

        if chunkCount = chunks.Length then
            // Readers may hold the old table, so it is replaced and never changed below the count they know.
            let larger = Array.zeroCreate (chunkCount * 2)
            Array.Copy(chunks, larger, chunkCount)
            chunks <- larger

        chunks[chunkCount] <- chunk
        chunkCount <- chunkCount + 1
        chunkCount - 1

    let nextChunk () : unit =
        current <- addChunk (pool.Rent())
        sizeBytes <- sizeBytes + int64 (limit - position) + int64 (chunkSizeBytes - usableSizeBytes)
        position <- int (-(Marshal.UnsafeAddrOfPinnedArrayElement(chunks[current], 0)) &&& 63n)
        limit <- position + usableSizeBytes

    let giveBack (first: int) : unit =
        // The last one first: they are taken again in the order in which they were.
        for index in chunkCount - 1 .. -1 .. first do
            let chunk = chunks[index]

            if chunk.Length = chunkSizeBytes then
                pool.Return chunk

        Array.Clear(chunks, first, chunkCount - first)
        chunkCount <- first

    /// Bytes taken: what was allocated, the ends of chunks that were too short for the next allocation, and a cache line of every chunk.
    member _.SizeBytes: int64 = sizeBytes

    /// How far the arena is filled now.
    member _.Mark: ArenaMark = {
        ChunkCount = chunkCount
        Current = current
        Position = position
        Limit = limit
        SizeBytes = sizeBytes
    }

    /// Forgets what was allocated since the mark was taken. Nobody may know an offset past it.
    member _.Rewind(mark: ArenaMark) : unit =
        giveBack mark.ChunkCount
        current <- mark.Current
        position <- mark.Position
        limit <- mark.Limit
        sizeBytes <- mark.SizeBytes

    /// Gives back all chunks. What is located afterwards fails; nothing may be allocated.
    member _.Release() : unit =
        giveBack 0
        chunks <- Array.Empty()
        position <- limit

    /// Takes `length` bytes, aligned to 8. More than a chunk holds gets an array of its own.
    member _.Allocate(length: int) : uint32 =
        if length > usableSizeBytes then
            let array = GC.AllocateUninitializedArray<byte>(max length (chunkSizeBytes + 1))
            let offset = uint32 (addChunk array) <<< placeBits
            sizeBytes <- sizeBytes + int64 length
            offset
        else
            if length > limit - position then
                nextChunk ()

            let start = position
            position <- (start + length + 7) &&& ~~~7
            sizeBytes <- sizeBytes + int64 (position - start)
            (uint32 current <<< placeBits) ||| uint32 (start >>> 3)

    /// Takes `length` bytes, a small part of a chunk, such that what follows the first `headerLength` of them begins a cache line of 64 bytes.
    member arena.AllocateAligned(length: int, headerLength: int) : uint32 =
        if length + 63 > limit - position then
            nextChunk ()

        // The limit is at the end of a cache line.
        let padding = (limit - position - headerLength) &&& 63
        position <- position + padding
        sizeBytes <- sizeBytes + int64 padding
        arena.Allocate length

    /// The first byte of what was allocated at the offset.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member _.Locate(offset: uint32) : byref<byte> =
        let chunk = chunks[int (offset >>> placeBits)]
        &Unsafe.Add(&MemoryMarshal.GetArrayDataReference chunk, int (offset &&& placeMask) <<< 3)

    /// Has the processor fetch so many bytes at the offset, without waiting for them; nothing where it cannot be told to.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member arena.Prefetch(offset: uint32, lengthBytes: int) : unit =
        if Sse.IsSupported then
            let start = Unsafe.AsPointer(&arena.Locate offset)
            let mutable position = 0

            while position < lengthBytes do
                Sse.Prefetch0(Unsafe.Add<byte>(start, position))
                position <- position + 64

    /// The entry that lies at the offset.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member _.EntryAt(offset: uint32) : Entry = {
        Buffer = chunks[int (offset >>> placeBits)]
        Offset = int (offset &&& placeMask) <<< 3
    }
