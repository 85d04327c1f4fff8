/// What the process is: in the background, under another user, with a file of its number, on a socket with a path; and what ends it.
module LsmFs.Server.Tests.ProcessTests

open System
open System.Diagnostics
open System.IO
open System.Net.Sockets
open System.Runtime.InteropServices
open System.Text.RegularExpressions
open System.Threading
open Expecto

module private Libc =

    [<DllImport("libc", SetLastError = true)>]
    extern int kill(int processId, int signal)

    [<DllImport("libc", SetLastError = true)>]
    extern int chown([<MarshalAs(UnmanagedType.LPUTF8Str)>] string path, int user, int group)

let private nobody = 65534

let private eventually (what: string) (condition: unit -> bool) =
    Expect.isTrue (SpinWait.SpinUntil(condition, 30_000)) what

let private isRunning (processId: int) = Directory.Exists $"/proc/{processId}"

let private status (processId: int) (field: string) =
    File.ReadAllLines $"/proc/{processId}/status"
    |> Array.find (fun line -> line.StartsWith $"{field}:")
    |> fun line -> line.Substring(field.Length + 1).Split([| '\t'; ' ' |], StringSplitOptions.RemoveEmptyEntries)

/// Lines that are neither news nor warnings.
let private failures (run: ExecutableRun) =
    run.Errors |> List.filter (fun line -> not (line.Contains " info: " || line.Contains " warning: "))

/// Starts a server in the background on a free port; it is killed at the end whatever happened.
let private inBackground (folder: TemporaryFolder) (flags: string list) (body: int -> int -> unit) =
    let pidFile = folder.At "pid"

    let run =
        Executable.run Executable.lsmfs ([ "-d"; "-p"; "0"; "--data"; folder.At "data"; "-P"; pidFile ] @ flags)

    Expect.equal run.ExitCode 0 $"it has started: {run.Errors}"
    // The file is there before the command returns, as start scripts want it.
    let processId = int (File.ReadAllText pidFile)

    try
        let serving =
            run.Errors |> List.map (fun line -> Regex.Match(line, @" serves memcached on 127\.0\.0\.1:(\d+)"))

        let port = serving |> List.find _.Success
        body processId (int port.Groups[1].Value)
    finally
        if isRunning processId then
            Libc.kill (processId, 9) |> ignore

let private daemon () =
    use folder = new TemporaryFolder()

    inBackground folder [] (fun processId port ->
        use client = new TextClient(port)
        Expect.equal (client.Ask "set a 0 0 1\r\nx") "STORED" "it serves"

        eventually "its streams lead nowhere" (fun () ->
            [ 0; 1; 2 ]
            |> List.forall (fun descriptor ->
                (FileInfo $"/proc/{processId}/fd/{descriptor}").LinkTarget = "/dev/null"))

        // The sixth field; the second, the name, may have spaces.
        let stat = File.ReadAllText $"/proc/{processId}/stat"
        let session = stat.Substring(stat.LastIndexOf ')').Split(' ')[4]
        Expect.equal session (string processId) "it leads a session"
        Libc.kill (processId, 1) |> ignore
        Expect.equal (client.TryGetText "a") (Some "x") "the end of a terminal is nothing to it"
        Libc.kill (processId, 15) |> ignore
        eventually "it stops" (fun () -> not (isRunning processId))
        Expect.isFalse (File.Exists(folder.At "pid")) "the file of its number is gone"

        let again = Executable.run Executable.lsmfs [ "-d"; "-c"; "0" ]

        Expect.equal again.ExitCode 64 "a wrong flag is refused at once"
        Expect.equal again.Errors.Length 1 "in one line")

    inBackground folder [] (fun _ port ->
        use client = new TextClient(port)
        Expect.equal (client.TryGetText "a") (Some "x") "the data are there"

        let second =
            Executable.run Executable.lsmfs [
                "-d"
                "-p"
                string port
                "--data"
                folder.At "other"
                "-P"
                folder.At "other.pid"
            ]

        Expect.equal second.ExitCode 1 "the exit code of the one in the background"
        Expect.equal (failures second).Length 1 $"one line: {second.Errors}"
        Expect.stringContains (failures second).Head $"cannot listen on 127.0.0.1:{port}" "which says why"
        Expect.isFalse (File.Exists(folder.At "other.pid")) "no file of a number that does not serve")

let private closedStreams () =
    use folder = new TemporaryFolder()
    let pid = folder.At "pid"
    let command = $"exec '{Executable.lsmfs}' -d -p 0 --data '{folder.Path}' -P '{pid}' <&- >&- 2>&-"
    let run = Executable.run "/bin/sh" [ "-c"; command ]
    Expect.equal run.ExitCode 0 "it serves"
    let processId = int (File.ReadAllText pid)

    try
        Libc.kill (processId, 15) |> ignore
        eventually "it stops" (fun () -> not (isRunning processId))
    finally
        if isRunning processId then
            Libc.kill (processId, 9) |> ignore

    // Nobody can be told, but by the exit code.
    let refused = Executable.run "/bin/sh" [ "-c"; command.Replace("-p 0", "-l 192.0.2.1") ]
    Expect.equal refused.ExitCode 1 "it does not serve"

