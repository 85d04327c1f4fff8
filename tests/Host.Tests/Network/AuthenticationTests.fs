/// Clients that must authenticate: what they are told before, that nothing of theirs is carried out until they have, and a file that changes.
module LsmFs.Host.Tests.AuthenticationTests

open System
open System.IO
open Expecto
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Served

let private unauthenticated = "CLIENT_ERROR unauthenticated\r\n"
let private failure = "CLIENT_ERROR authentication failure\r\n"

let private attempt (user: string) (password: string) =
    $"set auth 0 0 %d{user.Length + 1 + password.Length}\r\n%s{user} %s{password}\r\n"

/// The body on a server whose file of passwords has these lines at first; the path is the file's.
let private withPasswords (lines: string) (body: string -> Served -> unit) (setting: Setting) =
    let path = Path.GetTempFileName()

    try
        File.WriteAllText(path, lines)
        use served = new Served({ setting with PasswordPath = Some path })
        body path served
    finally
        File.Delete path

let private strangers (_: string) (served: Served) =
    use client = new Client(served.Port)
    client.Expect("get a\r\n", unauthenticated)
    client.Expect("delete k\r\nflush_all\r\n", unauthenticated + unauthenticated)
    client.Expect(attempt "foo" "wrong", failure)
    client.Expect(attempt "nobody" "bar", failure)

    client.Expect(
        attempt "foo" "bar" + "set a 0 0 1\r\nx\r\nget a auth\r\n",
        "STORED\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    )
    // Once in, a set is a set.
    client.Expect(attempt "foo" "wrong" + "get auth\r\n", "STORED\r\nVALUE auth 0 9\r\nfoo wrong\r\nEND\r\n")
    use other = new Client(served.Port)
    other.Expect("get a\r\n", unauthenticated)

let private byteByByte (_: string) (served: Served) =
    use client = new Client(served.Port)

    for letter in "get a\r\n" + attempt "foo" "no" + attempt "foo" "bar" + "version\r\n" do
        client.Send(string letter)

    let expected = unauthenticated + failure + "STORED\r\nVERSION 1.2.3\r\n"
    Expect.equal (text (client.Receive expected.Length)) expected "the answers"

let private counted (_: string) (served: Served) =
    use client = new Client(served.Port)
    client.Expect("get a\r\n", unauthenticated)
    client.Expect(attempt "foo" "wrong", failure)
    client.Expect(attempt "foo" "bar", "STORED\r\n")
    client.Send "stats\r\nstats settings\r\nquit\r\n"
    let statistics = text (client.ReceiveToEnd())
    Expect.stringContains statistics "STAT auth_cmds 2\r\n" "attempts"
    Expect.stringContains statistics "STAT auth_errors 1\r\n" "failures"
    Expect.stringContains statistics "STAT cmd_get 0\r\n" "a stranger's get is none"
    Expect.stringContains statistics "STAT cmd_set 0\r\n" "an attempt is no set"
    Expect.stringContains statistics "STAT auth_enabled_ascii " "the setting"

let private closes (_: string) (served: Served) =
    for request in [ "quit\r\n"; "a\r\n"; String('x', 3000) ] do
        use client = new Client(served.Port)
        client.Send request
        Expect.equal (text (client.ReceiveToEnd())) "" $"the answer to %A{request}"

    served.AwaitConnectionCount 0

let private tooLong (_: string) (served: Served) =
    use client = new Client(served.Port)
    client.Expect("set a 0 0 1000000000\r\n", "CLIENT_ERROR auth token too long\r\n")
    client.Expect($"set a 0 0 16384\r\n{String('x', 16384)}\r\n", "CLIENT_ERROR bad authentication token format\r\n")
    client.Expect(attempt "foo" "bar", "STORED\r\n")

/// More attempts than a turn has work for, and more answers than the peer takes while it sends.
let private manyAttempts (_: string) (served: Served) =
    use client = new Client(served.Port)
    let count = 5000
    client.Send(String.replicate count (attempt "foo" "wrong") + attempt "foo" "bar")
    let expected = String.replicate count failure + "STORED\r\n"
    Expect.isTrue (text (client.Receive expected.Length) = expected) "an answer to each"

let private reloaded (path: string) (served: Served) =
    use before = new Client(served.Port)
    before.Expect(attempt "foo" "bar", "STORED\r\n")
    File.WriteAllText(path, "foo:new\nother:x\n")
    served.Server.Reload()
    use after = new Client(served.Port)
    after.Expect(attempt "foo" "bar", failure)
    after.Expect(attempt "foo" "new", "STORED\r\n")
    before.Expect("version\r\n", "VERSION 1.2.3\r\n")
    File.WriteAllText(path, "no user in this line\n")
    served.Server.Reload()
    File.Delete path
    served.Server.Reload()
    use last = new Client(served.Port)
    last.Expect(attempt "other" "x", "STORED\r\n")

let private refuses (content: string option) (expected: string) =
    let folder = Directory.CreateTempSubdirectory "lsmfs-host-tests-"
    let path = Path.Combine(folder.FullName, "passwords")

    try
        content |> Option.iter (fun content -> File.WriteAllText(path, content))

        try
            PasswordFile(path, NullLogger.Instance) |> ignore
            failtest "should be refused"
        with :? UnusableFileException as refusal ->
            Expect.stringContains refusal.Message expected "the reason"
            Expect.stringContains refusal.Message path "the file"
            Expect.isFalse (refusal.Message.Contains '\n') "one line"
    finally
        folder.Delete true

[<Tests>]
let tests =
    testList "Authentication" [
        onTransports "a stranger is told so, and lets nothing happen" (withPasswords "foo:bar\n" strangers)
        onTransports "byte by byte" (withPasswords "foo:bar\n" byteByByte)
        onTransports "attempts are counted" (withPasswords "foo:bar\n" counted)
        onTransports "what is no attempt at all closes" (withPasswords "foo:bar\n" closes)
        onTransports "a password that is too long" (withPasswords "foo:bar\n" tooLong)
        onTransports "many attempts at once" (withPasswords "foo:bar\n" manyAttempts)
        onTransports "a file that changes" (withPasswords "foo:bar\n" reloaded)

        testCase "a file that cannot be used"
        <| fun () ->
            refuses None "cannot read"
            refuses (Some "") "it has no line user:password"
            refuses (Some "a:b\njunk\n") "line 2 is not user:password"
    ]
