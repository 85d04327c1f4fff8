module LsmFs.Host.Tests.BlockCacheTests

open System
open System.Collections.Generic
open System.Text
open System.Threading
open System.Threading.Tasks
open Expecto
open Expecto.Flip
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders

let private kibibyte = 1024

let private newCache (capacityBytes: int) : BlockCache * Epochs =
    let epochs = Epochs()
    BlockCache(epochs, int64 capacityBytes), epochs

/// Bytes that follow from the key of a block, so that no block can be taken for another.
let private contentOf (table: uint64) (offset: int64) (length: int) : byte[] =
    let random = Random(HashCode.Combine(table, offset))
    let bytes: byte[] = Array.zeroCreate length
    random.NextBytes bytes
    bytes

let private add (cache: BlockCache) (table: uint64) (offset: int64) (length: int) =
    cache.Add(table, offset, ReadOnlySpan<byte>(contentOf table offset length))

let private bytesOf (block: CachedBlock) = block.Buffer.AsSpan(0, block.LengthBytes).ToArray()

/// What happens to a cache of 64 KiB.
type private Step =
    | Add of table: int * offset: int * length: int
    | Find of table: int * offset: int
    | Enter
    | Leave

let private stepGen =
    let key = Gen.zip (Gen.choose (1, 3)) (Gen.choose (0, 40))
    let length = Gen.frequency [ 6, Gen.choose (1, 2000); 1, Gen.choose (2000, 9000) ]

    Gen.frequency [
        8, Gen.zip key length |> Gen.map (fun ((table, offset), length) -> Add(table, offset, length))
        8, key |> Gen.map Find
        1, Gen.constant Enter
        1, Gen.constant Leave
    ]

let private behavesLikeADictionary (steps: Step list) =
    let capacity = 64 * kibibyte
    let cache, epochs = newCache capacity
    let pin = epochs.Register()
    let lengths = Dictionary<int * int, int>()
    // What a reader has found since it entered stays as it was.
    let seen = List<CachedBlock * byte[]>()
    let mutable isInside = false

    let checkSeen () =
        for block, bytes in seen do
            Expect.sequenceEqual "a block changed under its reader (invariant 2)" bytes (bytesOf block)

    for step in steps do
        match step with
        | Add(table, offset, length) ->
            if not (cache.Contains(uint64 table, offset)) then
                lengths[(table, offset)] <- length

            add cache (uint64 table) offset length
        | Find(table, offset) ->
            match cache.Find(uint64 table, offset) with
            | null -> ()
            | block ->
                let expected = contentOf (uint64 table) offset lengths[(table, offset)]
                Expect.sequenceEqual "what was put is found (invariant 3)" expected (bytesOf block)

                if isInside then
                    seen.Add(block, expected)
        | Enter when not isInside ->
            pin.Enter()
            isInside <- true
        | Leave when isInside ->
            checkSeen ()
            seen.Clear()
            pin.Leave()
            isInside <- false
        | Enter
        | Leave -> ()

        Expect.isLessThanOrEqual "the budget (invariant 1)" (cache.AllocatedBytes, int64 capacity)

    checkSeen ()

let private sizeClasses () =
    for length in Seq.append [ 1..70_000 ] [ 1 <<< 20; (1 <<< 20) + 1; BlockPool.LengthBytesMax ] do
        let buffer = BlockPool.BufferLengthOf(BlockPool.ClassOf length)
        Expect.isGreaterThanOrEqual $"the buffer of {length} bytes" (buffer, length)

        if length > 256 then
            Expect.isLessThanOrEqual $"the waste of {length} bytes" (buffer - length, length / 8)

