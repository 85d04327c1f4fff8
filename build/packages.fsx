// What others get: the program, compiled ahead, and the packages.

#load "processes.fsx"

open System
open System.Diagnostics
open System.IO
open Processes

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
