/// memcached's flags at a real start: what is said, and what memcached itself makes of the same flags.
module LsmFs.Server.Tests.FlagTests

open System
open System.IO
open System.Net
open System.Net.Sockets
open System.Threading
open Expecto
open LsmFs.Cli

let private words (line: string) = line.Split(' ', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

/// The entries of the log without their times.
let private entries (server: ServerProcess) = server.Errors |> List.map (fun line -> line[line.IndexOf ' ' + 1 ..])

/// What becomes of a command line.
type private Verdict =
    /// lsmfs and memcached serve.
    | BothServe
    /// Both end at once, and not well.
    | BothRefuse
    /// Only lsmfs serves, since...
    | OnlyLsmFsServes of string
    /// Only memcached serves, since...
    | OnlyMemcachedServes of string

// What the releases 1.6.18 and 1.6.45 agree on.
let private verdicts = [
    "-m 64 -c 1024 -t 2 -I 2m", BothServe
    "-m 64m", OnlyMemcachedServes "a number is a number: memcached reads it as far as it is one"
    "-m 0", BothRefuse
    "-m x", BothRefuse
    "-m 2", BothServe
    "-I 1000", BothRefuse
    "-I 1g", BothRefuse
    "-I 1025m -m 4096", BothRefuse
    "-I 33m", BothRefuse
    "-t 0", BothRefuse
    "-t x", BothRefuse
    "-c 0", BothRefuse
    "-c x", BothRefuse
    "-f 0.5", BothRefuse
    "-f 1", BothRefuse
    "-f x", BothRefuse
    "-f 1.05", BothServe
    "-n 0", BothRefuse
    "-n x", BothRefuse
    "-n 64", BothServe
    "-p 70000", BothRefuse
    "-l 256.1.1.1", BothRefuse
    "-U 0", BothServe
    "-U x", OnlyMemcachedServes "a number is a number"
    "-N 0", BothRefuse
    "-b 0", BothServe
    "-b x", OnlyMemcachedServes "a number is a number"
    "-R 0", BothRefuse
    "-R x", BothRefuse
    "-a 700", BothServe
    "-a 9", OnlyMemcachedServes "9 is no octal digit"
    "-F -X -W", BothServe
    "-A -r -D :", BothServe
    "-B ascii", BothServe
    "-B auto", BothServe
    "-B junk", BothRefuse
    "-L", BothServe
    "-M -C", BothServe
    "-M word", BothServe
    "--memory-l 64", BothServe
    "--me 64", BothRefuse
    "--slab-growth-factor=1.3", BothServe
    "--no-such-flag", BothRefuse
    "-%", BothRefuse
    "-m", BothRefuse
    "-o modern", BothServe
    "-o junk", OnlyLsmFsServes "start scripts outlive the releases that they were written for"
    "-o ,", OnlyLsmFsServes "nothing is asked for"
    "-o maxconns_fast,no_maxconns_fast", BothServe
    "-o idle_timeout=60", BothServe
    "-o idle_timeout", BothRefuse
    "-o idle_timeout=x", OnlyMemcachedServes "a number is a number"
    "-o hashpower=16", BothServe
    "-o hashpower", BothRefuse
    "-o hashpower=x", BothRefuse
    "-o hashpower=5", BothRefuse
    "-o hashpower=70", BothRefuse
    "-o hash_algorithm=jenkins", BothServe
    "-o hash_algorithm=md5", BothRefuse
    "-o tail_repair_time=5", BothRefuse
    "-o tail_repair_time=60", BothServe
    "-o lru_crawler,no_lru_crawler", BothServe
    "-o lru_crawler_sleep=100", BothServe
    "-o lru_crawler_sleep=2000000", BothRefuse
    "-o lru_crawler_sleep=x", OnlyMemcachedServes "a number is a number"
    "-o lru_crawler_tocrawl=x", BothRefuse
    "-o read_buf_mem_limit=x", BothRefuse
    "-o hot_lru_pct=90", BothRefuse
    "-o hot_lru_pct=30,warm_lru_pct=30", BothServe
    "-o hot_max_factor=x", BothRefuse
    "-o warm_max_factor=0", BothRefuse
    "-o temporary_ttl", BothRefuse
    "-o slab_chunk_max=x", BothRefuse
    "-o slab_chunk_max=512", BothServe
    "-o watcher_logbuf_size=x", BothRefuse
    "-o worker_logbuf_size=128", BothServe
    "-o slab_reassign,slab_automove=1,no_slab_automove,no_slab_reassign", BothServe
    "-o slab_automove_window=1", BothRefuse
    "-o slab_automove_ratio=0.5,slab_automove_freeratio=0.02", BothServe
    "-o no_hashexpand,no_chunked_items,no_lru_maintainer", BothServe
    "-o no_modern", BothServe
    "-o inline_ascii_resp,no_inline_ascii_resp", BothServe
    "-o no_hashpower", OnlyLsmFsServes "as an unknown one"
]

let private unit =
    File.ReadAllLines(Path.Combine(__SOURCE_DIRECTORY__, "..", "..", "packaging", "lsmfs.service"))

/// Whether memcached serves with these flags: it is given a port, and asked until it answers or is gone.
let private memcachedServes (path: string) (line: string) : bool =
    let port = Ports.take ()

    let flags =
        [ "-u"; "root" ]
        @ (if line.Contains "-U" then [] else [ "-U"; "0" ])
        @ (if line.Contains "-l" && not (line.Contains "--") then
               []
           else
               [ "-l"; "127.0.0.1" ])
        @ [ "-p"; string port ]
        @ words line

    use child = Executable.start path flags (Path.GetTempPath())
    child.BeginOutputReadLine()
    child.BeginErrorReadLine()

    let rec outcome (attempts: int) =
        if child.HasExited then
            false
        else
            try
                use probe = new TcpClient()
                probe.Connect(IPAddress.Loopback, port)
                true
            with :? SocketException when attempts > 0 ->
                Thread.Sleep 20
                outcome (attempts - 1)

    try
        outcome 1000
    finally
        if not child.HasExited then
            child.Kill()
            child.WaitForExit()

[<Tests>]
let tests =
    testList "Flags" [
        testCase "a start script's flags without effect are told before anything is served, and those that work are not"
        <| fun () ->
            use folder = new TemporaryFolder()

            use server =
                ServerProcess.Start(
                    folder.Path,
                    "-m 64 -c 100 -t 2 -I 1m -M -f 1.2 -n 64 -U 11211 -C -o modern,slab_reassign,ext_path=/mnt/ext:1G"
                        .Split
                        ' '
                )

            server.StopCleanly()

            Expect.equal
                (entries server |> List.takeWhile (fun line -> not (line.Contains " opened ")))
                [
                    "info: -f, -n, -o slab_reassign have no effect: there are no slabs, an item takes the bytes that it has"
                    "warning: -U 11211 has no effect: UDP is not spoken, and clients that use it get no answer"
                    "info: -C has no effect: a cas unique is the number of the write, which takes no memory of its own"
                    "warning: -o ext_path has no effect: all items are in files, in the folder of --data, and nothing is written elsewhere"
                ]
                "the lines"

        testCase "a wrong value is one line on stderr, and 64"
        <| fun () ->
            for line, start in
                [
                    "-m x", "lsmfs: -m takes a number of MiB"
                    "-I 1000", "lsmfs: -I takes a size from 1k"
                    "-t x", "lsmfs: -t takes a number of threads"
                    "-c 0", "lsmfs: -c takes a number of connections"
                    "-f 0.5", "lsmfs: -f takes a number above 1"
                    "-n 0", "lsmfs: -n takes a number from 1"
                    "-p 70000", "lsmfs: -p takes a TCP port"
                    "-l :", "lsmfs: -l takes addresses"
                    "-o hashpower=x", "lsmfs: -o hashpower takes a number"
                    "-o proxy_config=routelib", "lsmfs: -o proxy_config: lsmfs is no proxy"
                ] do
                let refused = Executable.run Executable.lsmfs (words line)
                Expect.equal refused.ExitCode 64 line
                Expect.equal refused.Output "" line
                Expect.equal refused.Errors.Length 1 $"{line}: {refused.Errors}"
                Expect.stringStarts refused.Errors.Head start line

        testCase "an empty value is refused, too"
        <| fun () ->
            let refused = Executable.run Executable.lsmfs [ "-l"; "" ]
            Expect.equal refused.ExitCode 64 "-l ''"
            Expect.stringStarts refused.Errors.Head "lsmfs: -l needs a value" "-l ''"

        testCase "-i prints the licences on stdout and ends with 0"
        <| fun () ->
            let licence = Executable.run Executable.lsmfs [ "-i" ]
            Expect.equal licence.ExitCode 0 "-i"
            Expect.stringContains licence.Output "Permission is hereby granted" "the licence"
            Expect.isEmpty licence.Errors "nothing on stderr"

        testCase "the chosen ports are in the file that MEMCACHED_PORT_FILENAME names"
        <| fun () ->
            use folder = new TemporaryFolder()
            let file = folder.At "ports"

            let flags = [
                $"MEMCACHED_PORT_FILENAME={file}"
                Executable.lsmfs
                "-p"
                "-1"
                "-l"
                "127.0.0.1,127.0.0.2"
                "--data"
                folder.At "data"
            ]

            use child = Executable.start "/usr/bin/env" flags folder.Path
            child.BeginOutputReadLine()
            child.BeginErrorReadLine()

            try
                while not (File.Exists file) do
                    Expect.isFalse child.HasExited "the server serves"
                    Thread.Sleep 10

                let ports = File.ReadAllLines file
                Expect.equal ports.Length 2 "a line for each listener"

                for line, address in Array.zip ports [| "127.0.0.1"; "127.0.0.2" |] do
                    Expect.stringStarts line "TCP INET: " "as memcached writes it"
                    use client = new TcpClient()
                    client.Connect(address, int (line.Substring "TCP INET: ".Length))
            finally
                child.Kill()
                child.WaitForExit()

        testCase "a file of ports that cannot be written is one line, and the server serves"
        <| fun () ->
            use folder = new TemporaryFolder()

            let flags = [
                $"""MEMCACHED_PORT_FILENAME={folder.At "missing/ports"}"""
                Executable.lsmfs
                "-p"
                "0"
                "--data"
                folder.At "data"
            ]

            use child = Executable.start "/usr/bin/env" flags folder.Path

            let rec linesUntilServing lines =
                match child.StandardError.ReadLine() with
                | null -> failtest $"the server serves: {lines}"
                | line when line.Contains " serves memcached on " -> lines
                | line -> linesUntilServing (line :: lines)

            try
                Expect.exists
                    (linesUntilServing [])
                    _.Contains(" error: the file of MEMCACHED_PORT_FILENAME, ")
                    "what is missing"
            finally
                child.Kill()
                child.WaitForExit()

        testList "Verdicts" [
            for line, verdict in verdicts do
                testCase $"lsmfs {line}"
                <| fun () ->
                    let serves =
                        match CommandLine.Parse(Array.ofList (words line)) with
                        | Serve _ -> true
                        | Refuse _ -> false
                        | other -> failtest $"{line} gave {other}"

                    Expect.equal serves (verdict.IsBothServe || verdict.IsOnlyLsmFsServes) line
        ]

        testCase "the unit for systemd starts lsmfs with flags that work"
        <| fun () ->
            let command = unit |> Array.find _.StartsWith("ExecStart=/opt/lsmfs/lsmfs ")
            let written = words command |> List.tail
            let options = words "-m 1024 -c 4096 -l 127.0.0.1,::1"
            Expect.exists unit _.Contains(String.concat " " options) "the example"

            match CommandLine.Parse(Array.ofList ((written |> List.except [ "$OPTIONS" ]) @ options)) with
            | Serve options ->
                Expect.equal options.DataFolder "/var/lib/lsmfs" "where StateDirectory= is"
                Expect.isEmpty options.Notices "nothing to say"
            | other -> failtest $"the unit's command line gave {other}"

        Peer.test "systemd takes the unit" "systemd-analyze" (Executable.tryFind "systemd-analyze")
        <| fun analyze ->
            use folder = new TemporaryFolder()
            let path = folder.At "lsmfs.service"
            // The program is where the tests built it, not where it is installed.
            File.WriteAllLines(path, unit |> Array.map _.Replace("/opt/lsmfs/lsmfs serve", $"{Executable.lsmfs} serve"))
            let verified = Executable.run analyze [ "verify"; "--man=no"; path ]
            Expect.isEmpty verified.Errors "nothing to say"
            Expect.equal verified.ExitCode 0 "the unit"

        testSequenced
        <| testList "Memcached peers" [
            Peer.test "memcached makes of every flag what the table says" "memcached" (Executable.tryFind "memcached")
            <| fun path ->
                for line, verdict in verdicts do
                    Expect.equal
                        (memcachedServes path line)
                        (verdict.IsBothServe || verdict.IsOnlyMemcachedServes)
                        $"memcached {line}"
        ]
    ]
