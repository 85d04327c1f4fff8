// The build, as a script of the SDK alone: dotnet fsi build.fsx <target> [-- arguments]
// It references no package. `dotnet` restores what the projects and the tool manifest name, and nothing else is fetched.

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
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

/// Runs a program to its end on our own stdin, stdout and stderr, and gives its exit code.
let execute (program: string) (arguments: string list) : int =
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

    child.WaitForExit()
    child.ExitCode

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

let run (arguments: string list) : unit =
    buildRelease host
    let exitCode = execute hostProgram arguments

    if exitCode <> 0 then
        raise (BuildFailed("", exitCode))

let bench (arguments: string list) : unit =
    let runBench (project: string) (arguments: string list) =
        let folder = Path.Combine(root, "bench", project)
        buildRelease folder
        require "the benchmark failed" ([ "run"; "--no-build"; "-c"; "Release"; "--project"; folder; "--" ] @ arguments)

    match arguments with
    | "micro" :: rest -> runBench "Micro" rest
    | "compaction" :: rest -> runBench "Compaction" rest
    | "embedded" :: rest ->
        let out =
            if List.contains "--out" rest then
                []
            else
                [ "--out"; Path.Combine(root, "artifacts", "embedded.md") ]

        runBench "Embedded" (out @ rest)
    | command :: _ when not (command.StartsWith '-') -> runBench "Load" arguments
    | options ->
        buildRelease host
        let report = Path.Combine(root, "artifacts", "bench.md")
        Directory.CreateDirectory(Path.Combine(root, "artifacts")) |> ignore

        let unless name defaults = if List.contains name options then [] else name :: defaults

        runBench "Load" ("suite" :: unless "--lsmfs" [ $"\"{hostProgram}\"" ] @ unless "--out" [ report ] @ options)

let publish (_: string list) : unit =
    let output = Path.Combine(root, "artifacts", "lsmfs")
    say $"publishing to {output}"

    require "the publish failed" [
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
        output
    ]

type Target = { Name: string; Summary: string; Run: string list -> unit }

let target name summary run = { Name = name; Summary = summary; Run = run }

let targets = [
    target "run" "build, then serve on 127.0.0.1:11211 with data in ./data; arguments are lsmfs's (-- --help)" run
    target "test" "build, check the format, run every test; arguments are Expecto's (-- --filter-test-list Wal)" test
    target "soak" "mixed load, restarts, kills and hostile clients; -- --minutes 30, as many as you like" soak
    target "build" "build everything, Release" build
    target
        "bench"
        "side by side with memcached, into artifacts/bench.md; -- micro, compaction or embedded for those"
        bench
    target "publish" "a folder to install, artifacts/lsmfs, precompiled for this kind of machine" publish
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
