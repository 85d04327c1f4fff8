/// What a replay makes of whole decision logs. The golden one is what every later program must still read. After a deliberate change of the format
/// rewrite it with `LSMFS_REWRITE_GOLDEN=1 dotnet run -c Release --project tests/Engine.Tests`.
module LsmFs.Engine.Tests.DecisionReplayTests

open System
open System.IO
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators
open LsmFs.Engine.Tests.DecisionLogTests

let private goldenPath = Path.Combine(__SOURCE_DIRECTORY__, "golden-v1.decisions")

/// A store whose flushes and compactions make tables of no data: what it records, and the versions it went through, newest first.
type private Life = {
    Records: DecisionRecord list
    Versions: Version list
    Running: (uint64 * CompactionPlan) list
    LastNumber: uint64
    LastJob: uint64
    Seconds: int64
}

let private record (event: DecisionEvent) (life: Life) = {
    life with
        Records = { TimeMilliseconds = life.Seconds * 1000L + 7L; Event = event } :: life.Records
        Seconds = life.Seconds + 1L
}

let private install (edit: VersionEdit) (life: Life) =
    { life with Versions = Version.apply edit life.Versions.Head :: life.Versions }
    |> record (Installed edit)

let private start: Life =
    {
        Records = []
        Versions = [ Version.empty options.LevelCount ]
        Running = []
        LastNumber = 0UL
        LastJob = 0UL
        Seconds = 1_900_000_000L
    }
    |> record (Opened(options, Version.empty options.LevelCount, []))

let private flush (smallest: byte[], largest: byte[]) (life: Life) =
    let life = { life with LastNumber = life.LastNumber + 1UL }
    let table = tableOf life.LastNumber smallest largest 2500L

    life
    |> record (Frozen 6000L)
    |> install { VersionEdit.empty with Added = [ 0, table ] }
    |> record (Flushed(6000L, 1, 2500L, 3u))

let private plan (life: Life) =
    let input = {
        PickingInput.ofVersion (uint32 life.Seconds) life.Versions.Head with
            Running = List.map snd life.Running
    }

    match Picking.pick options input with
    | None -> life
    | Some plan ->
        let job = life.LastJob + 1UL

        {
            record (DecisionLog.planned job (List.map fst life.Running) input plan) life with
                Running = (job, plan) :: life.Running
                LastJob = job
        }

let private finish (life: Life) =
    match List.rev life.Running with
    | [] -> life
    | (job, plan) :: _ ->
        let outputs =
            match plan.Kind with
            | CompactionKind.Merge ->
                let struct (smallest, largest) = Version.hull (Array.map snd plan.Inputs)
                [ tableOf (life.LastNumber + 1UL) smallest largest 2000L ]
            | _ -> []

        let life =
            { life with LastNumber = life.LastNumber + 1UL } |> install (CompactionPlan.edit plan outputs)

        let ended =
            Ended {
                Job = job
                Outcome = JobOutcome.Done
                TableCount = outputs.Length
                ReadBytes = CompactionPlan.inputBytes plan
                WrittenBytes = 2000L
                ElapsedMilliseconds = 11u
            }

        {
            record ended life with
                Running = life.Running |> List.filter (fun (other, _) -> other <> job)
        }

let private key (text: string) = Text.Encoding.ASCII.GetBytes text

/// Flushes of two ranges, two plans at once, and a third.
let private golden =
    (start, [ "a", "f"; "c", "h"; "m", "p"; "n", "z" ])
    ||> List.fold (fun life (smallest, largest) -> life |> flush (key smallest, key largest) |> plan |> finish)
    |> flush (key "a", key "z")
    |> flush (key "b", key "y")
    |> plan
    |> finish
    |> plan
    |> finish

/// What a life may do next.
let private stepGen: Gen<Life -> Life> =
    Gen.frequency [
        3, Gen.map2 (fun left right -> flush (ordered left right)) keyGen keyGen
        3, Gen.constant plan
        2, Gen.constant finish
    ]

let private lifeGen: Gen<Life> =
    Gen.listOf stepGen |> Gen.map (List.fold (fun life step -> step life) start)

