/// What the program says of itself.
module LsmFs.Server.Tests.ProgramTests

open System.Net
open System.Net.Sockets
open Expecto

let private run (arguments: string list) = Executable.run Executable.lsmfs arguments

/// The run ended with 1, and said so in one line.
let private failsWith (start: string) (refused: ExecutableRun) : unit =
    let failures = refused.Errors |> List.filter (fun line -> not (line.Contains " info: "))
    Expect.equal failures.Length 1 $"one line: {refused.Errors}"
    Expect.stringStarts failures.Head start "the line"
    Expect.equal refused.ExitCode 1 "the exit code"

[<Tests>]
let tests =
    testList "Program" [
        testCase "-V and -h print on stdout and end with 0"
        <| fun () ->
            let version = run [ "-V" ]
            Expect.equal version.ExitCode 0 "-V"
            Expect.isMatch version.Output @"^lsmfs \d+\.\d+\.\d+\s*$" "the version"
            let help = run [ "-h" ]
            Expect.equal help.ExitCode 0 "-h"
            Expect.stringContains help.Output "--durability" "the flags"
            Expect.isEmpty (version.Errors @ help.Errors) "nothing on stderr"

        testCase "the log says what is served, where, and how durably, an entry a line"
        <| fun () ->
            use folder = new TemporaryFolder()
            use server = ServerProcess.Start(folder.Path, "--durability", "memory")
            server.StopCleanly()
            let lines = server.Errors

            Expect.exists
                lines
                (fun line ->
                    line.Contains $"127.0.0.1:{server.Port}"
                    && line.Contains $"data in {folder.Path}"
                    && line.Contains "durability memory")
                "what an operator wants to know"

            Expect.exists lines (fun line -> line.Contains " warning: durability is 'memory'") "a warning"

            for line in lines do
                Expect.isMatch line @"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning|error): \S" "a log line"

        testCase "an address that this machine has not is one line and 1"
        <| fun () ->
            for address in [ "192.0.2.1"; "no-such-host.invalid" ] do
                use folder = new TemporaryFolder()

                run [ "-p"; "0"; "-l"; address; "--data"; folder.Path ]
                |> failsWith $"lsmfs: cannot listen on {address}"

        testCase "a port in use is one line and 1, and the folder is free again"
        <| fun () ->
            use folder = new TemporaryFolder()
            use holder = new TcpListener(IPAddress.Loopback, 0)
            holder.Start()
            let port = (holder.LocalEndpoint :?> IPEndPoint).Port

            run [ "-p"; string port; "--data"; folder.Path ]
            |> failsWith $"lsmfs: cannot listen on 127.0.0.1:{port}: address already in use"

            use server = ServerProcess.Start folder.Path
            server.StopCleanly()

        testCase "a folder that another process has open is one line and 1, and that process goes on"
        <| fun () ->
            use folder = new TemporaryFolder()
            use server = ServerProcess.Start folder.Path

            run [ "-p"; "0"; "--data"; folder.Path ]
            |> failsWith $"lsmfs: the data folder {folder.Path} is in use by another process"

            use client = new TextClient(server.Port)
            Expect.equal (client.Store("set key 0 0", "value")) "STORED" "it serves"
            Expect.equal (client.TryGetText "key") (Some "value") "it serves"
    ]
