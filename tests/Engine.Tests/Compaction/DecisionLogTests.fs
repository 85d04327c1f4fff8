/// The records of a decision log, one by one.
module LsmFs.Engine.Tests.DecisionLogTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let number = FileNumber 12UL
let file = "000012.decisions"

let logOf (records: DecisionRecord list) : byte[] =
    let buffer = ByteBuffer 256
    let seed = LogFile.appendHeader buffer DecisionLog number 99UL

    for record in records do
        let start = LogFile.startFrame buffer
        DecisionLog.encode buffer record
        LogFile.finishFrame buffer seed start

    buffer.ToArray()

let framesOf (bytes: byte[]) : Frame[] =
    match LogFile.replay DecisionLog number file bytes with
    | Ok log -> log.Frames
    | Error corruption -> failtest $"{corruption}"

let replay (bytes: byte[]) = DecisionReplay.replay number file bytes

let options = {
    Options.ofBudget Options.memoryBudgetBytesMin with
        MemtableSizeBytes = 6000L
        TableSizeBytes = 3000L
        LevelZeroTableCountTrigger = 2
        LevelZeroTableCountMax = 12
        LevelOneSizeBytes = 6000L
        LevelSizeMultiplier = 3
}

let private eventGen: Gen<DecisionEvent> =
    let number = Gen.elements [ 0UL; 1UL; 42UL; UInt64.MaxValue ]
    let size = Gen.elements [ 0L; 1L; 4096L; Int64.MaxValue ]
    let count = Gen.elements [ 0; 1; Int32.MaxValue ]
    let time = Gen.elements [ 0u; 1u; UInt32.MaxValue ]

    let planGen =
        gen {
            let! reason = Gen.elements (Enum.GetValues<CompactionReason>())
            let! kind = Gen.elements (Enum.GetValues<CompactionKind>())
            let! output = Gen.choose (0, 6)
            let! inputs = Gen.nonEmptyListOf (Gen.zip (Gen.choose (0, 6)) (Gen.map FileNumber number))

            let plan: RecordedPlan = {
                Reason = reason
                Kind = kind
                Inputs = Array.ofList inputs
                OutputLevel = output
            }

            return plan
        }

    let decisionGen =
        gen {
            let! job = number
            let! through = Gen.map SequenceNumber number
            let! pending = time
            let! running = Gen.listOf number
            let! quarantined = Gen.listOf (Gen.map FileNumber number)
            let! plan = planGen

            return
                Planned {
                    Job = job
                    Flush = { Through = through; PendingAtSeconds = pending }
                    Running = running
                    Quarantined = quarantined
                    Plan = plan
                }
        }

    let endGen =
        gen {
            let! job = number
            let! outcome = Gen.elements (Enum.GetValues<JobOutcome>())
            let! tables = count
            let! read = size
            let! written = size
            let! elapsed = time

            return
                Ended {
                    Job = job
                    Outcome = outcome
                    TableCount = tables
                    ReadBytes = read
                    WrittenBytes = written
                    ElapsedMilliseconds = elapsed
                }
        }

    Gen.oneof [
        Gen.map Installed editGen
        decisionGen
        endGen
        Gen.map Frozen size
        Gen.map4
            (fun memtable tables written elapsed -> Flushed(memtable, tables, written, elapsed))
            size
            count
            size
            time
    ]

/// A record as FsCheck finds it.
type Recorded = Recorded of DecisionRecord

type DecisionArbitraries =
    static member Recorded() =
        Gen.zip (Gen.elements [ 0L; 1_900_000_000_123L ]) eventGen
        |> Gen.map (fun (time, event) -> Recorded { TimeMilliseconds = time; Event = event })
        |> Arb.fromGen

let private recordProperty (name: string) (body: Recorded -> 'result) =
    let config = config 200
    testPropertyWithConfig { config with arbitrary = typeof<DecisionArbitraries> :: config.arbitrary } name body

[<Tests>]
let tests =
    testList "DecisionLog" [
        recordProperty "what is encoded is read back" (fun (Recorded record) ->
            let bytes = logOf [ record ]
            DecisionLog.decode file bytes (Array.head (framesOf bytes)) = Ok record)

        test "contents that cannot be are refused, under a right checksum, and by a replay too" {
            let refusal (change: ByteBuffer -> unit) : string =
                let buffer = ByteBuffer 64
                let seed = LogFile.appendHeader buffer DecisionLog number 99UL
                let start = LogFile.startFrame buffer
                change buffer
                LogFile.finishFrame buffer seed start
                let bytes = buffer.ToArray()

                match DecisionLog.decode file bytes (Array.head (framesOf bytes)), replay bytes with
                | Error corruption, Error again ->
                    Expect.equal again corruption "the replay says so too"
                    corruption.Reason
                | Ok _, _ -> failtest "it was read"
                | _, Ok _ -> failtest "it was replayed"

            let plan: RecordedPlan = {
                Reason = CompactionReason.LevelZeroFull
                Kind = CompactionKind.Merge
                Inputs = [| 0, FileNumber 3UL |]
                OutputLevel = 1
            }

            let planned (plan: RecordedPlan) =
                Planned {
                    Job = 1UL
                    Flush = FlushState.none
                    Running = []
                    Quarantined = []
                    Plan = plan
                }

            let encoded (event: DecisionEvent) (buffer: ByteBuffer) =
                DecisionLog.encode buffer { TimeMilliseconds = 5L; Event = event }

            let ended =
                Ended {
                    Job = 1UL
                    Outcome = enum 99
                    TableCount = 0
                    ReadBytes = 0L
                    WrittenBytes = 0L
                    ElapsedMilliseconds = 0u
                }

            let opened (options: Options) (running: (uint64 * CompactionPlan) list) =
                Opened(options, Version.empty options.LevelCount, running)

            for change, reason in
                [
                    (fun (buffer: ByteBuffer) ->
                        buffer.AppendU8 99uy
                        buffer.AppendU64 5UL),
                    "the unknown tag 99"
                    encoded (planned { plan with Inputs = [||] }), "a plan has no tables"
                    encoded (planned { plan with Reason = enum 99 }), "the unknown reason 99"
                    encoded (planned { plan with Kind = enum 98 }), "kind 98"
                    encoded ended, "the unknown outcome 99"
                    encoded (opened { options with LevelSizeMultiplier = 0 } []), "the options cannot be a store's"
                ] do
                Expect.stringContains (refusal change) reason reason
        }

        recordProperty "a record that is cut or longer is corruption, or a shorter edit" (fun (Recorded record) ->
            let buffer = ByteBuffer 256
            DecisionLog.encode buffer record
            buffer.AppendU8 0uy

            for length in Seq.append [ 0 .. min 40 (buffer.Length - 2) ] [ buffer.Length ] do
                let frame = { PayloadOffset = 0; PayloadLength = length }

                match DecisionLog.decode file buffer.Bytes frame, record.Event with
                | Error corruption, _ -> Expect.equal corruption.File file "the file"
                | Ok _, Installed _ when length < buffer.Length -> ()
                | Ok _, _ -> failtest $"{length} of {buffer.Length - 1} bytes are no record")

        testCase "all but the newest three logs are deleted when another begins" (fun () ->
            let files = [ 5UL; 9UL; 2UL; 30UL; 7UL ] |> List.map (FileNumber >> StoreFile.Decisions)

            Expect.equal
                (DecisionLog.outdated (StoreFile.Table(FileNumber 1UL) :: files))
                [ FileNumber 5UL; FileNumber 2UL ]
                "the oldest")
    ]
