/// libmemcached's tools, as Debian names them, against LsmFs and against memcached.
module LsmFs.Server.Tests.LibmemcachedTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto

let private servers (server: RestartableServer) = $"--servers={server.Address}"

/// Runs a tool, which must end with this exit code, and returns what it said on both streams.
let private run (tool: string) (arguments: string list) (exitCode: int) : string =
    let run = Executable.run tool arguments
    let said = run.Output + String.Join('\n', run.Errors)
    Expect.equal run.ExitCode exitCode $"{Path.GetFileName tool} {arguments}: {said}"
    said

/// memcapable's own tests of a server. Later releases of memcached than the tool do without the error for a word too many behind the
/// key of `delete`, so that these may fail, there.
let private capable (protocol: string) (tool: string) (server: RestartableServer) : unit =
    let run = Executable.run tool [ protocol; "-h"; "127.0.0.1"; "-p"; string server.Port; "-t"; "10" ]

    // Whose name is not followed by a verdict: that of a failure goes to stderr.
    let failed =
        Regex.Matches(run.Output, @"(ascii(?: [a-z]+)+) {2,}(?!\[| )")
        |> Seq.map _.Groups[1].Value
        |> List.ofSeq

    if server.Keeps || failed.IsEmpty then
        Expect.stringContains run.Output "All tests passed" $"{run.Errors}"
        Expect.equal run.ExitCode 0 "the exit code"
    else
        Expect.equal failed [ "ascii delete"; "ascii delete noreply" ] run.Output

let private toolNames = [
    "memccat"
    "memccp"
    "memcdump"
    "memcexist"
    "memcflush"
    "memcping"
    "memcrm"
    "memcslap"
    "memcstat"
    "memctouch"
]

/// One call of each tool at least, for what is there and for what is not.
let private everyTool (flags: string list) (tools: Map<string, string>) (server: RestartableServer) : unit =
    use folder = new TemporaryFolder()
    let file = folder.At "greeting"
    File.WriteAllText(file, "hello")

    let call tool arguments exitCode =
        // These speak text only.
        let flags = if tool = "memcdump" || tool = "memcping" then [] else flags
        run tools[tool] (servers server :: flags @ arguments) exitCode

    let says tool arguments exitCode part =
        Expect.stringContains (call tool arguments exitCode) part $"{tool} {arguments}"

    call "memcping" [] 0 |> ignore
    call "memccp" [ file ] 0 |> ignore
    says "memccp" [ "--add"; file ] 1 "memcached_add('greeting')"
    call "memccp" [ "--replace"; "--flags=17"; "--expire=100"; file ] 0 |> ignore
    Expect.equal ((call "memccat" [ "--flags"; "greeting" ] 0).Trim()) "17\nhello" "flags and value"
    call "memctouch" [ "--expire=1000"; "greeting" ] 0 |> ignore
    call "memctouch" [ "--expire=1000"; "nothing" ] 1 |> ignore
    call "memcexist" [ "greeting" ] 0 |> ignore
    call "memcexist" [ "nothing" ] 1 |> ignore
    let listed = (call "memcdump" [] 0).Trim()

    // memcached lists what has been there for some time.
    if server.Keeps then
        Expect.equal listed "greeting" "the only key"

    says "memcstat" [] 0 "curr_connections: "
    says "memcstat" [ "settings" ] 0 $"tcpport: {server.Port}"
    says "memcstat" [ "--server-version" ] 0 $"{server.Address} 1.6."
    says "memcstat" [ "--analyze" ] 0 "Number of Servers Analyzed         : 1"
    call "memcrm" [ "greeting" ] 0 |> ignore
    says "memcrm" [ "greeting" ] 1 ""

    for work in [ "set"; "get"; "mget" ] do
        says
            "memcslap"
            [ $"--test={work}"; "--concurrency=20"; "--execute-number=100"; "--flush" ]
            0
            "2000 keys by   20 threads"

    call "memccp" [ file ] 0 |> ignore
    call "memcflush" [ "--expire=1000" ] 0 |> ignore
    call "memcexist" [ "greeting" ] 0 |> ignore
    call "memcflush" [] 0 |> ignore
    call "memcexist" [ "greeting" ] 1 |> ignore

/// Many connections that check every value they read back.
let private loaded (flags: string list) (tool: string) (server: RestartableServer) : unit =
    let said =
        run
            tool
            ([ servers server; "--threads=2"; "--concurrency=64"; "--conn_sock=2" ]
             @ [ "--execute_number=40000"; "--verify=1.0"; "--division=20"; "--fixed_size=1000" ]
             @ flags)
            0

    for nothing in [ "get_misses: 0\n"; "verify_misses: 0\n"; "verify_failed: 0\n" ] do
        Expect.stringContains said nothing "memcaslap's counts"

    Expect.isFalse (said.Contains "cmd_get: 0\n") "values were read"

