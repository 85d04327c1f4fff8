/// The program `lsmfs` as an operator has it: started from the folder it was built into, stopped by signals, judged by what it prints
/// and by its exit code.
module LsmFs.Process.Tests.ServerProcess

open System
open System.Collections.Concurrent
open System.Diagnostics
open System.IO
open System.Net.Sockets
open System.Runtime.InteropServices
open System.Text
open System.Text.RegularExpressions
open Expecto

[<DllImport("libc", SetLastError = true)>]
extern int private kill(int processId, int signal)

/// How long anything may take on a busy machine before the test gives up.
let private patience = TimeSpan.FromSeconds 60.0

let private program =
    Path.Combine(AppContext.BaseDirectory, (if OperatingSystem.IsWindows() then "lsmfs.exe" else "lsmfs"))

/// A signal, by its number.
type Signal =
    | Interrupt
    | Kill
    | User1
    | Terminate

    member signal.Number =
        match signal with
        | Interrupt -> 2
        | Kill -> 9
        | User1 -> if OperatingSystem.IsLinux() then 10 else 30
        | Terminate -> 15

/// What a finished run left behind.
type Ended = { ExitCode: int; Output: string; Errors: string list }

/// A run of lsmfs. Disposing kills what is still running.
[<Sealed>]
type Running(arguments: string list) =
    let output = StringBuilder()
    let errors = ConcurrentQueue<string>()

    let info =
        ProcessStartInfo(program, arguments, RedirectStandardOutput = true, RedirectStandardError = true)

    let child =
        match Process.Start info with
        | null -> failtest "lsmfs did not start"
        | child -> child

    do
        child.OutputDataReceived.Add(fun line ->
            if not (isNull line.Data) then
                output.AppendLine line.Data |> ignore)

        child.ErrorDataReceived.Add(fun line ->
            match line.Data with
            | null -> ()
            | text -> errors.Enqueue text)

        child.BeginOutputReadLine()
        child.BeginErrorReadLine()

    /// The lines on stderr so far.
    member _.Errors = List.ofSeq errors

    /// Waits until the log says that it serves, and gives the first port.
    member running.WaitUntilServing() : int =
        let clock = Stopwatch.StartNew()

        let rec wait () =
            let served =
                running.Errors
                |> List.tryPick (fun line ->
                    let found = Regex.Match(line, @"serves memcached on \S*:(\d+)")

                    if found.Success then
                        Some(int found.Groups[1].Value)
                    else
                        None)

            match served with
            | Some port -> port
            | None when child.HasExited || clock.Elapsed > patience ->
                failtest $"lsmfs does not serve: %A{running.Errors}"
            | None ->
                Threading.Thread.Sleep 5
                wait ()

        wait ()

    /// Sends a signal.
    member _.Send(signal: Signal) = Expect.equal (kill (child.Id, signal.Number)) 0 "the signal is delivered"

    /// Waits for the end.
    member running.WaitForEnd() : Ended =
        if not (child.WaitForExit patience) then
            failtest $"lsmfs does not end: %A{running.Errors}"

        // Without a time limit it also waits for the last lines.
        child.WaitForExit()

        { ExitCode = child.ExitCode; Output = string output; Errors = running.Errors }

    interface IDisposable with
        member _.Dispose() =
            if not child.HasExited then
                child.Kill()
                child.WaitForExit()

            child.Dispose()

/// Runs lsmfs to its end.
let run (arguments: string list) : Ended =
    use running = new Running(arguments)
    running.WaitForEnd()

/// Serves the folder on a free port while `body` runs with that port, then sends the signal and gives what the end was like.
let serving (folder: string) (flags: string list) (signal: Signal) (body: int -> unit) : Ended =
    use running = new Running([ "-p"; "0"; "--data"; folder ] @ flags)
    body (running.WaitUntilServing())
    running.Send signal
    running.WaitForEnd()

/// Sends the request and reads until the reply ends so.
let ask (port: int) (request: string) (ending: string) : string =
    use client = new TcpClient("127.0.0.1", port)
    client.ReceiveTimeout <- int patience.TotalMilliseconds
    let stream = client.GetStream()
    stream.Write(ReadOnlySpan(Encoding.Latin1.GetBytes request))
    let reply = StringBuilder()
    let buffer = Array.zeroCreate<byte> 4096

    let rec read () =
        if not ((string reply).EndsWith(ending, StringComparison.Ordinal)) then
            match stream.Read(buffer, 0, buffer.Length) with
            | 0 -> failtest $"the connection ended after '{reply}'"
            | count ->
                reply.Append(Encoding.Latin1.GetString(buffer, 0, count)) |> ignore
                read ()

    read ()
    string reply

/// A new folder's path for the time of the body; the folder itself is lsmfs's to create.
let withFolder (body: string -> unit) : unit =
    let parent = Directory.CreateTempSubdirectory "lsmfs-test-"

    try
        body (Path.Combine(parent.FullName, "data"))
    finally
        parent.Delete true