let private survivesAScan () =
    let cache, _ = newCache (1 <<< 20)
    // Half of the cache, asked for again and again.
    let hot = [ for offset in 0..119 -> int64 offset * 4096L ]

    for _ in 1..5 do
        for offset in hot do
            if isNull (cache.Find(1UL, offset)) then
                add cache 1UL offset 4000

    for offset in 0..9_999 do
        let offset = int64 offset * 4096L

        if isNull (cache.Find(2UL, offset)) then
            add cache 2UL offset 4000

        // Now and then somebody asks for the hot ones, too.
        if offset % (4096L * 50L) = 0L then
            let again = hot[int (offset / 4096L / 50L) % hot.Length]

            if isNull (cache.Find(1UL, again)) then
                add cache 1UL again 4000

    let left = hot |> List.filter (fun offset -> cache.Contains(1UL, offset)) |> List.length
    Expect.isGreaterThan "hot blocks that 40 times the cache have passed by" (left, hot.Length * 9 / 10)

let private largeBlocks () =
    let cache, _ = newCache (1 <<< 20)
    add cache 1UL 0L (1 <<< 16)
    cache.Contains(1UL, 0L) |> Expect.isFalse "a block of more than a sixteenth"
    add cache 1UL 0L 60_000
    cache.Contains(1UL, 0L) |> Expect.isTrue "a smaller one"

let private shrinks () =
    let cache, epochs = newCache (1 <<< 20)
    let pin = epochs.Register()

    for offset in 0..1000 do
        add cache 1UL (int64 offset) 4000

    pin.Enter()
    cache.Resize(1L <<< 18)
    pin.Leave()
    cache.Resize(1L <<< 18)
    Expect.isLessThanOrEqual "memory after a reduction" (cache.AllocatedBytes, 1L <<< 18)
    add cache 2UL 0L 4000
    cache.Contains(2UL, 0L) |> Expect.isTrue "it still takes blocks"
    cache.Resize 0L
    add cache 3UL 0L 100
    cache.Contains(3UL, 0L) |> Expect.isFalse "there is no room at all"

let private allocatesNothing () =
    let cache, epochs = newCache (1 <<< 20)
    let pin = epochs.Register()
    let content: byte[] = Array.zeroCreate 4000

    let churn () =
        for offset in 0..4_999 do
            pin.Enter()
            cache.Find(1UL, int64 offset % 100L) |> ignore
            cache.Add(1UL, int64 offset, ReadOnlySpan<byte> content)
            pin.Leave()

    let round () =
        let before = GC.GetAllocatedBytesForCurrentThread()
        churn ()
        GC.GetAllocatedBytesForCurrentThread() - before

    churn ()
    churn ()

    // The stacks of free blocks grow now and then; a block would be 4000. The least of several rounds, since a collection in between counts more.
    let allocated =
        List.min [
            for _ in 1..4 do
                round ()
        ]

    Expect.isLessThan "bytes for 5000 blocks that came and went" (allocated, 2_000L)

let private longReaders () =
    let cache, epochs = newCache (1 <<< 20)

    let fill (table: uint64) =
        for offset in 0..999 do
            add cache table (int64 offset) 4000

    fill 1UL
    fill 2UL
    let reader = epochs.Register()
    reader.Enter()
    fill 3UL
    Expect.isLessThanOrEqual "memory beside one who may look at all of them" (cache.AllocatedBytes, 1L <<< 20)
    reader.Leave()
    add cache 4UL 0L 4000
    cache.Contains(4UL, 0L) |> Expect.isTrue "when he has left, blocks come in again"

