/// Sessions of clients that others wrote: programs of tests/clients that check what their library answers, go through a restart of the
/// server with the client they have, and end with one line. Each is run against memcached as well, so that what it expects is not
/// only what LsmFs does.
module LsmFs.Server.Tests.ClientTests

open System
open System.Diagnostics
open System.IO
open System.Text.RegularExpressions
open System.Threading.Tasks
open Expecto

let private scripts = Path.GetFullPath(Path.Combine(__SOURCE_DIRECTORY__, "..", "clients"))

/// A client's program: the interpreter and what it is given, the script first.
type private Session = { Interpreter: string; Arguments: string list }

/// The interpreter, if there is one that can do what the session needs: it runs this to an end that is good.
let private session (interpreters: string list) (probe: string list) (arguments: string list) : Session option =
    interpreters
    |> List.choose (fun name ->
        if Path.IsPathRooted name then
            Some name
        else
            Executable.tryFind name)
    |> List.tryFind (fun path -> File.Exists path && (Executable.runIn scripts path probe).ExitCode = 0)
    |> Option.map (fun interpreter -> {
        Interpreter = interpreter
        Arguments = Path.Combine(scripts, arguments.Head) :: arguments.Tail
    })

/// How a session ended, and the last line of what it said.
type private Ending = { ExitCode: int; LastLine: string; Errors: string }

/// Runs a session to its end. When it says "restart", the first server is restarted and it is told so.
let private run (session: Session) (first: RestartableServer) (second: RestartableServer) (fate: string) : Ending =
    let script, rest = session.Arguments.Head, session.Arguments.Tail

    let info =
        ProcessStartInfo(
            session.Interpreter,
            script :: first.Address :: second.Address :: fate :: rest @ first.ClientArguments,
            WorkingDirectory = Path.GetTempPath(),
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    use child =
        match Process.Start info with
        | null -> failtest $"{session.Interpreter} does not start"
        | child -> child

    let errors = child.StandardError.ReadToEndAsync()

    let talk =
        task {
            let mutable last = ""
            let! line = child.StandardOutput.ReadLineAsync()
            let mutable line = line

            while not (isNull line) do
                last <- string line

                if last = "restart" then
                    first.Restart()
                    child.StandardInput.Write "restarted\n"
                    child.StandardInput.Flush()

                let! next = child.StandardOutput.ReadLineAsync()
                line <- next

            return last
        }

    if not (Task.WhenAll(talk, errors).Wait(TimeSpan.FromSeconds 120.)) then
        child.Kill(entireProcessTree = true)
        failtest $"{script} does not end; it said {errors.Result}"

    child.WaitForExit()

    { ExitCode = child.ExitCode; LastLine = talk.Result; Errors = errors.Result }

let private passes (session: Session) (first: RestartableServer) (second: RestartableServer) : unit =
    let ending = run session first second (if first.Keeps then "keeps" else "forgets")
    Expect.equal ending.ExitCode 0 $"{ending.LastLine} {ending.Errors}"
    Expect.isTrue (Regex.IsMatch(ending.LastLine, @"^\S+ [\d.]+: \d+ checks$")) $"the last line is '{ending.LastLine}'"

/// The session is told that memcached keeps what it has, and must find out that it does not.
let private noticesLoss (session: Session) (first: RestartableServer) (second: RestartableServer) : unit =
    let ending = run session first second "keeps"
    Expect.equal ending.LastLine "restart" "all was right until the restart"
    Expect.notEqual ending.ExitCode 0 "the loss is noticed"
    Expect.stringContains ending.Errors "after a restart: expected" "and told"

let private memcached = Executable.tryFind "memcached"

let private clientTestsBy (way: Way) (name: string) (what: string) (session: Session option) : Test =
    let withMemcached body =
        match session, memcached with
        | Some session, Some memcached ->
            Some(fun () ->
                use first = RestartableServer.Memcached(memcached, way)
                use second = RestartableServer.Memcached(memcached, way)
                body session first second)
        | _ -> None

    testList name [
        Peer.test "lsmfs" what session (fun session ->
            use first = RestartableServer.LsmFs way
            use second = RestartableServer.LsmFs way
            passes session first second)

        Peer.test "memcached" $"{what} or memcached" (withMemcached passes) (fun run -> run ())
        Peer.test "memcached, believed to keep" $"{what} or memcached" (withMemcached noticesLoss) (fun run -> run ())
    ]

let private clientTests = clientTestsBy Tcp

/// Debian's own python3 has Debian's packages; another one may come first in the PATH.
let private python (library: string) (arguments: string list) =
    session [ "/usr/bin/python3"; "python3" ] [ "-c"; $"import {library}" ] arguments

/// What `npm ci` has put into tests/clients.
let private node (library: string) (arguments: string list) =
    session [ "node" ] [ "-e"; $"require('{library}')" ] arguments

let private php (extension: string) (arguments: string list) =
    session [ "php" ] [ "-r"; $"exit(extension_loaded('{extension}') ? 0 : 1);" ] arguments

let private perl (library: string) (arguments: string list) = session [ "perl" ] [ $"-M{library}"; "-e"; "1" ] arguments

let private ruby (library: string) (arguments: string list) =
    session [ "ruby" ] [ "-e"; $"require '{library}'" ] arguments

/// What installs Node's clients.
let private npm = "what `npm ci` installs in tests/clients"

[<Tests>]
let tests =
    testList "Clients" [
        clientTests "pymemcache" "python3-pymemcache" (python "pymemcache" [ "python/pymemcache_session.py" ])

        clientTestsBy
            UnixSocket
            "pymemcache on a unix socket"
            "python3-pymemcache"
            (python "pymemcache" [ "python/pymemcache_session.py" ])

        clientTestsBy
            Tls
            "pymemcache, encrypted"
            "python3-pymemcache"
            (python "pymemcache" [ "python/pymemcache_session.py" ])

        clientTests "pylibmc" "python3-pylibmc" (python "pylibmc" [ "python/pylibmc_session.py" ])
        clientTests "pylibmc, binary" "python3-pylibmc" (python "pylibmc" [ "python/pylibmc_session.py"; "binary" ])
        clientTests "python-memcached" "python3-memcache" (python "memcache" [ "python/memcache_session.py" ])

        clientTests
            "nutcracker between pymemcache and two servers"
            "nutcracker"
            (Executable.tryFind "nutcracker"
             |> Option.bind (fun _ -> python "pymemcache" [ "python/nutcracker_session.py" ]))

        clientTests "memcached for Node" npm (node "memcached" [ "node/memcached.js" ])
        clientTests "memcache-client for Node" npm (node "memcache-client" [ "node/memcache-client.js" ])
        clientTestsBy
            Tls
            "memcache-client for Node, encrypted"
            npm
            (node "memcache-client" [ "node/memcache-client.js" ])
        clientTests "memjs for Node, binary" npm (node "memjs" [ "node/memjs.js" ])
        clientTests "php-memcached" "php-memcached" (php "memcached" [ "php/memcached_session.php" ])
        clientTests "php-memcached, binary" "php-memcached" (php "memcached" [ "php/memcached_session.php"; "binary" ])

        clientTests
            "Cache::Memcached::Fast"
            "libcache-memcached-fast-perl"
            (perl "Cache::Memcached::Fast" [ "perl/cache_memcached_fast.pl" ])

        clientTests "Dalli, binary" "ruby-dalli" (ruby "dalli" [ "ruby/dalli_session.rb" ])
    ]
