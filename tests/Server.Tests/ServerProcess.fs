namespace LsmFs.Server.Tests

open System
open System.Collections.Concurrent
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Text.RegularExpressions
open System.Threading
open System.Threading.Tasks
open Expecto

/// A folder for one test, removed with all that is in it.
[<Sealed>]
type TemporaryFolder() =
    let path = Directory.CreateTempSubdirectory("lsmfs-test-").FullName

    member _.Path = path

    /// A path in the folder.
    member _.At(name: string) = Path.Combine(path, name)

    interface IDisposable with
        member _.Dispose() = Directory.Delete(path, recursive = true)

/// What a program said and how it ended.
type ExecutableRun = { ExitCode: int; Output: string; Errors: string list }

/// Starting programs.
[<RequireQualifiedAccess>]
module Executable =

    let private timeout = TimeSpan.FromSeconds 30.

    /// The built `lsmfs`, in the configuration the tests were built in.
    let lsmfs: string =
        // tests/Server.Tests/bin/<configuration>/net10.0/
        let framework = DirectoryInfo(AppContext.BaseDirectory.TrimEnd Path.DirectorySeparatorChar)

        let configuration =
            framework.Parent |> Option.ofObj |> Option.map _.Name |> Option.defaultValue "Release"

        let name = if OperatingSystem.IsWindows() then "lsmfs.exe" else "lsmfs"

        Path.GetFullPath(
            Path.Combine(framework.FullName, "../../../../../Host.CSharp/bin", configuration, framework.Name, name)
        )

    /// A program of the PATH.
    let tryFind (name: string) : string option =
        (string (Environment.GetEnvironmentVariable "PATH")).Split Path.PathSeparator
        |> Array.map (fun folder -> Path.Combine(folder, name))
        |> Array.tryFind File.Exists

    /// Starts a program with redirected streams and nothing on stdin.
    let start (path: string) (arguments: string list) (workingFolder: string) : Process =
        let info =
            ProcessStartInfo(
                path,
                arguments,
                WorkingDirectory = workingFolder,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true
            )

        match Process.Start info with
        | null -> failtest $"{path} does not start"
        | child ->
            child.StandardInput.Close()
            child

    let private lines (text: string) = text.Split('\n', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

    /// Runs a program to its end, which must come within half a minute.
    let runIn (workingFolder: string) (path: string) (arguments: string list) : ExecutableRun =
        use child = start path arguments workingFolder
        let output = child.StandardOutput.ReadToEndAsync()
        let errors = child.StandardError.ReadToEndAsync()

        if not (child.WaitForExit timeout) then
            child.Kill(entireProcessTree = true)
            failtest $"{Path.GetFileName path} {arguments} does not end; it said {errors.Result}{output.Result}"

        {
            ExitCode = child.ExitCode
            Output = output.Result
            Errors = lines errors.Result
        }

    /// Runs a program to its end.
    let run (path: string) (arguments: string list) : ExecutableRun = runIn (Path.GetTempPath()) path arguments

module private Libc =

    [<DllImport("libc", SetLastError = true)>]
    extern int kill(int processId, int signal)

/// The signals that tests send, as Linux numbers them.
type Signal =
    | HangUp = 1
    | Interrupt = 2
    | User1 = 10
    | Terminate = 15

/// A running `lsmfs` on a free port of the loopback interface. It is killed when the object is disposed, and when the tests end
/// in whatever way lets them say so.
[<Sealed>]
type ServerProcess private (child: Process) =
    static let running = ConcurrentDictionary<int, Process>()

    static do
        AppDomain.CurrentDomain.ProcessExit.Add(fun _ ->
            for child in running.Values do
                child.Kill())

    let errors = ConcurrentQueue<string>()
    let port = TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously)
    let exited = TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)

    do
        running[child.Id] <- child

        child.ErrorDataReceived.Add(fun line ->
            match line.Data with
            | null ->
                port.TrySetException(InvalidOperationException "the server ended before it served") |> ignore
                exited.TrySetResult() |> ignore
            | text ->
                errors.Enqueue text
                let serving = Regex.Match(text, @" serves memcached on (?:127\.0\.0\.1:(\d+)|/)")

                if serving.Success then
                    // No port is the path of a socket.
                    let isPort = serving.Groups[1].Success
                    port.TrySetResult(if isPort then int serving.Groups[1].Value else 0) |> ignore)

        child.BeginErrorReadLine()

    /// Starts the program on a data folder and does not wait until it serves.
    static member Launch(folder: string, [<ParamArray>] flags: string[]) : ServerProcess =
        let arguments = [ "-p"; "0"; "--data"; folder ] @ List.ofArray flags
        new ServerProcess(Executable.start Executable.lsmfs arguments (Path.GetTempPath()))

    /// Starts the program on a data folder and returns when it serves.
    static member Start(folder: string, [<ParamArray>] flags: string[]) : ServerProcess =
        let server = ServerProcess.Launch(folder, flags)

        try
            server.WaitUntilServing()
            server
        with _ ->
            (server :> IDisposable).Dispose()
            reraise ()

    /// Returns when the server accepts connections, and fails when it ends instead.
    member server.WaitUntilServing() : unit =
        let isServing =
            try
                port.Task.Wait(TimeSpan.FromSeconds 30.)
            with :? AggregateException ->
                false

        if not isServing then
            failtest $"the server does not serve: {server.Errors}"

    /// Where it listens; 0 when that is a socket in the file system.
    member _.Port: int = port.Task.Result

    /// The number of the process.
    member _.Id: int = child.Id

    /// What it has said on stderr so far: after an answer, the line about it may still be on its way.
    member _.Errors: string list = List.ofSeq errors

    /// Returns when it has said a line on stderr with these words; fails when it does not within half a minute.
    member server.AwaitError(words: string) : unit =
        if not (SpinWait.SpinUntil((fun () -> server.Errors |> List.exists _.Contains(words)), 30_000)) then
            failtest $"no line with '{words}': {server.Errors}"

    member _.HasExited: bool = child.HasExited

    /// Memory that is in RAM now, in bytes.
    member _.ResidentBytes: int64 =
        child.Refresh()
        child.WorkingSet64

    member _.Send(signal: Signal) : unit =
        if Libc.kill (child.Id, int signal) <> 0 then
            failtest $"cannot send {signal}"

    /// SIGKILL: nothing of the program runs after it. Returns when the process is gone.
    member _.Kill() : unit =
        child.Kill()
        child.WaitForExit()

    /// Asks the program to stop with a signal; returns its exit code and how long it took, with all it said read.
    member server.Stop(signal: Signal) : struct (int * TimeSpan) =
        server.Send signal
        server.WaitForExit()

    /// Waits until the program ends, which something has asked it to; its exit code and how long it took, with all it said read.
    member server.WaitForExit() : struct (int * TimeSpan) =
        let watch = Stopwatch.StartNew()

        if not (child.WaitForExit(TimeSpan.FromSeconds 20.)) then
            failtest $"the server does not stop: {server.Errors}"

        let elapsed = watch.Elapsed
        exited.Task.Wait(TimeSpan.FromSeconds 30.) |> ignore
        struct (child.ExitCode, elapsed)

    /// Stops the program with SIGTERM and expects it to end well.
    member server.StopCleanly() : unit =
        let struct (exitCode, _) = server.Stop Signal.Terminate
        Expect.equal exitCode 0 $"the exit code of a clean stop: {server.Errors}"

    interface IDisposable with
        member _.Dispose() =
            running.TryRemove child.Id |> ignore

            if not child.HasExited then
                child.Kill()
                child.WaitForExit()

            child.Dispose()