let private pidFile () =
    use folder = new TemporaryFolder()
    let path = folder.At "pid"

    do
        use server = ServerProcess.Start(folder.At "data", "-P", path)
        eventually "it is written" (fun () -> File.Exists path)
        Expect.equal (File.ReadAllText path) $"{server.Id}\n" "the number of the process"
        server.StopCleanly()
        Expect.isFalse (File.Exists path) "removed at the stop"

    // Numbers of others: one that runs, and one that took over meanwhile.
    File.WriteAllText(path, $"{Environment.ProcessId}\n")
    use server = ServerProcess.Start(folder.At "data", "-P", path)

    eventually "it is told that the other one runs" (fun () ->
        server.Errors
        |> List.exists (fun line -> line.Contains $"was that of process {Environment.ProcessId}, which is running"))

    eventually "it is written" (fun () -> File.ReadAllText path = $"{server.Id}\n")
    File.WriteAllText(path, "1\n")
    server.StopCleanly()
    Expect.equal (File.ReadAllText path) "1\n" "another's file is left alone"

let private pidFileRefused () =
    use folder = new TemporaryFolder()
    use server = ServerProcess.Start(folder.At "data", "-P", folder.At "no/such/pid")

    eventually "it is told" (fun () ->
        server.Errors
        |> List.exists (fun line -> line.Contains " warning: the pid file " && line.Contains "cannot be written"))

    use client = new TextClient(server.Port)
    Expect.stringStarts (client.Ask "version") "VERSION" "it serves nevertheless, as memcached does"
    server.StopCleanly()

let private shutdown (command: string) () =
    use folder = new TemporaryFolder()
    use server = ServerProcess.Start(folder.Path, "-A")
    use client = new TextClient(server.Port)

    for line in [ "shutdown now"; "shutdown gracefully"; "shutdown graceful 1"; "shutdown a b" ] do
        Expect.equal (client.Ask line) "CLIENT_ERROR invalid shutdown mode" line

    client.Send "shutdown noreply\r\nshutdown graceful noreply\r\n"
    Expect.stringStarts (client.Ask "version") "VERSION" "a mode that does not exist stops nothing"
    client.Send $"set a 0 0 1\r\nx\r\n{command}\r\nset a 0 0 1\r\ny\r\n"
    Expect.equal (client.ReadToEnd()) "STORED\r\n" "what was before it is answered, and nothing behind it is done"
    let struct (exitCode, _) = server.WaitForExit()
    Expect.equal exitCode 0 "a clean stop"
    use again = ServerProcess.Start folder.Path
    use client = new TextClient(again.Port)
    Expect.equal (client.TryGetText "a") (Some "x") "what was acknowledged is there"
    again.StopCleanly()

let private hangup () =
    use folder = new TemporaryFolder()
    use server = ServerProcess.Start folder.Path
    use client = new TextClient(server.Port)
    server.Send Signal.HangUp
    Expect.stringStarts (client.Ask "version") "VERSION" "it goes on"
    server.StopCleanly()

let private connect (path: string) =
    let socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
    socket.ReceiveTimeout <- 30_000
    socket.Connect(UnixDomainSocketEndPoint path)
    socket

let private version (path: string) =
    use socket = connect path
    socket.Send "version\r\nquit\r\n"B |> ignore
    let bytes: byte[] = Array.zeroCreate 100
    Text.Encoding.ASCII.GetString(bytes, 0, socket.Receive bytes)

let private unixSocket () =
    use folder = new TemporaryFolder()
    let path = folder.At "socket"
    let mode () = int (File.GetUnixFileMode path)

    do
        use server = ServerProcess.Start(folder.At "data", "-s", path)
        Expect.equal (mode ()) 0o700 "the mode without -a"
        Expect.stringStarts (version path) "VERSION" "it serves"
        Expect.equal server.Port 0 "on no port"

        let second = Executable.run Executable.lsmfs [ "-s"; path; "--data"; folder.At "other" ]

        Expect.equal second.ExitCode 1 "two servers on one path"
        Expect.equal (failures second).Length 1 $"one line: {second.Errors}"
        Expect.stringContains (failures second).Head "another process listens there" "which says why"
        Expect.stringStarts (version path) "VERSION" "the first one goes on"
        server.Kill()

    Expect.isTrue (File.Exists path) "a crash leaves it behind"
    use server = ServerProcess.Start(folder.At "data", "-s", path, "-a", "0777")
    Expect.equal (mode ()) 0o777 "the mode of -a, whatever the umask"
    Expect.stringStarts (version path) "VERSION" "it serves"
    server.StopCleanly()
    Expect.isFalse (File.Exists path) "a stop removes it"