[<Tests>]
let tests =
    testList "DecisionReplay" [
        test "a plan of tables that are not there is refused by its number" {
            let lost =
                Planned {
                    Job = 1UL
                    Flush = FlushState.none
                    Running = []
                    Quarantined = []
                    Plan = {
                        Reason = CompactionReason.LevelZeroFull
                        Kind = CompactionKind.Merge
                        Inputs = [| 0, FileNumber 3UL |]
                        OutputLevel = 1
                    }
                }

            match replay (logOf (List.rev (record lost start).Records)) with
            | Ok _ -> failtest "it was replayed"
            | Error corruption ->
                Expect.stringContains
                    corruption.Reason
                    "a plan takes table 000003, which is not in level 0"
                    "the reason"
        }

        testPropertyWithConfig
            (config 200)
            "replay goes through the versions of the store and decides as it did"
            (Prop.forAll (Arb.fromGen lifeGen) (fun life ->
                match replay (logOf (List.rev life.Records)) with
                | Error corruption -> failtest $"{corruption}"
                | Ok steps ->
                    let last = List.last steps
                    Expect.equal last.State.Version life.Versions.Head "the version"
                    Expect.equal last.State.Running life.Running "the jobs"
                    Expect.equal (steps |> List.map _.Record) (List.rev life.Records) "the records"

                    for step in steps do
                        step.Decision
                        |> ValueOption.iter (fun decision -> Expect.equal decision.Verdict Same "the decision")))

        testPropertyWithConfig
            (config 100)
            "a log that begins at any moment of a store's life leads to the same end"
            (Prop.forAll (Arb.fromGen (Gen.zip lifeGen stepGen)) (fun (life, step) ->
                let opened = { life with Records = [] } |> record (Opened(options, life.Versions.Head, life.Running))
                let later = opened |> step |> plan |> finish |> plan

                match replay (logOf (List.rev later.Records)) with
                | Error corruption -> failtest $"{corruption}"
                | Ok steps -> Expect.equal (List.last steps).State.Version later.Versions.Head "the version"))

        testCase "a decision that would not be taken again is named with today's" (fun () ->
            let isPlan record =
                match record.Event with
                | Planned _ -> true
                | _ -> false

            let forge record =
                match record.Event with
                | Planned decision -> {
                    record with
                        Event =
                            Planned {
                                decision with
                                    Plan = { decision.Plan with Reason = CompactionReason.Expired }
                            }
                  }
                | _ -> record

            let records = List.rev golden.Records
            let until = List.findIndex isPlan records

            match replay (logOf (records |> List.truncate (until + 1) |> List.map forge)) with
            | Error corruption -> failtest $"{corruption}"
            | Ok steps ->
                match (List.last steps).Decision with
                | ValueSome { Plan = plan; Verdict = Different(Some today) } ->
                    Expect.equal today { plan with Reason = today.Reason } "the same tables"
                    Expect.equal plan.Reason CompactionReason.Expired "the recorded reason"
                    Expect.notEqual today.Reason CompactionReason.Expired "today's reason"
                | other -> failtest $"{other}")

        testCase "records that cannot follow are corruption at their place" (fun () ->
            let records = List.rev golden.Records

            let reasonOf (records: DecisionRecord list) =
                match replay (logOf records) with
                | Error corruption ->
                    let frame = Array.last (framesOf (logOf records))
                    Expect.equal corruption.OffsetBytes (int64 frame.PayloadOffset) "the place"
                    corruption.Reason
                | Ok _ -> "none"

            Expect.equal (reasonOf [ records[1] ]) "the log does not begin with a version" "no beginning"
            Expect.equal (reasonOf [ records[0]; records[0] ]) "the log begins twice" "two beginnings"

            let ended =
                records
                |> List.find (fun record ->
                    match record.Event with
                    | Ended _ -> true
                    | _ -> false)

            Expect.equal (reasonOf [ records[0]; ended ]) "job 1 ends and is not running" "a job from nowhere"

            let removal = Installed { VersionEdit.empty with Removed = [ 1, FileNumber 5UL ] }

            Expect.equal
                (reasonOf [ records[0]; { ended with Event = removal } ])
                "a version edit does not fit: it removes table 000005, which is not in level 1"
                "a table from nowhere")

        testCase "every changed byte is noticed, every cut leaves a beginning" (fun () ->
            let bytes = logOf (List.rev golden.Records)
            let steps = replay bytes |> Result.defaultWith (fun corruption -> failtest $"{corruption}")
            let last = (Array.last (framesOf bytes)).PayloadOffset

            for offset in 0 .. last - LogFile.frameHeaderLength - 1 do
                let damaged = Array.copy bytes
                damaged[offset] <- damaged[offset] ^^^ 0x10uy

                match replay damaged with
                | Error corruption -> Expect.equal corruption.File file "the file"
                | Ok _ -> failtest $"a change at offset {offset} was not noticed"

                match Check.decisions number damaged with
                | [ Aside corruption ] -> Expect.equal corruption.File file "the file"
                | findings -> failtest $"{findings}"

            for length in 0..97 .. bytes.Length do
                match replay bytes[.. length - 1] with
                | Ok found -> Expect.equal found (List.truncate found.Length steps) "a beginning"
                | Error corruption -> failtest $"{length} bytes: {corruption}")

        testCase "version 1 is written as it always was, and read" (fun () ->
            let bytes = logOf (List.rev golden.Records)

            if Environment.GetEnvironmentVariable "LSMFS_REWRITE_GOLDEN" = "1" then
                File.WriteAllBytes(goldenPath, bytes)

            Expect.equal bytes (File.ReadAllBytes goldenPath) "the golden bytes"

            match replay bytes with
            | Error corruption -> failtest $"{corruption}"
            | Ok steps ->
                let plans =
                    steps
                    |> List.choose (fun step ->
                        match step.Decision with
                        | ValueSome decision -> Some(CompactionPlan.print decision.Plan)
                        | ValueNone -> None)

                Expect.isGreaterThan plans.Length 2 $"plans: {plans}"
                Expect.equal (List.last steps).State.Version golden.Versions.Head "the version")
    ]