let private underParallelLoad () =
    let cache, epochs = newCache (256 * kibibyte)
    let mutable wrong = 0
    let mutable found = 0
    let stop = Environment.TickCount64 + 1500L

    let isRight (block: CachedBlock) (offset: int64) =
        let bytes = ReadOnlySpan<byte>(block.Buffer, 0, block.LengthBytes)
        bytes.Length = 500 + int offset && bytes.IndexOfAnyExcept(byte offset) < 0

    let work (seed: int) () =
        let random = Random seed
        let pin = epochs.Register()
        let held = List<struct (CachedBlock * int64)>()

        while Environment.TickCount64 < stop do
            pin.Enter()

            for _ in 1 .. random.Next 20 do
                // 200 blocks of 500 bytes or so in room for about 300, a tenth of them asked for most.
                let offset =
                    int64 (
                        if random.Next 2 = 0 then
                            random.Next 100
                        else
                            random.Next 1000
                    )

                match cache.Find(1UL, offset) with
                | null -> cache.Add(1UL, offset, ReadOnlySpan<byte>(Array.create (500 + int offset) (byte offset)))
                | block ->
                    Interlocked.Increment &found |> ignore

                    if not (isRight block offset) then
                        Interlocked.Increment &wrong |> ignore

                    held.Add(struct (block, offset))

            for struct (block, offset) in held do
                if not (isRight block offset) then
                    Interlocked.Increment &wrong |> ignore

            held.Clear()
            pin.Leave()

    Task.WaitAll [| for seed in 1..4 -> Task.Factory.StartNew(work seed, TaskCreationOptions.LongRunning) |]
    Expect.equal "blocks with wrong bytes (invariant 2)" 0 wrong
    Expect.isGreaterThan "blocks found" (found, 0)
    Expect.isGreaterThan "evictions" (cache.EvictionCount, 0L)
    Expect.isLessThanOrEqual "the budget (invariant 1)" (cache.AllocatedBytes, int64 (256 * kibibyte))

let private key (number: int) = Encoding.ASCII.GetBytes $"key {number:D5}"

/// A store with 1000 keys in tables.
let private filled (folder: string) : Store =
    let store = openStore folder

    for first in 0..100..999 do
        let batch = WriteBatch()

        for number in first .. first + 99 do
            batch.Put(ReadOnlySpan<byte>(key number), ReadOnlySpan<byte>(Array.create 100 (byte number)))
            |> ignore

        store.Write batch

    store.Flush()
    store

let private getAllocatesNothing () =
    withFolder (fun folder ->
        use store = filled folder
        use reader = store.CreateReader()
        let keys = [| for number in 0..999 -> key number |]
        let mutable found = 0

        let readAll () =
            for number in 0 .. keys.Length - 1 do
                reader.Enter()
                let mutable entry = Unchecked.defaultof<Entry>

                if reader.Find(ReadOnlySpan<byte> keys[number], 1000u, &entry) = LookupOutcome.Found then
                    found <- found + (if entry.Value[99] = byte number then 1 else 0)

                reader.Exit()

        readAll ()
        let misses = store.Statistics.CacheMissCount
        readAll ()

        let round () =
            let before = GC.GetAllocatedBytesForCurrentThread()
            readAll ()
            GC.GetAllocatedBytesForCurrentThread() - before

        let allocated =
            List.min [
                for _ in 1..4 do
                    round ()
            ]

        Expect.equal "values found" 6000 found
        Expect.equal "bytes allocated by gets that the cache answers" 0L allocated
        let statistics = store.Statistics
        Expect.equal "blocks read again" misses statistics.CacheMissCount
        Expect.isGreaterThan "hits" (statistics.CacheHitCount, 1999L)
        Expect.isGreaterThan "blocks in the cache" (statistics.CacheBlockCount, 0L)
        Expect.isLessThanOrEqual "the budget" (statistics.CacheBytes, statistics.CacheCapacityBytes))

[<Tests>]
let tests =
    testList "BlockCache" [
        testPropertyWithConfig
            { FsCheckConfig.defaultConfig with maxTest = 200; endSize = 400 }
            "a block that is found is the one that was put, within the budget, and stays while its reader does (invariants 1, 2, 3)"
            (Prop.forAll (Arb.fromGen (Gen.listOf stepGen)) behavesLikeADictionary)
        testCase "a buffer is at most an eighth larger than its block" sizeClasses
        testCase "a hot set survives a scan" survivesAScan
        testCase "a block of more than a sixteenth of the cache is not taken" largeBlocks
        testCase "the cache gives memory back when it may take less" shrinks
        testCase "blocks that come and go use the memory of those before" allocatesNothing
        testCase
            "while a reader may look at everything, the cache keeps its budget, and goes on when he has left"
            longReaders
        testCase "readers see right bytes beside evictions on other threads (invariant 2)" underParallelLoad
        testCase "a get that the cache answers allocates nothing" getAllocatesNothing
    ]
