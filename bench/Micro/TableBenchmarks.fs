namespace LsmFs.Micro

open System
open BenchmarkDotNet.Attributes
open BenchmarkDotNet.Engines
open LsmFs.Engine

/// Tables in memory, of entries with 16-byte keys and 100-byte values in blocks of 4 KiB.
[<RequireQualifiedAccess>]
module Tables =

    [<Literal>]
    let operationCount = 200_000

    let options: Options = {
        Options.ofBudget (64L <<< 20) with
            Compression = Compression.None
            TableSizeBytes = Int64.MaxValue
    }

    let keyOf (number: int) : byte[] = Text.Encoding.ASCII.GetBytes $"key-%012d{number}"

    let append (buffer: ByteBuffer) (key: byte[]) (sequence: int) (value: byte[]) : int =
        EntryFormat.append
            buffer
            {
                Kind = EntryKind.Value
                Sequence = SequenceNumber(uint64 sequence)
                Flags = 0u
                ExpirySeconds = 0u
                Cas = 0UL
                Marks = EntryMarks.None
            }
            (ReadOnlySpan<byte> key)
            (ReadOnlySpan<byte> value)

    /// The file of a table with the keys of these numbers, which ascend.
    let file (number: uint64) (firstSequence: int) (numbers: seq<int>) : Table * byte[] =
        let builder = TableBuilder options
        let value: byte[] = Array.zeroCreate 100
        let entry = ByteBuffer 256
        Random(int number).NextBytes value

        numbers
        |> Seq.iteri (fun index key ->
            entry.Clear()
            append entry (keyOf key) (firstSequence + index) value |> ignore
            builder.Add entry.Written)

        builder.Finish() |> ignore
        let bytes = builder.Output.ToArray()
        let footer = TableFormat.footerLengthBytes

        let table =
            TableFormat.decodeFooter
                "bench.sst"
                bytes.LongLength
                (ReadOnlySpan<byte>(bytes, bytes.Length - footer, footer))
            |> Result.bind (fun footer ->
                let metadata = Array.sub bytes (int footer.MetadataOffsetBytes) footer.MetadataLengthBytes

                TableReader.openTable (FileNumber number) "bench.sst" bytes.LongLength footer metadata)

        match table with
        | Ok table -> table, bytes
        | Error corruption -> invalidOp $"%O{corruption}"

    let orFail (result: Result<BlockContent, Corruption>) : BlockContent =
        match result with
        | Ok content -> content
        | Error corruption -> invalidOp $"%O{corruption}"

    /// An opened block in memory of its own.
    let ownCopy (content: BlockContent) : BlockContent = BlockContent.copyTo (ByteBuffer content.Length) content

/// What a lookup in a table is made of: finding the partition, its filter, the block in it, the entry in the block; and opening a block that was read.
[<MemoryDiagnoser;
  SimpleJob(RunStrategy.Monitoring, launchCount = 1, warmupCount = 6, iterationCount = 5, invocationCount = 1)>]
