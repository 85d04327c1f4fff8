namespace LsmFs.Micro

open System
open System.Buffers.Binary
open BenchmarkDotNet.Attributes
open BenchmarkDotNet.Engines
open LsmFs.Engine

[<RequireQualifiedAccess>]
module Workload =

    [<Literal>]
    let entryCount = 1_000_000

/// What the memtable costs by the operation: 16-byte keys in random order, 100-byte values, batches of 64.
/// Every invocation goes over a whole memtable of a million entries.
[<MemoryDiagnoser;
  SimpleJob(RunStrategy.Monitoring, launchCount = 1, warmupCount = 2, iterationCount = 5, invocationCount = 1)>]
type MemtableBenchmarks() =
    let batchCount = 64
    let valueLength = 100
    let pool = ChunkPool(1 <<< 20, Int64.MaxValue)
    // Encoded entries of one length back to back; only their sequence numbers change between rounds.
    let buffer = ByteBuffer 0
    let mutable entryLength = 0
    let mutable memtable = Memtable.Create pool
    let mutable missing: byte[] = [||]
    let mutable sequence = 0UL

    let keyOf (number: int) : byte[] =
        // A multiplication by an odd number puts the keys in random order and lets none come twice.
        let key: byte[] = Array.zeroCreate 16
        BinaryPrimitives.WriteUInt64BigEndian(Span<byte> key, uint64 number * 0x9E3779B97F4A7C15UL)
        BinaryPrimitives.WriteUInt64BigEndian(Span<byte>(key, 8, 8), uint64 number)
        key

    let entryBytes (index: int) : Span<byte> = buffer.Patch(index * entryLength, entryLength)

    let putAll () : unit =
        let mutable index = 0

        while index < Workload.entryCount do
            let editor = memtable.Edit()

            for index in index .. min Workload.entryCount (index + batchCount) - 1 do
                sequence <- sequence + 1UL
                let bytes = entryBytes index
                BinaryPrimitives.WriteUInt64BigEndian(bytes.Slice 8, sequence)
                editor.Put(Span<byte>.op_Implicit bytes)

            memtable <- editor.Commit()
            index <- index + batchCount

    let reset () : unit =
        memtable.Recycle()
        memtable <- Memtable.Create pool

    [<GlobalSetup>]
    member _.Setup() : unit =
        let value: byte[] = Array.zeroCreate valueLength

        for number in 0 .. Workload.entryCount - 1 do
            let header = {
                Kind = EntryKind.Value
                Sequence = SequenceNumber.zero
                Flags = 0u
                ExpirySeconds = 0u
                Cas = 0UL
                Marks = EntryMarks.None
            }

            entryLength <-
                EntryFormat.append buffer header (ReadOnlySpan<byte>(keyOf number)) (ReadOnlySpan<byte> value)

        missing <- Array.concat (Seq.init Workload.entryCount (fun number -> keyOf (Workload.entryCount + number)))
        putAll ()
        putAll ()
        reset ()

    [<IterationSetup(Target = "Insert")>]
    member _.BeforeInsert() : unit = reset ()

    [<IterationSetup(Targets = [| "Overwrite"; "GetHit"; "GetMiss"; "Scan" |])>]
    member _.BeforeOthers() : unit =
        reset ()
        putAll ()

    [<Benchmark(OperationsPerInvoke = Workload.entryCount)>]
    member _.Insert() : unit = putAll ()

    [<Benchmark(OperationsPerInvoke = Workload.entryCount)>]
    member _.Overwrite() : unit = putAll ()

    [<Benchmark(OperationsPerInvoke = Workload.entryCount)>]
    member _.GetHit() : int =
        let mutable found = 0

        for index in 0 .. Workload.entryCount - 1 do
            // Another order than that of the inserts, so that neighbours in time are no neighbours in memory.
            let place = int (int64 index * 611_953L % int64 Workload.entryCount)

            if (memtable.TryFind(ReadOnlySpan<byte>(buffer.Bytes, place * entryLength + 16, 16))).IsSome then
                found <- found + 1

        found

    [<Benchmark(OperationsPerInvoke = Workload.entryCount)>]
    member _.GetMiss() : int =
        let mutable found = 0

        for index in 0 .. Workload.entryCount - 1 do
            if (memtable.TryFind(ReadOnlySpan<byte>(missing, index * 16, 16))).IsSome then
                found <- found + 1

        found

    [<Benchmark(OperationsPerInvoke = Workload.entryCount)>]
    member _.Scan() : int64 =
        let cursor = MemtableCursor memtable
        let mutable bytes = 0L

        while cursor.MoveNext() do
            bytes <- bytes + int64 cursor.Current.ValueLength

        bytes
