// The build, as a script of the SDK alone: dotnet fsi build.fsx <target> [-- arguments]
// It references no package. `dotnet` restores what the projects and the tool manifest name, and nothing else is fetched.

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Text.Json
open System.Threading
open System.Xml.Linq

/// Ends the script with one line on stderr and this exit code.
exception BuildFailed of message: string * exitCode: int

let fail message = raise (BuildFailed(message, 1))

let root = __SOURCE_DIRECTORY__
let solution = Path.Combine(root, "LsmFs.sln")
let host = Path.Combine(root, "Host.CSharp")

let hostProgram =
    Path.Combine(host, "bin", "Release", "net10.0", (if OperatingSystem.IsWindows() then "lsmfs.exe" else "lsmfs"))

let isSet (variable: string) = Environment.GetEnvironmentVariable variable = "1"

// ---------------------------------------------------------------------------------------------------------- processes

[<DllImport("libc", SetLastError = true)>]
extern int kill(int processId, int signal)

let private start (program: string) (arguments: string list) =
    let info = ProcessStartInfo(program, arguments)
    info.Environment["DOTNET_CLI_TELEMETRY_OPTOUT"] <- "1"
    info.Environment["DOTNET_NOLOGO"] <- "1"
    // `dotnet format` has no -c, and would look for what the F# projects built among the Debug output.
    info.Environment["Configuration"] <- "Release"
    // The protocol's transcripts also go through the program itself.
    info.Environment["LSMFS_PROGRAM"] <- hostProgram

    match Process.Start info with
    | null -> fail $"could not start {program}"
    | child -> child

/// Runs a program to its end on our own stdin, stdout and stderr, and gives its exit code. Past the limit it is killed with all it started.
let executeWithin (limit: TimeSpan) (program: string) (arguments: string list) : int =
    use child = start program arguments

    // A terminal sends Ctrl-C to both of us, so the child has it already; SIGTERM comes to us alone. Either way the child
    // decides when it is finished, and we wait.
    use _interrupt =
        PosixSignalRegistration.Create(PosixSignal.SIGINT, fun context -> context.Cancel <- true)

    use _terminate =
        PosixSignalRegistration.Create(
            PosixSignal.SIGTERM,
            fun context ->
                context.Cancel <- true

                if not (OperatingSystem.IsWindows()) then
                    kill (child.Id, 15) |> ignore
        )

    if limit <> Timeout.InfiniteTimeSpan && not (child.WaitForExit limit) then
        eprintfn $"%s{Path.GetFileName program} was stopped after %.0f{limit.TotalMinutes} minutes"
        child.Kill(entireProcessTree = true)

    child.WaitForExit()
    child.ExitCode

/// Runs a program to its end, however long it takes.
let execute (program: string) (arguments: string list) : int = executeWithin Timeout.InfiniteTimeSpan program arguments

let dotnet (arguments: string list) : int = execute "dotnet" arguments

/// Runs `dotnet` and fails with the message when it does.
let require (message: string) (arguments: string list) : unit =
    if dotnet arguments <> 0 then
        fail message

let say (message: string) : unit =
    printfn $"==> {message}"
    stdout.Flush()

// ------------------------------------------------------------------------------------------------------------ targets

let buildRelease (project: string) : unit =
    say $"building {Path.GetFileName project} (Release)"
    require "the build failed" [ "build"; project; "-c"; "Release"; "--nologo"; "-v"; "quiet" ]

let build (_: string list) : unit = buildRelease solution

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

/// Lines of each file of the engine, and whether a test of any of the reports has reached them.
let private reachedLines (reports: string list) : Map<string, Map<int, bool>> =
    let members (element: JsonElement) = element.EnumerateObject() |> List.ofSeq

    let lines = [
        for report in reports do
            use document = JsonDocument.Parse(File.ReadAllText report)

            // The same engine may have been loaded from several folders.
            for assembly in members document.RootElement do
                for file in members assembly.Value do
                    for type' in members file.Value do
                        for method in members type'.Value do
                            for line in members (method.Value.GetProperty "Lines") do
                                let name = Path.GetRelativePath(Path.Combine(root, "Engine.FSharp"), file.Name)
                                name, int line.Name, line.Value.GetInt32() > 0
    ]

    lines
    |> List.groupBy (fun (file, _, _) -> file)
    |> List.map (fun (file, lines) ->
        file,
        lines
        |> List.groupBy (fun (_, line, _) -> line)
        |> List.map (fun (line, found) -> line, found |> List.exists (fun (_, _, isReached) -> isReached))
        |> Map.ofList)
    |> Map.ofList

