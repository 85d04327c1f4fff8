namespace LsmFs.Engine

// Replay is a fold over the records of a decision log, and every plan is decided again on the way: a store's decisions are a pure function of what was
// recorded, so the plan that comes out is the plan that was carried out, or this program decides otherwise than the one that wrote the log.

/// Whether deciding again led to the recorded plan.
type ReplayVerdict =
    /// The same plan.
    | Same
    /// Another plan, or none.
    | Different of today: CompactionPlan option

/// What a decision was about, for whoever wants to know why.
type ReplayedDecision = { Input: PickingInput; Plan: CompactionPlan; Verdict: ReplayVerdict }

/// A store as far as its decision log tells.
type ReplayState = {
    Options: Options
    Version: Version
    /// The jobs that have begun and not ended, newest first.
    Running: (uint64 * CompactionPlan) list
}

/// One record, with the store as it was after it.
type ReplayStep = {
    Record: DecisionRecord
    /// The store after the record.
    State: ReplayState
    /// For a plan: what it was chosen from, and whether it would be again.
    Decision: ReplayedDecision voption
    /// For the end of a job: its plan.
    EndedPlan: CompactionPlan voption
}

/// Replaying decision logs.
[<RequireQualifiedAccess>]
module DecisionReplay =

    /// The recorded plan with the tables of the version, or the table that is not there.
    let private resolve (version: Version) (plan: RecordedPlan) : Result<CompactionPlan, string> =
        let find (level: int, number: FileNumber) =
            version.Levels
            |> Array.tryItem level
            |> Option.bind (Array.tryFind (fun table -> table.Number = number))

        match plan.Inputs |> Array.tryFind (find >> Option.isNone) with
        | Some(level, number) -> Error $"a plan takes table {number}, which is not in level {level}"
        | None ->
            Ok {
                Reason = plan.Reason
                Kind = plan.Kind
                Inputs = plan.Inputs |> Array.map (fun input -> fst input, (find input).Value)
                OutputLevel = plan.OutputLevel
            }

    let private decideAgain (state: ReplayState) (seconds: uint32) (recorded: RecordedDecision) =
        let running =
            recorded.Running
            |> List.map (fun job -> state.Running |> List.tryFind (fun (other, _) -> other = job))

        match resolve state.Version recorded.Plan with
        | Error reason -> Error reason
        | Ok _ when running |> List.exists Option.isNone -> Error "a plan names a job that is not running"
        | Ok plan ->
            let input = {
                Version = state.Version
                Flush = recorded.Flush
                NowSeconds = seconds
                Running = running |> List.map (fun job -> snd job.Value)
                Quarantined = recorded.Quarantined
            }

            let today = Picking.pick state.Options input

            Ok {
                Input = input
                Plan = plan
                Verdict = if today = Some plan then Same else Different today
            }

    /// The step that a record makes from the state before it, or why it cannot follow.
    let private follow (state: ReplayState) (record: DecisionRecord) : Result<ReplayStep, string> =
        let step (state: ReplayState) = { Record = record; State = state; Decision = ValueNone; EndedPlan = ValueNone }

        match record.Event with
        | Opened _ -> Error "the log begins twice"
        | Frozen _
        | Flushed _ -> Ok(step state)
        | Installed edit ->
            match Version.refusal edit state.Version with
            | Some reason -> Error $"a version edit does not fit: {reason}"
            | None -> Ok(step { state with Version = Version.apply edit state.Version })
        | Planned recorded ->
            decideAgain state record.TimeSeconds recorded
            |> Result.map (fun decision -> {
                step { state with Running = (recorded.Job, decision.Plan) :: state.Running } with
                    Decision = ValueSome decision
            })
        | Ended job ->
            match state.Running |> List.tryFind (fun (other, _) -> other = job.Job) with
            | None -> Error $"job {job.Job} ends and is not running"
            | Some(_, plan) ->
                Ok {
                    step {
                        state with
                            Running = state.Running |> List.filter (fun (other, _) -> other <> job.Job)
                    } with
                        EndedPlan = ValueSome plan
                }

    let private first (record: DecisionRecord) : Result<ReplayStep, string> =
        match record.Event with
        | Opened(options, version, running) ->
            Ok {
                Record = record
                State = { Options = options; Version = version; Running = running }
                Decision = ValueNone
                EndedPlan = ValueNone
            }
        | _ -> Error "the log does not begin with a version"

    /// Replays the bytes of a decision log, and decides every plan again. A torn end is left out: the log is written without waiting for the disk.
    /// O(length, and a planning for each plan).
    let replay (number: FileNumber) (file: string) (bytes: byte[]) : Result<ReplayStep list, Corruption> =
        let next (steps: Result<ReplayStep list, Corruption>) (frame: Frame) =
            match steps, steps |> Result.bind (fun _ -> DecisionLog.decode file bytes frame) with
            | Ok steps, Ok record ->
                let step =
                    match steps with
                    | [] -> first record
                    | last :: _ -> follow last.State record

                match step with
                | Ok step -> Ok(step :: steps)
                | Error reason -> Corruption.at file frame.PayloadOffset reason
            | Error corruption, _
            | _, Error corruption -> Error corruption

        LogFile.replay DecisionLog number file bytes
        |> Result.bind (fun log -> Array.fold next (Ok []) log.Frames)
        |> Result.map List.rev
