module LsmFs.Cli.Tests.CommandLineTests

open System
open Expecto
open LsmFs.Cli
open LsmFs.Engine

let private wordsOf (line: string) = line.Split(' ', StringSplitOptions.RemoveEmptyEntries)

let private parse (line: string) = CommandLine.Parse(wordsOf line)

let private options (line: string) =
    match parse line with
    | Serve options -> options
    | other -> failtest $"'{line}' gave {other}"

let private refusal (line: string) =
    match parse line with
    | Refuse reason -> reason
    | other -> failtest $"'{line}' gave {other}"

let private at (host: string) (port: int) : ListenAddress = ListenAddress.At(host, port)

let private listens (line: string) (expected: ListenAddress list) =
    Expect.equal (List.ofSeq (options line).Addresses) expected line

let private plainSockets = {
    UnixSocket = ValueNone
    BacklogCount = 1024
    RequestCountMaxPerTurn = 2048
    IdleTimeoutSeconds = 0
    RefusesAtLimit = true
}

let private plainProcess = {
    IsDaemon = false
    PidFile = ValueNone
    User = ValueNone
    RaisesCoreLimit = false
    LocksMemory = false
    AllowsShutdown = false
}

let private refuses (line: string) (start: string) =
    let reason = refusal line
    Expect.stringStarts reason $"lsmfs: {start}" line
    Expect.isFalse (reason.Contains '\n') "a refusal is one line"

