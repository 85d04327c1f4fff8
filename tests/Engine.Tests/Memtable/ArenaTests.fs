module LsmFs.Engine.Tests.ArenaTests

open System
open System.Runtime.InteropServices
open Expecto
open FsCheck
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

[<Tests>]
let tests =
    testList "Arena" [
        test "a pool hands out what came back, holds no more than it may, and takes nothing else" {
            let pool = ChunkPool(4096, 10_000L)
            let chunks = [ for _ in 1..3 -> pool.Rent() ]
            Expect.equal pool.HeldBytes 0L "nothing yet"
            List.iter pool.Return chunks
            Expect.equal pool.HeldBytes 8192L "two fit"
            let again = [ pool.Rent(); pool.Rent() ]

            Expect.isTrue
                (again |> List.forall (fun chunk -> List.exists (LanguagePrimitives.PhysicalEquality chunk) chunks))
                "the same"

            Expect.equal pool.HeldBytes 0L "all out"
            Expect.throwsT<ArgumentException> (fun () -> pool.Return(Array.zeroCreate 4095)) "another length"

            for size in [ 0; -4096; 2048; 5000 ] do
                Expect.throwsT<ArgumentOutOfRangeException> (fun () -> ChunkPool(size, 0L) |> ignore) $"%d{size} bytes"
        }

        test "memtables that are frozen, flushed and filled again take no new memory" {
            let options = Options.ofBudget (8L <<< 20)
            let chunk = int64 options.ChunkSizeBytes
            let pool = ChunkPool(options.ChunkSizeBytes, Options.recycledBytesMax options)

            let full () =
                let arena = Arena pool

                while arena.SizeBytes < options.MemtableSizeBytes do
                    arena.Allocate 200 |> ignore

                arena

            // As many as may be frozen, and the one that is written.
            let memtables = [ for _ in 0 .. options.FrozenMemtableCountMax -> full () ]
            let frozen = List.take options.FrozenMemtableCountMax memtables
            let chunkCount = frozen |> List.sumBy (fun arena -> int64 arena.Mark.ChunkCount)
            frozen |> List.iter _.Release()
            Expect.equal pool.HeldBytes (chunkCount * chunk) "all of their memory is kept"
            Expect.isLessThanOrEqual pool.HeldBytes (Options.recycledBytesMax options) "within the bound"
        }

        property
            "invariant 4: where chunks lie makes no difference to what an arena takes"
            (fun (lengths: PositiveInt list) ->
                let sizesAfter (shifts: int list) =
                    let pool = ChunkPool(4096, Int64.MaxValue)

                    // Chunks that begin at every place in a cache line that the allocator knows.
                    shifts
                    |> List.map (fun shift ->
                        let chunk = pool.Rent()
                        GC.AllocateUninitializedArray<byte>(8 + shift, pinned = true) |> ignore
                        chunk)
                    |> List.iter pool.Return

                    let arena = Arena pool

                    lengths
                    |> List.mapi (fun index (PositiveInt length) ->
                        if index % 2 = 0 then
                            arena.Allocate(1 + length * 157 % 9000) |> ignore
                        else
                            arena.AllocateAligned(64 + length % 500, length % 64) |> ignore

                        struct (arena.SizeBytes, arena.Mark.ChunkCount))

                Expect.equal (sizesAfter [ 0; 8; 24; 40; 0; 56; 16; 32; 48 ]) (sizesAfter []) "sizes")

        property
            "invariants 1 and 3: what is allocated keeps its bytes; rewinding and releasing give back every chunk"
            (fun (lengths: PositiveInt list) (more: PositiveInt list) ->
                let pool = ChunkPool(4096, Int64.MaxValue)
                let arena = Arena pool

                let fill (lengths: PositiveInt list) =
                    lengths
                    |> List.mapi (fun index (PositiveInt length) ->
                        let length = 1 + length * 157 % 9000
                        let offset = arena.Allocate length
                        let mark = byte (index * 7 + 1)
                        MemoryMarshal.CreateSpan(&arena.Locate offset, length).Fill mark
                        struct (offset, length, mark))

                let check (allocated: struct (uint32 * int * byte) list) =
                    for struct (offset, length, mark) in allocated do
                        let bytes = MemoryMarshal.CreateReadOnlySpan(&arena.Locate offset, length)

                        if bytes.ContainsAnyExcept mark then
                            failtest "overwritten"

                let first = fill lengths
                let mark = arena.Mark
                let sizeBytes = arena.SizeBytes
                let second = fill more
                check first
                check second
                arena.Rewind mark
                Expect.equal arena.SizeBytes sizeBytes "size"
                let third = fill more
                Expect.isTrue ((third = second)) "the same places again"
                check first
                check third

                Expect.isGreaterThanOrEqual
                    arena.SizeBytes
                    (Seq.sumBy (fun struct (_, length, _) -> int64 length) (first @ third))
                    "size covers all"

                let large =
                    (first @ third) |> List.filter (fun struct (_, length, _) -> length > 4096 - 64) |> List.length

                let chunks = arena.Mark.ChunkCount - large
                arena.Release()
                Expect.equal pool.HeldBytes (4096L * int64 chunks) "every chunk is back, and no large array")

        property "aligned allocations begin a cache line after the header" (fun (lengths: PositiveInt list) ->
            let pool = ChunkPool(4096, 0L)
            let arena = Arena pool

            for PositiveInt length in lengths do
                arena.Allocate(1 + length % 500) |> ignore
                let offset = arena.AllocateAligned(16 + 12 * 64, 16)
                let entry = arena.EntryAt offset
                let address = Marshal.UnsafeAddrOfPinnedArrayElement(entry.Buffer, entry.Offset + 16)
                Expect.equal (address &&& 63n) 0n "aligned")
    ]
