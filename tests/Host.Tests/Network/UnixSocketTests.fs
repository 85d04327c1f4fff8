/// Unix domain sockets: who may connect, and what becomes of files that have a socket's name.
module LsmFs.Host.Tests.UnixSocketTests

open System
open System.IO
open System.Net.Sockets
open Expecto
open LsmFs.Host
open LsmFs.Host.Tests.Served

let private inFolder (body: (string -> string) -> unit) =
    let folder = Directory.CreateTempSubdirectory("lsmfs-").FullName

    try
        body (fun name -> Path.Combine(folder, name))
    finally
        Directory.Delete(folder, true)

let private ownerOnly = UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.UserExecute

let private at (path: string) (setting: Setting) = { setting with ListenPoints = [ ListenPoint(Path = path) ] }

let private connect (path: string) = new Client(UnixDomainSocketEndPoint path)

let private settingsOf (client: Client) =
    client.Send "stats settings\r\nquit\r\n"
    text (client.ReceiveToEnd())

let private refused (words: string) (start: unit -> Served) =
    try
        use _ = start ()
        failtest "it listens"
    with :? ListenException as failure ->
        Expect.stringContains failure.Message words "what the operator is told"
        Expect.isFalse (failure.Message.Contains '\n') "one line"

let private serves (setting: Setting) =
    inFolder (fun at' ->
        let path = at' "a.sock"

        do
            use served = new Served(at path setting)
            Expect.equal (File.GetUnixFileMode path) ownerOnly "the mode"
            use client = connect path
            let value = String('v', 300_000)

            client.Expect(
                $"set k 0 0 300000\r\n{value}\r\nget k\r\n",
                $"STORED\r\nVALUE k 0 300000\r\n{value}\r\nEND\r\n"
            )

            let settings = settingsOf client
            Expect.stringContains settings $"STAT domain_socket {path}\r\n" "the path is told"
            Expect.stringContains settings "STAT umask 700\r\n" "the mode is told"
            Expect.isEmpty served.Server.EndPoints "no TCP port is open"

        Expect.isFalse (File.Exists path) "a stop removes the file")

let private modes (setting: Setting) =
    inFolder (fun at' ->
        let path = at' "a.sock"

        for mode in [ 0o777; 0o660; 0 ] do
            let mode = enum<UnixFileMode> mode

            use _ = new Served({ setting with ListenPoints = [ ListenPoint(Path = path, UnixMode = mode) ] })

            Expect.equal (File.GetUnixFileMode path) mode "the mode is the one asked for, whatever the umask")

/// A socket that nobody listens on, as a crash leaves it behind.
let private abandon (path: string) =
    // The file of a socket outlives its socket when its name has changed meanwhile.
    use socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
    socket.Bind(UnixDomainSocketEndPoint(path + "'"))
    File.Move(path + "'", path)

let private names (setting: Setting) =
    inFolder (fun at' ->
        let path = at' "a.sock"
        abandon path

        do
            use _ = new Served(at path setting)
            use client = connect path
            client.Expect("version\r\n", "VERSION 1.2.3\r\n")
            refused "another process listens there" (fun () -> new Served(at path setting))
            client.Expect("version\r\n", "VERSION 1.2.3\r\n")
            // The name goes to somebody else.
            File.Delete path
            File.WriteAllText(path, "precious")

        Expect.equal (File.ReadAllText path) "precious" "a stop removes its own socket only"
        refused "which is no socket" (fun () -> new Served(at path setting))
        Expect.equal (File.ReadAllText path) "precious" "a file is never replaced"
        let link = at' "link"
        File.CreateSymbolicLink(link, at' "nowhere") |> ignore
        refused "which is no socket" (fun () -> new Served(at link setting))
        let folder = at' "folder"
        Directory.CreateDirectory folder |> ignore
        refused "which is no socket" (fun () -> new Served(at folder setting))
        refused "No such file or directory" (fun () -> new Served(at (at' "no/such/folder") setting)))

let private lengths (setting: Setting) =
    inFolder (fun at' ->
        let longest = at' ""
        let longest = longest + String('x', 107 - longest.Length)

        do
            use _ = new Served(at longest setting)
            use client = connect longest
            client.Expect("version\r\n", "VERSION 1.2.3\r\n")

        refused "the path of a socket may have 107 bytes" (fun () -> new Served(at (longest + "x") setting)))

[<Tests>]
let tests =
    if OperatingSystem.IsLinux() then
        testList "Unix sockets" [
            onTransports "commands go through, and the file comes and goes with the server" serves
            onTransports "the mode of the file" modes
            onTransports "left-over sockets are replaced, and nothing else is" names
            onTransports "paths as long as the system takes" lengths
        ]
    else
        testList "Unix sockets" [ ptestCase "need Linux" ignore ]
