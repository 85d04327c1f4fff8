module LsmFs.Host.Tests.ConnectionTests

open System
open System.Net.Sockets
open System.Threading
open Expecto
open LsmFs.Host.Tests.Served

let private mebibyte = 1024 * 1024

let private twoThousand (setting: Setting) =
    use served = new Served(setting)
    let clients = [| for _ in 1..2000 -> new Client(served.Port) |]
    served.AwaitConnectionCount 2000

    for index in 0 .. clients.Length - 1 do
        clients[index].Send $"set key%d{index} 0 0 4\r\n%04d{index}\r\nget key%d{index}\r\n"

    for index in 0 .. clients.Length - 1 do
        let expected = $"STORED\r\nVALUE key%d{index} 0 4\r\n%04d{index}\r\nEND\r\n"
        Expect.equal (text (clients[index].Receive expected.Length)) expected $"replies of connection %d{index}"

    for client in clients do
        (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 0

let private idleCost (setting: Setting) =
    use served = new Served(setting)
    let before = GC.GetTotalMemory true
    let clients = [| for _ in 1..1000 -> new Client(served.Port) |]

    for client in clients do
        client.Expect("get none\r\n", "END\r\n")

    let each = (GC.GetTotalMemory true - before) / int64 clients.Length
    // The sockets of the clients are in the figure as well.
    Expect.isLessThan each 4096L "managed bytes for an idle connection"

    for client in clients do
        (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 0

let private limit (setting: Setting) =
    use served = new Served({ setting with ConnectionCountMax = 3 })
    let clients = [ for _ in 1..3 -> new Client(served.Port) ]

    for client in clients do
        client.Expect("version\r\n", "VERSION 1.2.3\r\n")

    use refused = new Client(served.Port)
    Expect.equal (text (refused.ReceiveToEnd())) "ERROR Too many open connections\r\n" "what the fourth is told"
    clients[0].Send "stats\r\nquit\r\n"
    let statistics = text (clients[0].ReceiveToEnd())
    Expect.stringContains statistics "STAT rejected_connections 1\r\n" "the refusal is counted"
    Expect.stringContains statistics "STAT curr_connections 3\r\n" "the connections are counted"
    served.AwaitConnectionCount 2
    use another = new Client(served.Port)
    another.Expect("version\r\n", "VERSION 1.2.3\r\n")

    for client in clients do
        (client :> IDisposable).Dispose()

let private halfClose (setting: Setting) =
    use served = new Served(setting)

    for _ in 1..20 do
        use client = new Client(served.Port)
        client.Send "set a 0 0 1\r\nx\r\nget a\r\nincr a 1\r\nget a\r\nset b 0 0 10\r\nunfinis"
        client.Socket.Shutdown SocketShutdown.Send

        Expect.equal
            (text (client.ReceiveToEnd()))
            "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
            "every whole command is answered before the server closes"

    served.AwaitConnectionCount 0

let private halfCloseWithMuchToSend (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    client.Expect($"set big 0 0 %d{mebibyte}\r\n%s{String('v', mebibyte)}\r\n", "STORED\r\n")
    client.Send(String.replicate 30 "get big\r\n")
    client.Socket.Shutdown SocketShutdown.Send
    Thread.Sleep 100
    let expected = 30 * ($"VALUE big 0 %d{mebibyte}\r\n".Length + mebibyte + 7)
    Expect.equal (client.ReceiveToEnd().Length) expected "all replies come before the end"

let private quitAfterWrites (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    client.Send "set a 0 0 1\r\nx\r\nappend a 0 0 1\r\ny\r\nquit\r\nget a\r\n"

    Expect.equal
        (text (client.ReceiveToEnd()))
        "STORED\r\nSTORED\r\n"
        "what stands before quit is answered, what follows is not"

/// What a client reads only after it has sent `quit` and more behind it.
let private quitWithMoreBehind (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    // Little is on its way to the client, so that much is still with the server when it closes.
    client.Socket.ReceiveBufferSize <- 65536
    let value = String('v', mebibyte)
    client.Expect($"set big 0 0 %d{mebibyte}\r\n%s{value}\r\n", "STORED\r\n")
    // More than the sockets take: while replies wait for the client, nothing more is received from it.
    let count = 24
    client.Send(String.replicate count "get big\r\n" + "quit\r\n")
    let first = client.Receive 1
    client.Send(String.replicate 3000 "version\r\n")

    Expect.equal
        (first.Length + client.ReceiveToEnd().Length)
        (count * ($"VALUE big 0 %d{mebibyte}\r\n".Length + mebibyte + 2 + 5))
        "every answer before quit, and none behind it"

let private reset (setting: Setting) =
    use served = new Served(setting)
    use survivor = new Client(served.Port)
    survivor.Expect($"set big 0 0 %d{mebibyte}\r\n%s{String('v', mebibyte)}\r\n", "STORED\r\n")

    for requests in
        [
            "get big\r\n"
            String.replicate 50 "get big\r\n"
            String.replicate 1000 "set a 0 0 1\r\nx\r\n"
            "set half 0 0 1000\r\nabc"
        ] do
        for wait in [ 0; 5; 50 ] do
            let client = new Client(served.Port)
            client.Send requests
            Thread.Sleep wait
            client.Socket.LingerState <- LingerOption(true, 0)
            (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 1
    survivor.Expect("get none\r\n", "END\r\n")

let private bigValues (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    let value index = String(char (int 'a' + index), mebibyte - index)

    for index in 0..9 do
        client.Send $"set big%d{index} 0 0 %d{mebibyte - index}\r\n%s{value index}\r\n"

    Expect.equal (text (client.Receive 80)) (String.replicate 10 "STORED\r\n") "ten values of about a mebibyte"

    client.Expect(
        "set big0 0 0 1048577\r\n" + String('x', 1048577) + "\r\n",
        "SERVER_ERROR object too large for cache\r\n"
    )

    client.Expect("get big0\r\n", "END\r\n")
    client.Send "get big1 big2 big3\r\nversion\r\n"

    for index in 1..3 do
        let expected = $"VALUE big%d{index} 0 %d{mebibyte - index}\r\n%s{value index}\r\n"

        if text (client.Receive expected.Length) <> expected then
            failtest $"wrong value %d{index}"

    client.Expect(
        "gat 0 big4\r\n",
        "END\r\nVERSION 1.2.3\r\n" + $"VALUE big4 0 %d{mebibyte - 4}\r\n%s{value 4}\r\nEND\r\n"
    )

let private announcedValue (setting: Setting) =
    use served = new Served(setting)
    let before = residentBytes ()

    let clients = [|
        for index in 1..200 ->
            let client = new Client(served.Port)
            client.Send $"set key%d{index} 0 0 %d{mebibyte}\r\nonly this"
            client
    |]

    Thread.Sleep 200

    Expect.isLessThan
        (Environment.WorkingSet - before)
        (32L * int64 mebibyte)
        "memory for values that were announced and do not come"

    for client in clients do
        (client :> IDisposable).Dispose()

let private endlessLine (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    client.Send(String('x', 5000))
    Expect.equal (client.ReceiveToEnd()) [||] "a line without end closes the connection"

[<Tests>]
let tests =
    testSequenced
    <| testList "Connection" [
        everywhere "2,000 connections at the same time" twoThousand
        onTransports "an idle connection costs little memory" idleCost
        onTransports "one connection too many is told so and closed" limit
        everywhere "a peer that has finished sending gets its replies" halfClose
        onTransports "a peer that has finished sending gets long replies" halfCloseWithMuchToSend
        everywhere "quit closes after the replies before it" quitAfterWrites
        onTransports "quit keeps the answers before it when there is more behind it" quitWithMoreBehind
        everywhere "a reset connection harms nobody" reset
        everywhere "values of a mebibyte" bigValues
        onTransports "an announced value takes no memory before it comes" announcedValue
        onTransports "a line without end closes the connection" endlessLine
    ]
