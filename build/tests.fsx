// Format, tests, and the runs that go on for as long as they are given.

#load "processes.fsx"

open System
open System.IO
open System.Xml.Linq
open Processes

let restoreTools () = require "could not restore the formatter" [ "tool"; "restore"; "--verbosity"; "quiet" ]

let format (_: string list) : unit =
    restoreTools ()
    require "fantomas failed" [ "fantomas"; root ]
    // C# is understood, not only read: its formatter needs what the F# projects offer it.
    buildRelease (Path.Combine(root, "Cli.FSharp"))
    require "dotnet format failed" [ "format"; solution; "--verbosity"; "quiet" ]

/// True when every file is as `format` would leave it. What is not is named on the way.
let isFormatted () : bool =
    say "checking the format"
    restoreTools ()
    let fsharp = dotnet [ "fantomas"; "--check"; root ]

    let csharp =
        dotnet [ "format"; solution; "--no-restore"; "--verify-no-changes"; "--verbosity"; "quiet" ]

    fsharp = 0 && csharp = 0

type TestCounts = { Passed: int; Failed: int; Skipped: int }

/// Runs one Expecto project. The counts come from its report; without one the project did not reach its end.
let runTests (arguments: string list) (project: string) : TestCounts =
    let name = Path.GetFileName project

    if not ((File.ReadAllText solution).Contains $"{name}.fsproj") then
        fail $"tests/{name} is not in LsmFs.sln, so nothing built it: dotnet sln add -s tests tests/{name}"

    let report = Path.Combine(project, "obj", "report.xml")
    File.Delete report
    say name

    let exitCode =
        dotnet (
            [ "run"; "--no-build"; "-c"; "Release"; "--project"; project; "--" ]
            @ [ "--junit-summary"; report; "--no-spinner"; "--colours"; "0" ]
            @ arguments
        )

    // Expecto ends with an escape sequence and no newline.
    printfn ""

    if not (File.Exists report) then
        eprintfn $"{name} ended with exit code {exitCode} before its tests did"
        { Passed = 0; Failed = 1; Skipped = 0 }
    else
        let cases = (XDocument.Load report).Descendants(XName.Get "testcase") |> List.ofSeq

        let having (children: string list) =
            cases
            |> List.filter (fun case ->
                case.Elements() |> Seq.exists (fun child -> List.contains child.Name.LocalName children))

        let nameOf (case: XElement) = case.Attribute(XName.Get "name").Value
        let skipped = having [ "skipped" ]
        let failed = having [ "failure"; "error" ]

        for case in skipped do
            printfn $"skipped: {nameOf case}"

        for case in failed do
            printfn $"FAILED: {nameOf case}"
            // What the end of a long output is searched for.
            case.Elements()
            |> Seq.choose (fun outcome -> Option.ofObj (outcome.Attribute(XName.Get "message")))
            |> Seq.iter (fun message -> printfn $"    {message.Value}")

        {
            Passed = cases.Length - skipped.Length - failed.Length
            // Expecto also fails for what is no test's failure, such as a focused test left behind.
            Failed = (if exitCode <> 0 then max 1 failed.Length else failed.Length)
            Skipped = skipped.Length
        }

let test (arguments: string list) : unit =
    buildRelease solution
    let formatted = isFormatted ()

    let counts =
        Directory.GetDirectories(Path.Combine(root, "tests"), "*.Tests")
        |> Array.sort
        |> Array.map (runTests arguments)

    let passed = counts |> Array.sumBy _.Passed
    let failed = counts |> Array.sumBy _.Failed
    let skipped = counts |> Array.sumBy _.Skipped

    let refusals = [
        if not formatted then
            "the format check failed: run `dotnet fsi build.fsx format` and commit the result"
        if failed > 0 then
            "tests failed"
        if skipped > 0 && isSet "LSMFS_REQUIRE_PEERS" then
            "tests were skipped, and LSMFS_REQUIRE_PEERS=1 forbids that: install the programs they name"
        if passed + failed = 0 then
            "no test ran"
    ]

    for refusal in refusals do
        printfn $"FAILED: {refusal}"

    // The last line is read by machines.
    printfn $"{passed} passed, {failed} failed, {skipped} skipped"

    if not refusals.IsEmpty then
        raise (BuildFailed("", 1))

/// The tests that are worth hours, for so many minutes: hostile clients in long phases, then mixed load.
let soak (arguments: string list) : unit =
    let minutes =
        match arguments with
        | [] -> 30.
        | [ "--minutes"; text ] ->
            match Double.TryParse(text, Globalization.CultureInfo.InvariantCulture) with
            | true, minutes when minutes > 0. -> minutes
            | _ -> fail $"--minutes {text}: a number of minutes is wanted, such as 30"
        | _ -> fail "soak takes --minutes N and nothing else"

    let project = Path.Combine(root, "tests", "Server.Tests")
    buildRelease project

    Environment.SetEnvironmentVariable(
        "LSMFS_SOAK_MINUTES",
        minutes.ToString Globalization.CultureInfo.InvariantCulture
    )

    let counts =
        [ "Hostile clients"; "Soak" ]
        |> List.map (fun list -> runTests [ "--filter-test-list"; list ] project)

    if counts |> List.exists (fun counts -> counts.Failed > 0) then
        fail "the soak failed"

/// Ends with the simulator's own exit code: 1 when a seed failed.
let simulate (arguments: string list) : unit =
    let project = Path.Combine(root, "Simulation.Cli")
    buildRelease project
    let program = Path.Combine(project, "bin", "Release", "net10.0", "lsmfs-simulate.dll")
    let exitCode = dotnet (program :: arguments)

    if exitCode <> 0 then
        raise (BuildFailed("", exitCode))