let private unknownUser () =
    use folder = new TemporaryFolder()

    let run =
        Executable.run Executable.lsmfs [ "-p"; "0"; "-u"; "no-such-user"; "--data"; folder.At "data" ]

    Expect.equal run.ExitCode 1 "refused"
    Expect.equal run.Errors [ "lsmfs: there is no user 'no-such-user' to serve as; name one with -u" ] "in one line"
    Expect.isFalse (Directory.Exists(folder.At "data")) "before anything was done"

let private otherUser () =
    use folder = new TemporaryFolder()
    let data = folder.At "data"
    Directory.CreateDirectory data |> ignore
    File.SetUnixFileMode(folder.Path, enum<UnixFileMode> 0o755)
    let foreign = Executable.run Executable.lsmfs [ "-p"; "0"; "-u"; "nobody"; "--data"; data ]
    Expect.equal foreign.ExitCode 1 "a folder that the user may not write"
    Expect.stringContains (failures foreign).Head "not writable by this user" "one line says so"
    Libc.chown (data, nobody, nobody) |> ignore
    use server = ServerProcess.Start(data, "-u", "nobody")
    use client = new TextClient(server.Port)
    Expect.equal (client.Ask "set a 0 0 1\r\nx") "STORED" "it serves"

    for field in [ "Uid"; "Gid" ] do
        Expect.equal (status server.Id field) (Array.replicate 4 (string nobody)) $"{field}, for good"

    Expect.equal (status server.Id "Groups") [| string nobody |] "none of root's groups"
    server.StopCleanly()

let private lockAndCore () =
    use folder = new TemporaryFolder()
    use server = ServerProcess.Start(folder.Path, "-r", "-k")

    let core =
        File.ReadAllLines $"/proc/{server.Id}/limits" |> Array.find _.StartsWith("Max core file size")

    let columns = core.Substring(25).Split(' ', StringSplitOptions.RemoveEmptyEntries)
    Expect.equal columns[0] columns[1] "as large as it may be"

    let isLocked = (status server.Id "VmLck")[0] <> "0"

    let isTold =
        server.Errors |> List.exists (fun line -> line.Contains " warning: -k: memory is not locked: ")

    Expect.notEqual isLocked isTold "memory is locked, or it is told why not"
    use client = new TextClient(server.Port)
    Expect.equal (client.Ask $"set a 0 0 500000\r\n{String('v', 500_000)}") "STORED" "it serves"
    server.StopCleanly()

/// Whether every user may read a file: nobody must, to serve.
let private isOpenToAll (path: string) =
    let isOpen (bit: UnixFileMode) (path: string) = File.GetUnixFileMode path &&& bit = bit

    let rec areFoldersOpen (folder: DirectoryInfo | null) =
        match folder with
        | null -> true
        | folder -> isOpen UnixFileMode.OtherExecute folder.FullName && areFoldersOpen folder.Parent

    isOpen UnixFileMode.OtherRead path && areFoldersOpen (FileInfo path).Directory

let private canServeAsNobody () =
    Environment.UserName = "root"
    && isOpenToAll Executable.lsmfs
    && isOpenToAll typeof<obj>.Assembly.Location

let private hiddenProgram () =
    use folder = new TemporaryFolder()
    let program = folder.At "program"
    Directory.CreateDirectory program |> ignore

    for file in Directory.GetFiles(string (Path.GetDirectoryName Executable.lsmfs)) do
        File.Copy(file, Path.Combine(program, string (Path.GetFileName file)))

    File.SetUnixFileMode(program, enum<UnixFileMode> 0o700)

    let run =
        Executable.run (Path.Combine(program, "lsmfs")) [ "-p"; "0"; "-u"; "nobody"; "--data"; folder.At "data" ]

    Expect.equal run.ExitCode 1 "refused"
    Expect.equal run.Errors.Length 1 $"in one line: {run.Errors}"
    Expect.stringContains run.Errors.Head "cannot read the program itself" "which says why"

[<Tests>]
let tests =
    if OperatingSystem.IsLinux() then
        testList "Process" [
            testCase "-d returns when it serves in the background, or says why it cannot" daemon
            testCase "-d where the standard streams are closed" closedStreams
            testCase "-P has the number of the process while it serves" pidFile
            testCase "-P that cannot be written is told, and no more" pidFileRefused
            testCase "shutdown stops where -A allows it" <| shutdown "shutdown"
            testCase "so does shutdown graceful" <| shutdown "shutdown graceful"
            testCase "SIGHUP stops nothing" hangup
            testCase "-s and -a" unixSocket
            testCase "-r and -k" lockAndCore

            if Environment.UserName = "root" then
                testCase "-u takes users that there are" unknownUser
                testCase "-u takes users who may read the program" hiddenProgram
            else
                ptestCase "-u takes users that there are (needs root)" ignore
                ptestCase "-u takes users who may read the program (needs root)" ignore

            if canServeAsNobody () then
                testCase "-u makes root another user before the store is opened" otherUser
            else
                ptestCase
                    "-u makes root another user before the store is opened (needs root, and a program that nobody may run)"
                    ignore
        ]
    else
        testList "Process" [ ptestCase "needs Linux" ignore ]
