// The programs that measure, and what they are put together to.

#load "processes.fsx"
#load "packages.fsx"

open System
open System.IO
open System.Threading
open Processes
open Packages

let benchFolder (project: string) = Path.Combine(root, "bench", project)

let benchResults = Path.Combine(root, "artifacts", "bench")

/// Runs what a project under bench was built to.
let runBenchWithin (limit: TimeSpan) (project: string) (arguments: string list) : int =
    executeWithin
        limit
        "dotnet"
        ([ "run"; "--no-build"; "-c"; "Release"; "--project"; benchFolder project; "--" ] @ arguments)

/// A program that measures, and what becomes a chapter of bench/RESULTS.md.
type Part = {
    Name: string
    Project: string
    /// How long it takes on two cores, whole and with --quick.
    Minutes: int
    QuickMinutes: float
    /// The arguments of a run whose figures go to this file.
    Arguments: bool -> string -> string list
}

let parts = [
    {
        Name = "load"
        Project = "Load"
        Minutes = 12
        QuickMinutes = 1.5
        Arguments =
            fun quick results ->
                [
                    "suite"
                    "--lsmfs"
                    $"\"{publishedProgram}\""
                    "--out"
                    Path.ChangeExtension(results, ".md")
                    "--results"
                    results
                ]
                @ if quick then [ "--quick" ] else []
    }
    {
        Name = "embedded"
        Project = "Embedded"
        Minutes = 15
        QuickMinutes = 2.0
        Arguments =
            fun quick results ->
                [ "--out"; Path.ChangeExtension(results, ".md"); "--results"; results ]
                @ if quick then [ "--quick" ] else []
    }
    {
        Name = "process"
        Project = "Process"
        Minutes = 3
        QuickMinutes = 0.5
        Arguments =
            fun quick results ->
                [ "--published"; publishedProgram; "--built"; hostProgram; "--results"; results ]
                @ if quick then
                      [ "--starts"; "5"; "--restarts"; "3"; "--keys"; "2000000" ]
                  else
                      []
    }
    {
        Name = "micro"
        Project = "Micro"
        Minutes = 8
        QuickMinutes = 2.0
        Arguments =
            fun quick results ->
                [ "--filter"; "*"; "--exporters"; "json"; "--artifacts"; Path.ChangeExtension(results, null) ]
                @ if quick then [ "--quick" ] else []
    }
]

let commandOf (part: Part) (quick: bool) : string =
    "dotnet fsi build.fsx bench" + (if quick then " -- --quick" else $" -- {part.Name}")

/// Measures a part; a line about what went wrong, if something did. What was measured is in its file all the same.
let measure (quick: bool) (part: Part) (more: string list) : string option =
    let results = Path.Combine(benchResults, $"{part.Name}.json")
    Directory.CreateDirectory benchResults |> ignore
    File.Delete results
    let expected = if quick then part.QuickMinutes else float part.Minutes
    say $"{part.Name}: about %g{expected} minutes, from %s{DateTime.Now.ToShortTimeString()}"

    let exitCode =
        runBenchWithin (TimeSpan.FromMinutes(3.0 * expected + 2.0)) part.Project (part.Arguments quick results @ more)

    // BenchmarkDotNet writes its own kind of report.
    let exitCode =
        if part.Name = "micro" && exitCode = 0 then
            let reports = Path.Combine(Path.ChangeExtension(results, null), "results")
            runBenchWithin Timeout.InfiniteTimeSpan "Results" [ "micro"; reports; results; commandOf part quick ]
        else
            exitCode

    if exitCode = 0 && File.Exists results then
        None
    elif File.Exists results then
        Some $"{part.Name}: ended with exit code {exitCode}; what it had measured is below"
    else
        Some $"{part.Name}: ended with exit code {exitCode}, and wrote no results"

/// Composes bench/RESULTS.md from what was measured, here or earlier; fails when a target was not.
let compose (failures: string list) : unit =
    match
        runBenchWithin Timeout.InfiniteTimeSpan "Results" ([ "compose"; benchResults; benchFolder "" ] @ failures)
    with
    | 0 -> ()
    | 1 -> fail "not every target was measured; bench/RESULTS.md says which"
    | _ -> fail "the report could not be composed"

let benchAll (quick: bool) : unit =
    let minutes = parts |> List.sumBy (fun part -> if quick then part.QuickMinutes else float part.Minutes)

    let freeGigabytes = DriveInfo(Path.GetTempPath()).AvailableFreeSpace / 1_000_000_000L

    if not quick && freeGigabytes < 12L then
        fail $"{Path.GetTempPath()} has {freeGigabytes} GB free, and 12 are wanted: name another folder with TMPDIR"

    say $"measuring everything: about %.0f{minutes} minutes; the machine should have nothing else to do"
    build []

    if not (tryPublish ()) then
        fail "the publish failed"

    parts |> List.choose (fun part -> measure quick part []) |> compose

let bench (arguments: string list) : unit =
    let runProject (project: string) (arguments: string list) =
        buildRelease (benchFolder project)

        if runBenchWithin Timeout.InfiniteTimeSpan project arguments <> 0 then
            fail "the benchmark failed"

    match arguments with
    | [] -> benchAll false
    | [ "--quick" ] -> benchAll true
    | [ "report" ] ->
        buildRelease (benchFolder "Results")
        compose []
    // The whole part, with or without other sizes; its options alone go to the program as they are.
    | name :: more when parts |> List.exists (fun part -> part.Name = name) && not (List.contains "--help" more) ->
        let part = parts |> List.find (fun part -> part.Name = name)
        buildRelease (benchFolder part.Project)
        buildRelease (benchFolder "Results")

        if not (tryPublish ()) then
            fail "the publish failed"

        measure false part more |> Option.iter fail
    | "compaction" :: rest -> runProject "Compaction" rest
    | name :: [ "--help" ] when parts |> List.exists (fun part -> part.Name = name) ->
        runProject (parts |> List.find (fun part -> part.Name = name)).Project [ "--help" ]
    | rest -> runProject "Load" rest