/// Lines as ranges: 3-5, 9.
let private ranges (lines: int list) : string =
    let join (ranges: (int * int) list) (line: int) =
        match ranges with
        | (first, last) :: rest when line = last + 1 -> (first, line) :: rest
        | _ -> (line, line) :: ranges

    lines
    |> List.sort
    |> List.fold join []
    |> List.rev
    |> List.map (fun (first, last) -> if first = last then $"{first}" else $"{first}-{last}")
    |> String.concat ", "

/// Runs the tests of one or all projects with an engine that notes which of its lines are reached, and tells those that no test has reached in
/// any of the reports in artifacts/coverage.
let coverage (arguments: string list) : unit =
    // Not optimised: the compiler puts small functions into others, where their lines are not seen.
    say "building LsmFs.sln (Debug)"
    require "the build failed" [ "build"; solution; "-c"; "Debug"; "--nologo"; "-v"; "quiet" ]
    let tests = Path.Combine(root, "tests")
    let reports = Path.Combine(root, "artifacts", "coverage")
    let measurement = Path.Combine(tests, "Coverage")
    require "could not restore the measurement" [ "restore"; measurement; "--verbosity"; "quiet" ]

    let projects =
        match arguments with
        | [] ->
            if Directory.Exists reports then
                Directory.Delete(reports, true)

            Directory.GetDirectories(tests, "*.Tests")
            |> Array.map (fun folder -> string (Path.GetFileName folder))
            // The first run programs that are wrong on purpose, the second load what was built in Release.
            |> Array.filter (fun name -> name <> "Mutation.Tests" && name <> "Scripts.Tests")
            |> Array.sort
            |> List.ofArray
        | projects -> projects

    for project in projects do
        say project
        let options = [ "-t:Measure"; $"-p:Tests={project}"; "-nologo"; "-v:minimal" ]
        require "the measurement failed" ([ "msbuild"; measurement ] @ options)

    let files = reachedLines (Directory.GetFiles(reports, "*.json") |> List.ofArray)

    let count (condition: bool -> bool) =
        files.Values |> Seq.sumBy (fun lines -> lines.Values |> Seq.filter condition |> Seq.length)

    for KeyValue(file, lines) in files do
        match
            [
                for KeyValue(line, isReached) in lines do
                    if not isReached then
                        line
            ]
        with
        | [] -> ()
        | missed -> printfn $"{file}: {ranges missed}"

    printfn
        "%.1f %% of %d lines of Engine.FSharp reached"
        (100. * float (count id) / float (count (fun _ -> true)))
        (count (fun _ -> true))

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

/// What others may refer to; each after what it depends on.
let packages = [ "Engine.FSharp"; "Cli.FSharp"; "Host.CSharp"; "Simulation.FSharp" ]

let packageFolder = Path.Combine(root, "artifacts", "packages")

