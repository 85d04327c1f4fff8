module LsmFs.Process.Tests.ProcessTests

open System.IO
open System.Net
open System.Net.Sockets
open Expecto
open LsmFs.Process.Tests.ServerProcess

let private store (port: int) (key: string) (value: string) =
    Expect.equal (ask port $"set {key} 7 0 {value.Length}\r\n{value}\r\n" "\r\n") "STORED\r\n" $"set {key}"

let private holds (port: int) (key: string) (value: string) =
    Expect.equal
        (ask port $"get {key}\r\n" "END\r\n")
        $"VALUE {key} 7 {value.Length}\r\n{value}\r\nEND\r\n"
        $"get {key}"

/// The run ended with this exit code and one line on stderr that starts so.
let private failsWith (exitCode: int) (start: string) (ended: Ended) =
    let failures = ended.Errors |> List.filter (fun line -> not (line.Contains " info: "))
    Expect.equal failures.Length 1 $"one line: %A{ended.Errors}"
    Expect.stringStarts failures.Head start "what went wrong"
    Expect.equal ended.ExitCode exitCode "the exit code"

/// A store with one key in the folder, closed.
let private fill (folder: string) =
    let ended = serving folder [] Terminate (fun port -> store port "key" "value")
    Expect.equal ended.ExitCode 0 "the store is closed cleanly"

let private keepsData (signal: Signal) (flags: string list) =
    withFolder (fun folder ->
        let ended = serving folder flags signal (fun port -> store port "key" "value")

        if signal <> Kill then
            Expect.equal ended.ExitCode 0 $"%A{signal} ends cleanly: %A{ended.Errors}"

        serving folder flags Terminate (fun port -> holds port "key" "value") |> ignore)

[<Tests>]
let tests =
    testSequenced
    <| testList "Process" [
        test "-V and -h print on stdout and end with 0" {
            let version = run [ "-V" ]
            Expect.equal version.ExitCode 0 "-V"
            Expect.isMatch version.Output @"^lsmfs \d+\.\d+\.\d+\s*$" "the version"
            let help = run [ "-h" ]
            Expect.equal help.ExitCode 0 "-h"
            Expect.stringContains help.Output "--durability" "the flags"
            Expect.isEmpty (version.Errors @ help.Errors) "nothing on stderr"
        }

        test "a refused command line is one line and 64" {
            run [ "-p"; "abc" ] |> failsWith 64 "lsmfs: -p takes a TCP port"
            run [ "--no-such-flag" ] |> failsWith 64 "lsmfs: there is no flag --no-such-flag"
        }

        for signal in [ Terminate; Interrupt; User1 ] do
            test $"%A{signal} stops it with 0, and the data is there afterwards" { keepsData signal [] }

        for durability in [ "sync"; "os" ] do
            test $"a kill under --durability {durability} keeps what was acknowledged" {
                keepsData Kill [ "--durability"; durability ]
            }

        test "--durability memory says that nothing is logged, and a clean stop keeps the data" {
            keepsData Terminate [ "--durability"; "memory" ]

            withFolder (fun folder ->
                let ended = serving folder [ "--durability"; "memory" ] Terminate ignore

                Expect.exists ended.Errors (fun line -> line.Contains " warning: durability is 'memory'") "a warning")
        }

        test "the log says what is served, where, and how durably, an entry a line" {
            withFolder (fun folder ->
                let ended = serving folder [ "-l"; "127.0.0.1" ] Terminate ignore

                Expect.exists
                    ended.Errors
                    (fun line ->
                        line.Contains $"data in {folder}"
                        && line.Contains "durability sync"
                        && line.Contains "127.0.0.1:")
                    "what an operator wants to know"

                for line in ended.Errors do
                    Expect.isMatch
                        line
                        @"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning|error): \S"
                        "a log line")
        }

        test "a port in use is one line and 1, and the folder is free again" {
            withFolder (fun folder ->
                use holder = new TcpListener(IPAddress.Loopback, 0)
                holder.Start()
                let port = (holder.LocalEndpoint :?> IPEndPoint).Port

                run [ "-p"; string port; "--data"; folder ]
                |> failsWith 1 $"lsmfs: cannot listen on 127.0.0.1:{port}: address already in use"

                fill folder)
        }

        test "a folder that another process has open is one line and 1" {
            withFolder (fun folder ->
                serving folder [] Terminate (fun port ->
                    run [ "-p"; "0"; "--data"; folder ] |> failsWith 1 $"lsmfs: the data folder {folder} is in use"
                    store port "key" "value"
                    holds port "key" "value")
                |> ignore)
        }

        test "a folder that cannot be made is one line and 1" {
            withFolder (fun path ->
                File.WriteAllText(path, "a file where the folder should be")
                run [ "-p"; "0"; "--data"; path ] |> failsWith 1 "lsmfs: cannot "
                run [ "-p"; "0"; "--data"; Path.Combine(path, "below") ] |> failsWith 1 "lsmfs: cannot ")
        }

        test "a damaged file is one line that names it, and 1" {
            for pattern in [ "CURRENT"; "MANIFEST-*" ] do
                withFolder (fun folder ->
                    fill folder
                    let file = DirectoryInfo(folder).GetFiles pattern |> Array.exactlyOne
                    let bytes = File.ReadAllBytes file.FullName
                    bytes[0] <- bytes[0] ^^^ 0xFFuy
                    File.WriteAllBytes(file.FullName, bytes)
                    let ended = run [ "-p"; "0"; "--data"; folder ]
                    ended |> failsWith 1 "lsmfs: "
                    Expect.stringContains (String.concat "" ended.Errors) file.Name "the file's name")
        }

        test "an address that this machine has not is one line and 1" {
            withFolder (fun folder ->
                run [ "-p"; "0"; "-l"; "192.0.2.1"; "--data"; folder ]
                |> failsWith 1 "lsmfs: cannot listen on 192.0.2.1:0"

                run [ "-p"; "0"; "-l"; "no-such-host.invalid"; "--data"; folder ]
                |> failsWith 1 "lsmfs: cannot listen on no-such-host.invalid")
        }
    ]
