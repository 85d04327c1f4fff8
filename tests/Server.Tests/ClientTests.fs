/// Clients that others wrote. Where one is not installed its test is skipped, and counted as ignored; with LSMFS_REQUIRE_PEERS=1 it
/// fails instead.
module LsmFs.Server.Tests.ClientTests

open System
open System.IO
open Expecto

let private isRequired = Environment.GetEnvironmentVariable "LSMFS_REQUIRE_PEERS" = "1"

/// A test that needs something which may be missing.
let private clientTest (name: string) (what: string) (peer: 'peer option) (body: 'peer -> unit) : Test =
    match peer with
    | Some peer -> testCase name <| fun () -> body peer
    | None when isRequired -> testCase name <| fun () -> failtest $"{what} is missing and LSMFS_REQUIRE_PEERS is 1"
    | None -> ptestCase $"{name} ({what} is missing)" ignore

let private tools (names: string list) : Map<string, string> option =
    let found =
        names |> List.choose (fun name -> Executable.tryFind name |> Option.map (fun path -> name, path))

    if found.Length = names.Length then
        Some(Map found)
    else
        None

/// Debian's own python3 has Debian's pymemcache; another one may come first in the PATH.
let private python: string option =
    [ Some "/usr/bin/python3"; Executable.tryFind "python3" ]
    |> List.choose id
    |> List.tryFind (fun python ->
        File.Exists python && (Executable.run python [ "-c"; "import pymemcache" ]).ExitCode = 0)

let private capable (paths: Map<string, string>) : unit =
    use folder = new TemporaryFolder()
    use server = ServerProcess.Start folder.Path

    let run =
        Executable.run paths["memccapable"] [ "-a"; "-h"; "127.0.0.1"; "-p"; string server.Port; "-t"; "10" ]

    let said = run.Output + String.Join('\n', run.Errors)
    Expect.equal run.ExitCode 0 said
    Expect.stringContains said "All tests passed" "the verdict"
    server.StopCleanly()

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

    let run (tool: string) (arguments: string list) =
        let run = Executable.run paths[tool] arguments
        Expect.equal run.ExitCode 0 $"{tool} {arguments}: {run.Errors}"
        run.Output

    let isCopied (server: ServerProcess) (path: string) =
        let key = string (Path.GetFileName path)
        let copy = copies.At "copy"
        run "memccat" [ servers server; $"--file={copy}"; key ] |> ignore
        Expect.isTrue (File.ReadAllBytes copy = File.ReadAllBytes path) $"{path} is the same"

    do
        use server = ServerProcess.Start(folder.Path, "-m", "8")
        run "memccp" (servers server :: files) |> ignore
        List.iter (isCopied server) files
        server.Kill()

    use server = ServerProcess.Start(folder.Path, "-m", "8")
    List.iter (isCopied server) files
    let removed, kept = List.splitAt 5 files

    for path in removed do
        let key = string (Path.GetFileName path)
        run "memcrm" [ servers server; key ] |> ignore
        Expect.notEqual (Executable.run paths["memcexist"] [ servers server; key ]).ExitCode 0 $"{key} is gone"

    List.iter (isCopied server) kept
    Expect.stringContains (run "memcstat" [ servers server ]) "curr_connections" "memcstat"
    server.StopCleanly()

let private pymemcache (python: string) : unit =
    use folder = new TemporaryFolder()
    let script = Path.Combine(AppContext.BaseDirectory, "pymemcache_session.py")

    for part in [ "before"; "after" ] do
        use server = ServerProcess.Start folder.Path
        let run = Executable.run python [ script; string server.Port; part ]
        Expect.equal run.ExitCode 0 $"{part}: {run.Errors}"
        server.StopCleanly()

[<Tests>]
let tests =
    testList "Clients" [
        clientTest "memccapable -a passes" "memccapable" (tools [ "memccapable" ]) capable

        clientTest
            "memccp, memccat, memcrm, memcexist and memcstat, with a crash between"
            "a tool of libmemcached"
            (tools [ "memccp"; "memccat"; "memcrm"; "memcexist"; "memcstat" ])
            copiesFiles

        clientTest "pymemcache, with a restart between" "pymemcache" python pymemcache
    ]
