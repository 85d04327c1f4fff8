namespace LsmFs.Simulation

/// Making what fails as small as it can be.
[<RequireQualifiedAccess>]
module Shrink =

    /// The list without a part of it, larger parts first.
    let internal parts (items: 'item list) : 'item list seq =
        seq {
            let mutable size = items.Length

            while size > 0 do
                for start in 0..size .. items.Length - 1 do
                    List.truncate start items @ (List.skip (min items.Length (start + size)) items)

                size <- size / 2
        }

    let rec private smallerSteps (steps: Step list) : Step list seq =
        seq {
            yield! parts steps

            for index in 0 .. steps.Length - 1 do
                for step in smallerStep steps[index] do
                    List.updateAt index step steps
        }

    and private smallerStep (step: Step) : Step seq =
        seq {
            for interrupts in parts step.Interrupts do
                { step with Interrupts = interrupts }

            for index in 0 .. step.Interrupts.Length - 1 do
                let interrupt = step.Interrupts[index]

                match interrupt.Event with
                | Meanwhile steps ->
                    for smaller in smallerSteps steps do
                        if not smaller.IsEmpty then
                            {
                                step with
                                    Interrupts =
                                        List.updateAt index { interrupt with Event = Meanwhile smaller } step.Interrupts
                            }
                | Fault(kind, times) when times > 1 -> {
                    step with
                        Interrupts = List.updateAt index { interrupt with Event = Fault(kind, 1) } step.Interrupts
                  }
                | Stop loss when loss <> Everything && loss <> NothingUnsynced -> {
                    step with
                        Interrupts = List.updateAt index { interrupt with Event = Stop NothingUnsynced } step.Interrupts
                  }
                | _ -> ()

            match step.Action with
            | Submit(number, commands) when commands.Length > 1 ->
                for fewer in parts commands do
                    if not fewer.IsEmpty then
                        { step with Action = Submit(number, fewer) }
            | Crash loss when loss <> Everything && loss <> NothingUnsynced -> {
                step with
                    Action = Crash NothingUnsynced
              }
            | _ -> ()
        }

    /// The smallest one found that still fails, within so many runs, where `smaller` gives those that come next.
    let internal search
        (runsMax: int)
        (smaller: 'subject -> 'subject seq)
        (fails: 'subject -> bool)
        (start: 'subject)
        : 'subject =
        let mutable left = runsMax

        let rec go (subject: 'subject) : 'subject =
            let next =
                smaller subject
                |> Seq.takeWhile (fun _ -> left > 0)
                |> Seq.tryFind (fun candidate ->
                    left <- left - 1
                    fails candidate)

            match next with
            | Some next -> go next
            | None -> subject

        go start

    /// The smallest schedule found that still fails, within so many runs.
    let smallest (runsMax: int) (fails: Schedule -> bool) (schedule: Schedule) : Schedule =
        let smaller (schedule: Schedule) =
            smallerSteps schedule.Steps |> Seq.map (fun steps -> { schedule with Steps = steps })

        search runsMax smaller fails schedule