type TableBenchmarks() =
    let entryCount = 100_000
    let table, bytes = Tables.file 7UL 1 (seq { 0 .. entryCount - 1 })

    let stored (handle: BlockHandle) = Array.sub bytes (int handle.OffsetBytes) handle.LengthBytes

    let partitionNumber = table.PartitionCount / 2

    let partition =
        table.OpenPartition(BlockDecoder(), partitionNumber, stored (table.PartitionHandle partitionNumber), 0)
        |> Tables.orFail
        |> Tables.ownCopy

    let blockHandle = Partition.handle partition 3
    let storedBlock = stored blockHandle
    let decoder = BlockDecoder()
    let block = Tables.orFail (table.OpenData(decoder, blockHandle, storedBlock, 0))

    let blockKeys =
        let cursor = BlockCursor()
        cursor.Open(block.Bytes, block.Start, block.Length)

        [|
            while cursor.MoveNext() do
                let entry = cursor.Current
                entry.Key.ToArray()
        |]

    let keys = Array.init 1024 (fun index -> Tables.keyOf (index * 97 % entryCount))
    let partitionKeys = blockKeys
    let missing = Array.init 1024 (fun index -> Text.Encoding.ASCII.GetBytes $"non-%012d{index}")

    let missingHashes = missing |> Array.map (fun key -> KeyHash.compute (ReadOnlySpan<byte> key))

    let hashes = blockKeys |> Array.map (fun key -> KeyHash.compute (ReadOnlySpan<byte> key))

    [<Benchmark(OperationsPerInvoke = Tables.operationCount, Description = "index: partition of a key")>]
    member _.Index() : int =
        let mutable found = 0

        for operation in 0 .. Tables.operationCount - 1 do
            if table.TryLocate(ReadOnlySpan<byte> keys[operation &&& 1023]).IsSome then
                found <- found + 1

        found

    [<Benchmark(OperationsPerInvoke = Tables.operationCount, Description = "bloom filter: key that is not there")>]
    member _.Bloom() : int =
        let mutable found = 0

        for operation in 0 .. Tables.operationCount - 1 do
            if Partition.mayContain partition missingHashes[operation &&& 1023] then
                found <- found + 1

        found

    [<Benchmark(OperationsPerInvoke = Tables.operationCount, Description = "partition: block of a key")>]
    member _.BlockOf() : int =
        let mutable sum = 0

        for operation in 0 .. Tables.operationCount - 1 do
            sum <- sum + Partition.find partition (ReadOnlySpan<byte> partitionKeys[operation % partitionKeys.Length])

        sum

    [<Benchmark(OperationsPerInvoke = Tables.operationCount, Description = "block: entry of a key")>]
    member _.Entry() : int =
        let mutable found = 0

        for operation in 0 .. Tables.operationCount - 1 do
            let index = operation % blockKeys.Length

            if
                (Block.tryFind block.Bytes block.Start block.Length (ReadOnlySpan<byte> blockKeys[index]) hashes[index])
                    .IsSome
            then
                found <- found + 1

        found

    [<Benchmark(OperationsPerInvoke = 20_000, Description = "block: check and open, 4 KiB")>]
    member _.Open() : int =
        let mutable length = 0

        for _ in 1..20_000 do
            match table.OpenData(decoder, blockHandle, storedBlock, 0) with
            | Ok content -> length <- length + content.Length
            | Error corruption -> invalidOp $"%O{corruption}"

        length

/// A compaction by the entry: eight tables with a tenth of their keys in common, merged and built again, in memory.
[<MemoryDiagnoser;
  SimpleJob(RunStrategy.Monitoring, launchCount = 1, warmupCount = 6, iterationCount = 5, invocationCount = 1)>]
type MergeBenchmarks() =
    let sourceCount = 8
    let perSource = 25_000

    let inputs =
        Array.init sourceCount (fun source ->
            let numbers =
                seq {
                    for index in 0 .. perSource - 1 do
                        if index % 10 = 0 then
                            index * 100
                        else
                            index * 100 + source + 1
                }

            Tables.file (uint64 source + 1UL) (source * perSource + 1) numbers)

    let fileOf = inputs |> Array.map (fun (table, bytes) -> table.Number, bytes) |> dict

    let supply (merge: Merge) : unit =
        let wanted = merge.Wanted
        let file = fileOf[wanted.Table.Number]

        Buffer.BlockCopy(file, int wanted.Handle.OffsetBytes, wanted.Destination, 0, wanted.Handle.LengthBytes)

        match merge.Supply() with
        | Ok() -> ()
        | Error corruption -> invalidOp $"%O{corruption}"

    let walk (visit: Entry -> unit) : unit =
        // Newest first.
        let merge =
            Merge [|
                for table, _ in Array.rev inputs ->
                    TableRunSource([| table |], KeyBounds.all, 256 * 1024) :> EntrySource
            |]

        let mutable isEnded = false

        while not isEnded do
            match merge.MoveNext() with
            | SourceState.Ready -> visit merge.Current
            | SourceState.NeedsBlock -> supply merge
            | _ -> isEnded <- true

    [<Benchmark(OperationsPerInvoke = 200_000, Description = "merge of 8 tables, entry by entry")>]
    member _.Merge() : int64 =
        let mutable count = 0L
        walk (fun _ -> count <- count + 1L)
        count

    [<Benchmark(OperationsPerInvoke = 200_000, Description = "merge of 8 tables into a new one")>]
    member _.MergeAndBuild() : int64 =
        let builder = TableBuilder Tables.options

        walk (fun entry ->
            builder.Add entry.Bytes

            if builder.Output.Length > 256 * 1024 then
                builder.Output.Clear())

        builder.EntryCount