/// Files of several sizes up to what a value may be.
let private realFiles () : string list =
    let sizes = [ 0L, 100L; 100L, 2_000L; 2_000L, 20_000L; 20_000L, 120_000L; 120_000L, 1_000_000L ]

    let files =
        DirectoryInfo("/usr/share")
            .EnumerateFiles(
                "*",
                EnumerationOptions(
                    RecurseSubdirectories = true,
                    IgnoreInaccessible = true,
                    AttributesToSkip = FileAttributes.ReparsePoint
                )
            )
        // What a key may look like.
        |> Seq.filter (fun file ->
            file.Name
            |> Seq.forall (fun letter -> Char.IsAsciiLetterOrDigit letter || letter = '.' || letter = '-'))
        |> Seq.truncate 20_000
        |> List.ofSeq

    [
        for above, below in sizes do
            yield! files |> List.filter (fun file -> file.Length > above && file.Length <= below) |> List.truncate 4
    ]
    |> List.distinctBy _.Name
    |> List.map _.FullName

let private copiesFiles (paths: Map<string, string>) : unit =
    use folder = new TemporaryFolder()
    use copies = new TemporaryFolder()
    let files = realFiles ()
    Expect.isGreaterThan files.Length 10 "files to copy"
    let servers (server: ServerProcess) = $"--servers=127.0.0.1:{server.Port}"
    let call tool arguments exitCode = run paths[tool] arguments exitCode |> ignore

    let isCopied (server: ServerProcess) (path: string) =
        let key = string (Path.GetFileName path)
        let copy = copies.At "copy"
        call "memccat" [ servers server; $"--file={copy}"; key ] 0
        Expect.isTrue (File.ReadAllBytes copy = File.ReadAllBytes path) $"{path} is the same"

    do
        use server = ServerProcess.Start(folder.Path, "-m", "8")
        call "memccp" (servers server :: files) 0
        List.iter (isCopied server) files
        server.Kill()

    use server = ServerProcess.Start(folder.Path, "-m", "8")
    List.iter (isCopied server) files
    let removed, kept = List.splitAt 5 files

    for path in removed do
        let key = string (Path.GetFileName path)
        call "memcrm" [ servers server; key ] 0
        call "memcexist" [ servers server; key ] 1

    List.iter (isCopied server) kept
    server.StopCleanly()

/// Tools that show a password, by SASL, and one that shows a wrong one.
let private authenticated (paths: Map<string, string>) : unit =
    use folder = new TemporaryFolder()
    File.WriteAllText(folder.At "users", "user:pass\n")
    File.WriteAllText(folder.At "greeting", "hello")
    use server = ServerProcess.Start(folder.At "data", "-S", "-Y", folder.At "users")

    let call (tool: string) (password: string list) (arguments: string list) (exitCode: int) =
        run paths[tool] ([ $"--servers=127.0.0.1:{server.Port}"; "--binary" ] @ password @ arguments) exitCode

    let right = [ "--username=user"; "--password=pass" ]
    call "memccp" right [ folder.At "greeting" ] 0 |> ignore
    Expect.equal ((call "memccat" right [ "greeting" ] 0).Trim()) "hello" "the value"

    Expect.stringContains
        (call "memccat" [ "--username=user"; "--password=wrong" ] [ "greeting" ] 1)
        "AUTHENTICATION FAILURE"
        "the wrong password"

    call "memccat" [] [ "greeting" ] 1 |> ignore
    server.StopCleanly()

[<Tests>]
let tests =
    let tools = Peer.tryFindAll toolNames

    testList "Clients.libmemcached" [
        onBoth "memccapable -a" "memccapable" (Executable.tryFind "memccapable") (capable "-a")
        onBoth "memccapable -b" "memccapable" (Executable.tryFind "memccapable") (capable "-b")
        onBoth "every tool" "a tool of libmemcached" tools (everyTool [])
        onBoth "every tool, binary" "a tool of libmemcached" tools (everyTool [ "--binary" ])
        onBoth "memcaslap" "memcaslap" (Executable.tryFind "memcaslap") (loaded [])
        onBoth "memcaslap, binary" "memcaslap" (Executable.tryFind "memcaslap") (loaded [ "--binary" ])
        Peer.test "files, with a crash between" "a tool of libmemcached" tools copiesFiles
        Peer.test "passwords, binary" "a tool of libmemcached" tools authenticated
    ]
