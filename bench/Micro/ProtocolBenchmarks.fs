namespace LsmFs.Micro

open System
open System.Text
open BenchmarkDotNet.Attributes
open BenchmarkDotNet.Engines
open LsmFs.Engine

/// Parsing pipelines, and what a value costs on its way into the log: each by the command or the entry.
[<MemoryDiagnoser;
  SimpleJob(RunStrategy.Monitoring, launchCount = 1, warmupCount = 6, iterationCount = 5, invocationCount = 1)>]
type ProtocolBenchmarks() =
    let rounds = 2_000
    let pipeline = 100

    let repeat (command: int -> string) : byte[] =
        Encoding.ASCII.GetBytes(String.concat "" (List.init pipeline command))

    let value = String('v', 100)
    let gets = repeat (fun number -> $"get key-%012d{number}\r\n")
    let sets = repeat (fun number -> $"set key-%012d{number} 0 0 100\r\n%s{value}\r\n")
    let metaGets = repeat (fun number -> $"mg key-%012d{number} v\r\n")
    let metaSets = repeat (fun number -> $"ms key-%012d{number} 100 T0\r\n%s{value}\r\n")

    let parse (input: byte[]) : int =
        let mutable count = 0

        for _ in 1..rounds do
            let mutable state = ParserState()
            let mutable command = Unchecked.defaultof<Command>
            let mutable rest = ReadOnlySpan<byte> input

            while not rest.IsEmpty do
                let step = Parser.parse 1048576 &state rest &command

                if step.Kind <> ParseStepKind.Parsed then
                    invalidOp $"%A{step.Kind}"

                count <- count + 1
                rest <- rest.Slice step.ConsumedBytes

        count

    let block: byte[] = Array.init 4096 byte
    let body: byte[] = Array.zeroCreate 100
    let key = Tables.keyOf 1
    let frame = ByteBuffer(64 * 1024)
    let log = ByteBuffer(1 <<< 20)
    let mutable replayed: byte[] = [||]

    [<GlobalSetup>]
    member _.Setup() : unit =
        log.Clear()
        let seed = LogFile.appendHeader log LogKind.WriteAheadLog (FileNumber 1UL) 1UL

        for batch in 0..999 do
            let start = LogFile.startFrame log

            for index in 1..10 do
                Tables.append log key (batch * 10 + index) body |> ignore

            LogFile.finishFrame log seed start

        replayed <- log.ToArray()

    [<Benchmark(OperationsPerInvoke = 200_000, Description = "parse get")>]
    member _.Get() : int = parse gets

    [<Benchmark(OperationsPerInvoke = 200_000, Description = "parse set, 100 bytes")>]
    member _.Set() : int = parse sets

    [<Benchmark(OperationsPerInvoke = 200_000, Description = "parse mg")>]
    member _.MetaGet() : int = parse metaGets

    [<Benchmark(OperationsPerInvoke = 200_000, Description = "parse ms, 100 bytes")>]
    member _.MetaSet() : int = parse metaSets

    [<Benchmark(OperationsPerInvoke = 100_000, Description = "checksum of 4 KiB")>]
    member _.Checksum() : uint32 =
        let mutable crc = 0u

        for _ in 1..100_000 do
            crc <- Checksum.extend crc (ReadOnlySpan<byte> block)

        crc

    [<Benchmark(OperationsPerInvoke = 200_000, Description = "log: encode an entry of 165 bytes, frames of 10")>]
    member _.Encode() : int =
        let mutable length = 0

        for _ in 1..20_000 do
            frame.Clear()
            let start = LogFile.startFrame frame

            for index in 1..10 do
                Tables.append frame key index body |> ignore

            LogFile.finishFrame frame 1u start
            length <- length + frame.Length

        length

    [<Benchmark(OperationsPerInvoke = 100_000, Description = "log: check and split on replay, by the entry")>]
    member _.Replay() : int =
        let mutable count = 0

        for _ in 1..10 do
            match LogFile.replay LogKind.WriteAheadLog (FileNumber 1UL) "000001.wal" replayed with
            | Ok replay -> count <- count + replay.Frames.Length
            | Error corruption -> invalidOp $"%O{corruption}"

        count
