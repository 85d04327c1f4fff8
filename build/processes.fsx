// Where things are, and how the build runs other programs.

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Threading

/// Ends the script with one line on stderr and this exit code.
exception BuildFailed of message: string * exitCode: int

let fail message = raise (BuildFailed(message, 1))

let root = Path.GetDirectoryName __SOURCE_DIRECTORY__
let solution = Path.Combine(root, "LsmFs.sln")
let host = Path.Combine(root, "Host.CSharp")

let hostProgram =
    Path.Combine(host, "bin", "Release", "net10.0", (if OperatingSystem.IsWindows() then "lsmfs.exe" else "lsmfs"))

let isSet (variable: string) = Environment.GetEnvironmentVariable variable = "1"


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


let buildRelease (project: string) : unit =
    say $"building {Path.GetFileName project} (Release)"
    require "the build failed" [ "build"; project; "-c"; "Release"; "--nologo"; "-v"; "quiet" ]

let build (_: string list) : unit = buildRelease solution
