namespace LsmFs.Micro

open System
open System.Collections.Generic
open BenchmarkDotNet.Attributes
open BenchmarkDotNet.Engines
open BitFaster.Caching.Lfu
open BitFaster.Caching.Lru
open BitFaster.Caching.Scheduler
open LsmFs.Host

[<RequireQualifiedAccess>]
module BlockCacheWork =

    [<Literal>]
    let operationCount = 1_000_000

/// The key of a block as the library's caches hash it.
[<Struct>]
type BlockKey = { Table: uint64; OffsetBytes: int64 }

/// The block cache beside BitFaster.Caching: what a hit costs, and what an operation costs when every miss is added. Blocks of 4000 bytes, room for
/// 16,000 of 64,000, zipfian 0.99.
[<MemoryDiagnoser;
  SimpleJob(RunStrategy.Monitoring, launchCount = 1, warmupCount = 2, iterationCount = 5, invocationCount = 1)>]
type BlockCacheBenchmarks() =
    let capacity = 16_000
    let content: byte[] = Array.zeroCreate 4000
    let epochs = Epochs()
    // Beside its blocks the cache keeps a sixteenth for those whose readers have not left.
    let cache = BlockCache(epochs, int64 capacity * 4192L * 16L / 15L + int64 capacity * 16L)
    let pin = epochs.Register()
    let lru = ConcurrentLru<BlockKey, byte[]>(2, capacity, EqualityComparer<BlockKey>.Default)

    let lfu =
        ConcurrentLfu<BlockKey, byte[]>(
            2,
            capacity,
            new BackgroundThreadScheduler(),
            EqualityComparer<BlockKey>.Default
        )

    let mutable draws: int[] = [||]

    let keyOf (number: int) = { Table = 1UL; OffsetBytes = int64 number * 4096L }

    let copy () : byte[] =
        let block = GC.AllocateUninitializedArray<byte> content.Length
        Buffer.BlockCopy(content, 0, block, 0, content.Length)
        block

    let askCache (number: int) : int =
        pin.Enter()

        let found =
            if isNull (cache.Find(1UL, int64 number * 4096L)) then
                cache.Add(1UL, int64 number * 4096L, ReadOnlySpan<byte> content)
                0
            else
                1

        pin.Leave()
        found

    let askLru (number: int) : int =
        let mutable block: byte[] = [||]

        if lru.TryGet(keyOf number, &block) then
            1
        else
            lru.AddOrUpdate(keyOf number, copy ())
            0

    let askLfu (number: int) : int =
        let mutable block: byte[] = [||]

        if lfu.TryGet(keyOf number, &block) then
            1
        else
            lfu.AddOrUpdate(keyOf number, copy ())
            0

    /// A thousand blocks that are always there.
    let askFew (ask: int -> int) : int =
        let mutable found = 0

        for index in 0 .. BlockCacheWork.operationCount - 1 do
            found <- found + ask (index % 1000)

        found

    let askMany (ask: int -> int) : int =
        let mutable found = 0

        for number in draws do
            found <- found + ask number

        found

    [<GlobalSetup>]
    member _.Setup() : unit =
        let random = Random 1
        let cumulated = Array.init 64_000 (fun rank -> Math.Pow(float (rank + 1), -0.99)) |> Array.scan (+) 0.0
        let places = Array.init 64_000 id
        random.Shuffle places

        draws <-
            Array.init BlockCacheWork.operationCount (fun _ ->
                let place = Array.BinarySearch(cumulated, random.NextDouble() * cumulated[64_000])

                places[min 63_999 (if place < 0 then ~~~place - 1 else place)])

    [<Benchmark(OperationsPerInvoke = BlockCacheWork.operationCount)>]
    member _.HitBlockCache() : int = askFew askCache

    [<Benchmark(OperationsPerInvoke = BlockCacheWork.operationCount)>]
    member _.HitConcurrentLru() : int = askFew askLru

    [<Benchmark(OperationsPerInvoke = BlockCacheWork.operationCount)>]
    member _.HitConcurrentLfu() : int = askFew askLfu

    [<Benchmark(OperationsPerInvoke = BlockCacheWork.operationCount)>]
    member _.ZipfianBlockCache() : int = askMany askCache

    [<Benchmark(OperationsPerInvoke = BlockCacheWork.operationCount)>]
    member _.ZipfianConcurrentLru() : int = askMany askLru

    [<Benchmark(OperationsPerInvoke = BlockCacheWork.operationCount)>]
    member _.ZipfianConcurrentLfu() : int = askMany askLfu