[<Tests>]
let tests =
    testList "CommandLine" [
        test "the flags are as Argu wants them" { Argu.ArgumentParser<ServeArguments>.CheckStructure() }

        test "nothing is said: the defaults" {
            let expected = {
                Addresses = [ at "127.0.0.1" 11211 ]
                Protocol = BindingProtocol.Negotiating
                Sockets = plainSockets
                Process = plainProcess
                ConnectionCountMax = 1024
                ThreadCount = Environment.ProcessorCount
                MemoryBudgetBytes = 67108864L
                ValueSizeBytesMax = 1048576
                Verbosity = 0
                DataFolder = "./data"
                Durability = Durability.Sync
                Compression = Compression.Lz4
                Restrictions = { NoFlush = false; NoDump = false }
                PasswordFile = ValueNone
                Tls = ValueNone
                Notices = []
            }

            Expect.equal (parse "") (Serve expected) "no word"
            Expect.equal (parse "serve") (Serve expected) "the subcommand alone"
        }

        test "every flag by letter and by name" {
            let expected = {
                Addresses = [ at "10.0.0.1" 11212 ]
                Protocol = BindingProtocol.Binary
                Sockets = plainSockets
                Process = plainProcess
                ConnectionCountMax = 7
                ThreadCount = 3
                MemoryBudgetBytes = 134217728L
                ValueSizeBytesMax = 2097152
                Verbosity = 2
                DataFolder = "/srv/lsmfs"
                Durability = Durability.Os
                Compression = Compression.Zstd
                Restrictions = { NoFlush = true; NoDump = true }
                PasswordFile = ValueNone
                Tls = ValueNone
                Notices = []
            }

            for line in
                [
                    "-p 11212 -B binary -l 10.0.0.1 -c 7 -t 3 -m 128 -I 2m -F -X -vv --data /srv/lsmfs --durability os --compression zstd"
                    "serve -p11212 -Bbinary -l10.0.0.1 -c7 -t3 -m128 -I2m -FX -v -v --data=/srv/lsmfs --durability=os --compression=zstd"
                    "--port 11212 --protocol binary --listen 10.0.0.1 --conn-limit 7 --threads 3 --memory-limit 128 --max-item-size 2m --disable-flush-all --disable-dumping --verbose --verbose --data /srv/lsmfs --durability os --compression zstd"
                ] do
                Expect.equal (parse line) (Serve expected) line
        }

        test "a flag given again replaces what it said" {
            Expect.equal (options "-c 1 -c 2").ConnectionCountMax 2 "-c"
            Expect.equal (options "--durability os --durability memory").Durability Durability.Memory "--durability"
        }

        test "-l takes memcached's forms" {
            listens "-l localhost" [ at "localhost" 11211 ]
            listens "-l *" [ at "*" 11211 ]
            listens "-l 0.0.0.0:1" [ at "0.0.0.0" 1 ]
            listens "-l ::1" [ at "::1" 11211 ]
            listens "-l [::1]" [ at "::1" 11211 ]
            listens "-l [::1]:11213" [ at "::1" 11213 ]

            listens "-l 127.0.0.1,[::]:12,my-host.example:13 -p 14" [
                at "127.0.0.1" 14
                at "::" 12
                at "my-host.example" 13
            ]

            listens "-l 127.0.0.1 -l 127.0.0.2;127.0.0.3" [
                at "127.0.0.1" 11211
                at "127.0.0.2" 11211
                at "127.0.0.3" 11211
            ]
        }

        test "-l takes memcached's prefixes" {
            let plain = ListenAddress.At("127.0.0.1", 11212)

            for text, expected in
                [
                    "proto[ascii]:127.0.0.1:11212", { plain with Protocol = ValueSome BindingProtocol.Ascii }
                    "proto[binary]:127.0.0.1:11212", { plain with Protocol = ValueSome BindingProtocol.Binary }
                    "proto[auto]:127.0.0.1:11212", { plain with Protocol = ValueSome BindingProtocol.Negotiating }
                    "tag[12345678]:127.0.0.1:11212", { plain with Tag = "12345678" }
                    "tag_tools_:127.0.0.1:11212", { plain with Tag = "tools" }
                    "notls:127.0.0.1:11212", { plain with Tls = ListenTls.Off }
                    "btls:127.0.0.1:11212", { plain with Tls = ListenTls.Basic }
                    "mtls:proto_ascii_:tag[a]:127.0.0.1:11212",
                    {
                        plain with
                            Tls = ListenTls.Mutual
                            Protocol = ValueSome BindingProtocol.Ascii
                            Tag = "a"
                    }
                    "proto[ascii]:[::1]:7",
                    { ListenAddress.At("::1", 7) with Protocol = ValueSome BindingProtocol.Ascii }
                ] do
                Expect.equal (Values.parseAddress 1 text) (Ok expected) text
                Expect.equal (Values.parseAddress 1 (string expected)) (Ok expected) $"{text}, as it is printed"

            refuses "-l proto[foo]:127.0.0.1" "proto[...] of -l takes ascii, binary or negotiating, not 'foo'"
            refuses "-l tag[]:127.0.0.1" "tag[...] of -l takes a name of 1 to 8 characters, not ''"
            refuses "-l tag[toolongtag]:127.0.0.1" "tag[...] of -l takes a name of 1 to 8 characters, not 'toolongtag'"
            // memcached has them in this order, too.
            refuses "-l tag[a]:proto[ascii]:127.0.0.1" "-l takes addresses such as"
            refuses "-l proto[ascii:127.0.0.1" "-l takes addresses such as"
        }

        test "a bad -l is refused" {
            for value in
                [
                    "256.1.1.1"
                    "127.0.0.1:99999"
                    "127.0.0.1:"
                    "127.0.0.1:x"
                    ":11211"
                    "11211"
                    "abc,,"
                    ","
                    "[::1"
                    "[127.0.0.1]"
                    "[::1]x"
                    "::1]"
                    "1::2::3"
                    "host_with/slash"
                ] do
                refuses $"-l {value}" "-l takes addresses such as"

        }

        test "an address reads back as it is printed" {
            for text in [ "127.0.0.1:11211"; "[::1]:2"; "localhost:0"; "*:7" ] do
                Expect.equal (Values.parseAddress 1 text |> Result.map string) (Ok text) text
        }

        test "-p" {
            Expect.equal (options "-p 65535").Addresses[0].Port 65535 "the last port"
            Expect.equal (options "-p 0").Addresses[0].Port 0 "any free port"
            Expect.equal (options "-p -1").Addresses[0].Port 0 "memcached's word for any free port"

            for value in [ "65536"; "-2"; "abc"; "1x"; "0x10"; "+1"; "=11212"; "99999999999999999999" ] do
                refuses $"-p {value}" "-p takes a TCP port"
        }

        test "flags of sockets and connections" {
            let given = {
                UnixSocket = ValueSome { Path = "/run/lsmfs.sock"; Mode = enum<System.IO.UnixFileMode> 0o770 }
                BacklogCount = 5
                RequestCountMaxPerTurn = 20
                IdleTimeoutSeconds = 60
                RefusesAtLimit = false
            }

            for line in
                [
                    "-s /run/lsmfs.sock -a 0770 -b 5 -R 20 -o idle_timeout=60,no_maxconns_fast"
                    "--unix-socket /run/lsmfs.sock --unix-mask 770 --listen-backlog 5 --max-reqs-per-event 20 --extended idle_timeout=60 -o maxconns_fast,no_maxconns_fast"
                ] do
                Expect.equal (options line).Sockets given line

            for value in [ "999"; "0o700"; "foo"; "1777"; "-1"; "00700" ] do
                refuses $"-s a -a {value}" "-a takes the octal mode of a file"

            for value in [ "x"; "-1"; "99999999999" ] do
                refuses $"-b {value}" "-b takes a number of connections"
                refuses $"-o idle_timeout={value}" "-o idle_timeout takes a number of seconds"

            for value in [ "0"; "x"; "-5" ] do
                refuses $"-R {value}" "-R takes a number of requests of at least 1"
        }

        test "flags of the process" {
            let given = {
                IsDaemon = true
                PidFile = ValueSome "/run/lsmfs.pid"
                User = ValueSome "nobody"
                RaisesCoreLimit = true
                LocksMemory = true
                AllowsShutdown = true
            }

            for line in
                [
                    "-drkA -u nobody -P /run/lsmfs.pid"
                    "--daemon --enable-coredumps --lock-memory --enable-shutdown --user nobody --pidfile=/run/lsmfs.pid"
                ] do
                Expect.equal (options line).Process given line

            refuses "-u" "-u needs a value"
        }

        test "numbers of at least one" {
            for value in [ "0"; "-1"; "abc"; "1.5"; "99999999999999999999" ] do
                refuses $"-c {value}" "-c takes a number of connections of at least 1"
                refuses $"-t {value}" "-t takes a number of threads from 1 to 1024"

            refuses "-t 1025" "-t takes a number of threads from 1 to 1024"
        }

        test "-m" {
            Expect.equal (options "-m 8").MemoryBudgetBytes 8388608L "the least"
            Expect.equal (options "-m 1000000").MemoryBudgetBytes 1048576000000L "more than 32 bits"

            Expect.equal (options "-m 2").MemoryBudgetBytes 8388608L "raised to the least"

            for value in [ "0"; "-64"; "64m"; "abc"; "99999999999" ] do
                refuses $"-m {value}" "-m takes a number of MiB of at least 8"
        }

        test "-I" {
            for value, bytes in [ "1024", 1024; "1k", 1024; "512K", 524288; "4m", 4194304; "1000000", 1000000 ] do
                Expect.equal (options $"-I {value}").ValueSizeBytesMax bytes value

            Expect.equal (options "-I 1024m -m 2048").ValueSizeBytesMax 1073741824 "the most"

            for value in [ "1000"; "1023"; "0"; "-1"; "1025m"; "1g"; "k"; "m"; "1kk"; "abc"; "9999999999999m" ] do
                refuses $"-I {value} -m 4096" "-I takes a size from 1k to 1024m"

            refuses "-I 33m" "-I must be at most half of -m"
            refuses "-I 1024m" "-I must be at most half of -m"
        }

        test "-B" {
            Expect.equal (options "-B auto").Protocol BindingProtocol.Negotiating "auto"
            Expect.equal (options "-B ascii").Protocol BindingProtocol.Ascii "ascii"
            refuses "-B foo" "-B takes auto, ascii or binary, not 'foo'"
            Expect.equal (options "-Y file").Protocol BindingProtocol.Ascii "passwords are shown in the text protocol"
            Expect.equal (options "-Y file -B ascii").Protocol BindingProtocol.Ascii "and nothing else is spoken"
            refuses "-Y file -B auto" "-Y is for the text protocol"
            refuses "-Y file -B binary" "-Y is for the text protocol"
            refuses "-Y file -l proto[binary]:127.0.0.1" "-Y is for the text protocol"
            Expect.equal (options "-Y file -S").Protocol BindingProtocol.Negotiating "SASL is for the binary protocol"
            Expect.equal (options "-Y file -S -B binary").Protocol BindingProtocol.Binary "and -B still counts"
            refuses "-S" "-S takes its users from a file: add -Y FILE"
            refuses "-Y file -S -B ascii" "-S is for the binary protocol, which -B ascii forbids"
        }

        test "--compression" {
            Expect.equal (options "--compression none").Compression Compression.None "none"
            Expect.equal (options "--compression lz4").Compression Compression.Lz4 "lz4"
            refuses "--compression gzip" "--compression takes none, lz4 or zstd, not 'gzip'"
        }

        test "--durability and --data" {
            Expect.equal (options "--durability sync").Durability Durability.Sync "sync"
            refuses "--durability fsync" "--durability takes sync, os or memory, not 'fsync'"


            Expect.equal (options "--data a=b").DataFolder "a=b" "an equals sign in a path"
            Expect.equal (options "--data -v").DataFolder "-v" "a value that looks like a flag"
        }

        test "what is unknown is refused by name" {
            refuses "--foo" "there is no flag --foo"
            refuses "-%" "there is no flag -%"
            refuses "sevre -p 1" "there is no subcommand 'sevre'"
            Expect.equal CommandLine.RefusalExitCode 64 "EX_USAGE"
        }

        test "-V and -h" {
            for line in [ "-V"; "--version"; "serve -V"; "-vV" ] do
                match parse line with
                | ShowVersion text -> Expect.isMatch text @"^lsmfs \d+\.\d+\.\d+$" line
                | other -> failtest $"'{line}' gave {other}"

            for line in [ "-h"; "--help"; "serve --help"; "-V -h" ] do
                match parse line with
                | ShowHelp text ->
                    for name in
                        [
                            "-p, --port <"
                            "-l, --listen <"
                            "-c, --conn-limit <"
                            "-t, --threads <"
                            "-m, --memory-limit <"
                            "-I, --max-item-size <"
                            "--data <"
                            "--durability <"
                            "--compression <"
                            "-v, --verbose"
                            "-V, --version"
                            "-h, --help"
                        ] do
                        Expect.stringContains text name line
                | other -> failtest $"'{line}' gave {other}"
        }

        test "any words at all give an answer, and a refusal is one line" {
            let words = [|
                "-p"
                "-l"
                "--"
                "-"
                ""
                "="
                "--port="
                "--data="
                "-vV"
                "serve"
                "\t"
                "é"
                "--="
                "--data=a\nb"
                "\n"
            |]

            for first in words do
                for second in words do
                    match CommandLine.Parse [| first; second |] with
                    | Refuse reason -> Expect.isFalse (reason.Contains '\n') reason
                    | _ -> ()
        }
    ]
