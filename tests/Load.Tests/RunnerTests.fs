module LsmFs.Load.Tests.RunnerTests

open System
open System.Text
open System.Threading
open Expecto
open LsmFs.Load
open LsmFs.Load.Tests.DatasetTests

let keyCount = 60u

/// Answers gets for the keys of a dataset: every seventh is missing, every eleventh has a wrong byte, every thirteenth wrong flags.
let answerWithFaults (dataset: Dataset) (line: string) =
    let reply = ResizeArray<byte>()

    for name in line.Split(' ')[1..] do
        let index = UInt32.Parse(name[1..])

        if index % 7u <> 0u then
            let bytes = value dataset index

            if index % 11u = 0u then
                bytes[bytes.Length - 1] <- bytes[bytes.Length - 1] ^^^ 1uy

            let flags = if index % 13u = 0u then 77u else Dataset.Flags index
            reply.AddRange(Encoding.ASCII.GetBytes $"VALUE {name} {flags} {bytes.Length}\r\n")
            reply.AddRange bytes
            reply.AddRange "\r\n"B

    reply.AddRange "END\r\n"B
    reply.ToArray()

let check multiGet depth pieceLengthBytes =
    let workload =
        Workload(
            Kind = WorkloadKind.Check,
            IsVerified = true,
            KeyCount = keyCount,
            ConnectionCount = 3,
            MultiGetCount = multiGet,
            PipelineDepth = depth
        )

    use server = new FakeServer(answerWithFaults (workload.CreateDataset()), pieceLengthBytes)
    Runner.Run(workload, server.Target, CancellationToken.None)

// The generator runs on Linux only, and so do the tests that open its sockets.
let linuxTest name body =
    if OperatingSystem.IsLinux() then
        testCase name body
    else
        ptestCase name body

[<Tests>]
let tests =
    testList "Runner" [
        linuxTest
            "a check finds what is missing and wrong, however requests are grouped and replies are torn"
            (fun () ->
                let missing = [ 0u .. keyCount - 1u ] |> List.filter (fun index -> index % 7u = 0u)

                let wrong =
                    [ 0u .. keyCount - 1u ]
                    |> List.filter (fun index -> index % 7u <> 0u && (index % 11u = 0u || index % 13u = 0u))

                for multiGet, depth, pieceLengthBytes in [ 1, 1, 1000; 1, 4, 3; 10, 1, 7; 10, 3, 50; 60, 1, 33 ] do
                    let found = check multiGet depth pieceLengthBytes
                    let case = $"multi-get {multiGet}, depth {depth}, pieces of {pieceLengthBytes}"
                    Expect.equal found.Misses (int64 missing.Length) $"missing, {case}"
                    Expect.equal found.Wrong (int64 wrong.Length) $"wrong, {case}"
                    Expect.equal found.Hits (int64 keyCount - found.Misses - found.Wrong) $"right, {case}"
                    Expect.equal found.Errors 0L $"errors, {case}"
                    Expect.isFalse found.IsClean case)

        linuxTest "an error line is counted and the connection goes on" (fun () ->
            use server = new FakeServer((fun _ -> "SERVER_ERROR no\r\n"B), 1000)
            let workload = Workload(KeyCount = 10u, ConnectionCount = 2, OperationCount = 20L, WarmupSeconds = 0.0)
            let found = Runner.Run(workload, server.Target, CancellationToken.None)
            Expect.equal (found.Operations, found.Errors, found.FirstError) (20L, 20L, "SERVER_ERROR no") "errors")

        linuxTest "a stall in an open loop counts for every operation that was due meanwhile" (fun () ->
            let answered = ref 0

            let answer (_: string) =
                if Interlocked.Increment answered = 200 then
                    Thread.Sleep 400

                "END\r\n"B

            use server = new FakeServer(answer, 1000)

            let workload =
                Workload(
                    KeyCount = 10u,
                    ConnectionCount = 1,
                    RatePerSecond = Nullable 1000.0,
                    Seconds = 1.0,
                    WarmupSeconds = 0.0
                )

            let found = Runner.Run(workload, server.Target, CancellationToken.None)
            Expect.equal found.Operations 1000L "all due operations"
            // About 400 of 1000 were due during the stall, the first of them 400 ms before its end: the slowest tenth waited 300 ms.
            let latency = nonNull found.Latency
            Expect.isGreaterThan latency.P90 250_000.0 "the slowest tenth, in microseconds"
            Expect.isLessThan latency.P50 250_000.0 "the faster half, in microseconds")
    ]
