/// Conversations over TLS: the same as without, however the bytes come, and bounded in memory.
module LsmFs.Host.Tests.TlsTests

open System
open System.Net.Sockets
open System.IO
open System.Security.Authentication
open System.Threading
open Expecto
open LsmFs.Engine
open LsmFs.Host.Tests.Certificates
open LsmFs.Host.Tests.Served

let private mebibyte = 1024 * 1024

let private statistic (served: Served) (name: string) : int64 =
    served.Server.Statistics()
    |> Seq.find (fun pair -> pair.Key = name)
    |> fun pair -> Int64.Parse pair.Value

let private conversation (_: Files) (served: Served) =
    for protocols in [ SslProtocols.Tls12; SslProtocols.Tls13 ] do
        use client = new TlsClient(served.Port, { usual with Protocols = protocols })
        client.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")
        client.Expect("get a\r\nincr b 1\r\nget c\r\n", "VALUE a 0 1\r\nx\r\nEND\r\nNOT_FOUND\r\nEND\r\n")
        client.Send "get a\r\nquit\r\nget a\r\n"
        Expect.equal (text (client.ReceiveToEnd())) "VALUE a 0 1\r\nx\r\nEND\r\n" "the end comes in order"

    served.AwaitConnectionCount 0

let private byteByByte (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, usual)

    for letter in "set a 0 0 2\r\nxy\r\nget a\r\n" do
        client.Send(string letter)

    let expected = "STORED\r\nVALUE a 0 2\r\nxy\r\nEND\r\n"
    Expect.equal (text (client.Receive expected.Length)) expected "the answers"

let private largeValues (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, usual)
    let value = String.init (mebibyte / 8) (fun index -> sprintf "%08d" index)
    client.Expect($"set big 0 0 %d{value.Length}\r\n%s{value}\r\n", "STORED\r\n")
    let answer = $"VALUE big 0 %d{value.Length}\r\n%s{value}\r\nEND\r\n"
    client.Send(String.replicate 20 "get big\r\n")

    for index in 1..20 do
        Expect.isTrue (text (client.Receive answer.Length) = answer) $"value %d{index}"

let private pipelines (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, usual)
    let keys = [ 1..3000 ]
    client.Send(String.concat "" [ for key in keys -> $"set k{key} 0 0 4\r\n%04d{key}\r\nget k{key}\r\n" ])

    let expected =
        String.concat "" [ for key in keys -> $"STORED\r\nVALUE k{key} 0 4\r\n%04d{key}\r\nEND\r\n" ]

    Expect.isTrue (text (client.Receive expected.Length) = expected) "every answer in order"

/// A client that asks for much and reads nothing costs a piece, and holds up nobody.
let private deaf (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, usual)
    client.Expect($"set big 0 0 %d{mebibyte}\r\n%s{String('v', mebibyte)}\r\n", "STORED\r\n")
    let before = residentBytes ()

    let deaf = [
        for _ in 1..20 ->
            let client = new TlsClient(served.Port, usual)
            client.Send(String.replicate 200 "get big\r\n")
            client
    ]

    Thread.Sleep 300
    client.Expect("get none\r\n", "END\r\n")
    // 4,000 MiB are asked for; each has one value to send, and what the systems' buffers take.
    Expect.isLessThan (residentBytes () - before) (200L * int64 mebibyte) "memory for replies that nobody takes"

    for client in deaf do
        (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 1

let private killed (_: Files) (served: Served) =
    use survivor = new TlsClient(served.Port, usual)
    survivor.Expect($"set big 0 0 %d{mebibyte}\r\n%s{String('v', mebibyte)}\r\n", "STORED\r\n")

    for requests in [ "get big\r\n"; String.replicate 50 "get big\r\n"; "set half 0 0 1000\r\nabc" ] do
        for wait in [ 0; 20 ] do
            use client = new TlsClient(served.Port, usual)
            client.Send requests
            Thread.Sleep wait
            client.Socket.LingerState <- LingerOption(true, 0)
            client.Socket.Dispose()

    served.AwaitConnectionCount 1
    survivor.Expect("get half\r\n", "END\r\n")

/// Bytes behind a good handshake that are no TLS end the connection.
let private brokenRecord (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, usual)
    client.Expect("get a\r\n", "END\r\n")
    client.Socket.Send(Array.append [| 0x17uy; 3uy; 3uy; 0uy; 32uy |] (Array.create 32 0uy)) |> ignore
    served.AwaitConnectionCount 0
    Expect.equal (statistic served "ssl_proto_errors") 1L "counted"

let private beside (_: Files) (served: Served) =
    let ports = served.Server.EndPoints |> Seq.map _.Port |> Array.ofSeq
    use plain = new Client(ports[0])
    use secret = new TlsClient(ports[1], usual)
    plain.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")
    secret.Expect("get a\r\nset b 0 0 1\r\ny\r\n", "VALUE a 0 1\r\nx\r\nEND\r\nSTORED\r\n")
    plain.Expect("get b\r\n", "VALUE b 0 1\r\ny\r\nEND\r\n")
    Expect.equal (statistic served "curr_connections") 2L "both count"

let private authenticated (setting: Setting) =
    let path = Path.GetTempFileName()

    try
        File.WriteAllText(path, "foo:bar\n")

        { setting with PasswordPath = Some path }
        |> withTls id (fun _ served ->
            use client = new TlsClient(served.Port, usual)
            client.Expect("get a\r\n", "CLIENT_ERROR unauthenticated\r\n")
            client.Expect("set x 0 0 7\r\nfoo baz\r\n", "CLIENT_ERROR authentication failure\r\n")
            client.Expect("set x 0 0 7\r\nfoo bar\r\nget a\r\n", "STORED\r\nEND\r\n"))
    finally
        File.Delete path

/// What was answered when a stop began arrives, and the stop does not wait for who does not read.
let private stopped (_: Files) (served: Served) =
    use client = new TlsClient(served.Port, usual)
    client.Expect("set a 0 0 1\r\nx\r\n", "STORED\r\n")
    use silent = new TlsClient(served.Port, usual)
    silent.Expect("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")
    client.Send(String.replicate 1000 "get a\r\n")
    let answer = "VALUE a 0 1\r\nx\r\nEND\r\n"
    Expect.equal (client.Receive(1000 * answer.Length).Length) (1000 * answer.Length) "the answers"
    Expect.isTrue (served.Server.StopAsync().Wait 20_000) "the stop ends"
    Expect.equal (client.ReceiveToEnd().Length) 0 "in order"

[<Tests>]
let tests =
    testList "Tls" [
        everywhere "a conversation" (withTls id conversation)
        onTransports "byte by byte" (withTls id byteByByte)
        onTransports "large values" (withTls id largeValues)
        onTransports
            "large values, by small pieces"
            (withTls (fun tls -> { tls with WriteBufferBytes = 1024 }) largeValues)
        everywhere "pipelines" (withTls id pipelines)
        onTransports "clients that do not read" (withTls id deaf)
        onTransports "connections that are killed" (withTls id killed)
        onTransports "a record that is none" (withTls id brokenRecord)

        onTransports "plain listeners beside" (fun setting ->
            { setting with ListenPoints = allListeners } |> withTls id beside)

        onTransports "authentication" authenticated
        onTransports "a stop" (withTls id stopped)
    ]