/// The seconds since 1970 at which the commit was made, or nothing outside a repository.
let private commitTime () : string option =
    let info =
        ProcessStartInfo(
            "git",
            [ "-C"; root; "log"; "-1"; "--format=%ct" ],
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    try
        use child = nonNull (Process.Start info)
        let text = child.StandardOutput.ReadToEnd().Trim()
        child.WaitForExit()
        if child.ExitCode = 0 && text <> "" then Some text else None
    with :? ComponentModel.Win32Exception ->
        None

/// Makes the packages. Nothing in them tells where or when they were made: paths begin at the root of the repository, and files have the time of the commit.
let pack (_: string list) : unit =
    say $"packing to {packageFolder}"

    if Directory.Exists packageFolder then
        Directory.Delete(packageFolder, true)

    let time = commitTime () |> Option.map (fun seconds -> $"-p:DeterministicTimestamp={seconds}")

    for project in packages do
        [
            "pack"
            Path.Combine(root, project)
            "-c"
            "Release"
            "--nologo"
            "-v"
            "quiet"
            "-o"
            packageFolder
            "-p:ContinuousIntegrationBuild=true"
        ]
        @ Option.toList time
        |> require "the packages could not be made"

    for path in Directory.GetFiles packageFolder |> Array.sort do
        printfn $"{Path.GetFileName path}"

/// Where `publish` puts the program, compiled ahead of time for this kind of machine.
let publishFolder = Path.Combine(root, "artifacts", "lsmfs")

let publishedProgram = Path.Combine(publishFolder, Path.GetFileName hostProgram)

/// Compiles the program ahead of time; false when that failed, which is told by then.
let tryPublish () : bool =
    say $"publishing to {publishFolder}"

    dotnet [
        "publish"
        host
        "-c"
        "Release"
        "--nologo"
        "-v"
        "quiet"
        "--use-current-runtime"
        "--self-contained"
        "false"
        "-p:PublishReadyToRun=true"
        "-o"
        publishFolder
    ]
        =
        0

let publish (_: string list) : unit =
    if not (tryPublish ()) then
        fail "the publish failed"

/// The program that starts fastest: compiled ahead, or as the build leaves it where the package of the compiler cannot be had.
let programToRun () : string =
    if tryPublish () then
        publishedProgram
    else
        say "without what compiles ahead, the program compiles while it starts"
        buildRelease host
        hostProgram

let run (arguments: string list) : unit =
    let exitCode = execute (programToRun ()) arguments

    if exitCode <> 0 then
        raise (BuildFailed("", exitCode))

// -------------------------------------------------------------------------------------------------------- measurements

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
        QuickMinutes = 1.0
        Arguments =
            fun quick results ->
                [ "--filter"; "*"; "--exporters"; "json"; "--artifacts"; Path.ChangeExtension(results, null) ]
                @ if quick then [ "--job"; "dry" ] else []
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

type Target = { Name: string; Summary: string; Run: string list -> unit }

let target name summary run = { Name = name; Summary = summary; Run = run }

let targets = [
    target "run" "build, then serve on 127.0.0.1:11211 with data in ./data; arguments are lsmfs's (-- --help)" run
    target "test" "build, check the format, run every test; arguments are Expecto's (-- --filter-test-list Wal)" test
    target "soak" "mixed load, restarts, kills and hostile clients; -- --minutes 30, as many as you like" soak
    target
        "coverage"
        "the lines of the engine that no test reaches; -- Engine.Tests measures one project anew and adds what is known"
        coverage
    target "build" "build everything, Release" build
    target
        "bench"
        "measure everything into bench/RESULTS.md (40 minutes); -- --quick (5), a part (load, embedded, process, micro), report or compaction"
        bench
    target
        "simulate"
        "the store on a simulated disk, from random seeds: -- --minutes N; one seed, told step by step: -- --seed N"
        simulate
    target "publish" "a folder to install, artifacts/lsmfs, precompiled for this kind of machine" publish
    target "pack" "NuGet packages, for programs that embed the store and for their tests, in artifacts/packages" pack
    target "format" "format every F# and C# file" format
]

let usage () =
    eprintfn "usage: dotnet fsi build.fsx <target> [-- arguments]"

    for target in targets do
        eprintfn $"  %-8s{target.Name} %s{target.Summary}"

let main (arguments: string list) : int =
    match arguments with
    | [] ->
        usage ()
        1
    | name :: rest ->
        match targets |> List.tryFind (fun target -> target.Name = name) with
        | None ->
            eprintfn $"there is no target '{name}'"
            usage ()
            1
        | Some target ->
            try
                // F# Interactive takes the first `--` for itself; the second, if there is one, is still here.
                target.Run(if List.tryHead rest = Some "--" then rest.Tail else rest)
                0
            with BuildFailed(message, exitCode) ->
                if message <> "" then
                    eprintfn $"FAILED: {message}"

                exitCode

exit (main (List.tail (List.ofArray fsi.CommandLineArgs)))
