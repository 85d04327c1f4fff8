/// Runs simulations by seed: lsmfs-simulate [--minutes N | --seeds N] [--seed N] [--no-shrink]
/// Exit codes: 0 every seed went well, 1 one did not, 2 the arguments are wrong.
module LsmFs.Simulation.Cli.Program

open System
open System.Diagnostics
open LsmFs.Simulation

type private Arguments = { Minutes: float option; Seeds: int option; Seed: int option; IsShrunk: bool }

let private usage =
    "usage: simulate [--minutes N | --seeds N] [--seed N] [--no-shrink]; --seed alone runs that one and tells what happens in it"

let rec private parse (arguments: Arguments) (argv: string list) : Result<Arguments, string> =
    let number (text: string) =
        match Int32.TryParse text with
        | true, number when number >= 0 -> Some number
        | _ -> None

    match argv with
    | [] -> Ok arguments
    | "--no-shrink" :: rest -> parse { arguments with IsShrunk = false } rest
    | "--minutes" :: minutes :: rest ->
        match Double.TryParse minutes with
        | true, minutes when minutes > 0.0 -> parse { arguments with Minutes = Some minutes } rest
        | _ -> Error $"--minutes wants a number, not '{minutes}'"
    | "--seeds" :: count :: rest when (number count).IsSome -> parse { arguments with Seeds = number count } rest
    | "--seed" :: seed :: rest when (number seed).IsSome -> parse { arguments with Seed = number seed } rest
    | other :: _ -> Error $"'{other}' is no argument, or lacks its number; {usage}"

let private report (statistics: Statistics) (elapsed: TimeSpan) : unit =
    let faults =
        if statistics.Faults.Count = 0 then
            "none"
        else
            statistics.Faults
            |> Seq.map (fun (KeyValue(kind, count)) -> $"{count:N0} {kind}")
            |> String.concat ", "

    printfn
        $"{statistics.Seeds:N0} seeds in {elapsed.TotalSeconds:N0} s ({float statistics.Seeds / elapsed.TotalMinutes:N0} a minute): {statistics.Steps:N0} steps, {statistics.Nested:N0} of them within file operations of others; {statistics.Operations:N0} file operations"

    printfn
        $"{statistics.Acknowledged:N0} writes acknowledged, {statistics.Refused:N0} refused; {statistics.Reads:N0} reads; {statistics.Flushes:N0} flushes, {statistics.Compactions:N0} compactions"

    printfn
        $"{statistics.PowerLosses:N0} power losses and {statistics.Kills:N0} kills, {statistics.StopsWithin:N0} of them within a file operation; {statistics.CleanCloses:N0} clean closes; {statistics.RefusedToOpen:N0} refusals to open a log with a gap"

    printfn $"faults: {faults}"

[<EntryPoint>]
let main argv =
    let start = { Minutes = None; Seeds = None; Seed = None; IsShrunk = true }

    match parse start (List.ofArray argv) with
    | Error message ->
        eprintfn $"{message}"
        2
    | Ok arguments ->
        let isOne = arguments.Seed.IsSome && arguments.Minutes.IsNone && arguments.Seeds.IsNone
        let first = arguments.Seed |> Option.defaultWith (fun () -> Random.Shared.Next(1 <<< 30))

        let time =
            match arguments.Minutes, arguments.Seeds with
            | Some minutes, _ -> TimeSpan.FromMinutes minutes
            | None, Some _ -> TimeSpan.MaxValue
            | None, None -> TimeSpan.FromMinutes 1.0

        let count =
            if isOne then
                1
            else
                arguments.Seeds |> Option.defaultValue Int32.MaxValue

        printfn $"seeds from {first}"
        let statistics = Statistics()
        let watch = Stopwatch.StartNew()

        match Simulator.runSeeds statistics first count time ignore with
        | None ->
            report statistics watch.Elapsed
            0
        | Some(seed, message) ->
            report statistics watch.Elapsed
            printfn $"FAILED: seed {seed}: {message}"

            if arguments.IsShrunk then
                let failure = Simulator.explain seed message

                printfn
                    $"made smaller, {Schedule.size failure.Schedule.Steps} steps under --durability {failure.Schedule.Durability}: {failure.Message}"

                failure.Trace |> List.iter (printfn "  %s")

            printfn $"to see it again: dotnet fsi build.fsx simulate -- --seed {seed}"
            1
