/// The number of connections, what becomes of one too many, connections that do nothing, and whose turn it is.
module LsmFs.Host.Tests.LimitTests

open System
open System.Net
open System.Net.Sockets
open System.Threading
open Expecto
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Served

let private eventually (what: string) (condition: unit -> bool) =
    Expect.isTrue (SpinWait.SpinUntil(condition, 30_000)) what

let private figure (served: Served) (name: string) =
    served.Server.Statistics() |> Seq.find (fun entry -> entry.Key = name) |> _.Value

let private greet (client: Client) = client.Expect("version\r\n", "VERSION 1.2.3\r\n")

/// Nothing has come so far. Says so too early rather than too late: a server that answers wrongly might pass, and a right one never fails.
let private isSilent (client: Client) = client.Socket.Available = 0

let private waitsAtLimit (setting: Setting) =
    use served = new Served({ setting with ConnectionCountMax = 2; RefusesAtLimit = false })

    use first = new Client(served.Port)
    greet first
    let second = new Client(served.Port)
    greet second
    Expect.equal (figure served "accepting_conns") "1" "full, and nobody has come"
    use third = new Client(served.Port)
    third.Send "version\r\n"
    use fourth = new Client(served.Port)
    fourth.Send "version\r\n"
    eventually "the listener waits" (fun () -> figure served "accepting_conns" = "0")
    Expect.equal (figure served "listen_disabled_num") "1" "it has begun to wait once"
    Expect.isTrue (isSilent third && isSilent fourth) "who comes meanwhile waits"
    greet first
    (second :> IDisposable).Dispose()
    Expect.equal (text (third.Receive 15)) "VERSION 1.2.3\r\n" "the third has the place of the second"
    Expect.isTrue (isSilent fourth) "and the fourth still waits"
    (third :> IDisposable).Dispose()
    Expect.equal (text (fourth.Receive 15)) "VERSION 1.2.3\r\n" "the fourth has the place of the third"
    (first :> IDisposable).Dispose()
    eventually "it accepts again" (fun () -> figure served "accepting_conns" = "1")
    Expect.isGreaterThan (int64 (figure served "time_in_listen_disabled_us")) 0L "the time that was"
    Expect.equal (figure served "rejected_connections") "0" "nobody was sent away"
    use last = new Client(served.Port)
    greet last

let private stopsAtLimit (setting: Setting) =
    let served = new Served({ setting with ConnectionCountMax = 1; RefusesAtLimit = false })

    use first = new Client(served.Port)
    greet first
    use second = new Client(served.Port)
    second.Send "version\r\n"
    eventually "the listener waits" (fun () -> figure served "accepting_conns" = "0")
    (served :> IDisposable).Dispose()
    Expect.equal (first.ReceiveToEnd()) [||] "the one inside is closed"

    let answer =
        try
            second.ReceiveToEnd()
        with :? SocketException -> [||]

    Expect.equal answer [||] "the one outside is not served any more"

let private refusesAtLimit (setting: Setting) =
    use served = new Served({ setting with ConnectionCountMax = 1 })
    use first = new Client(served.Port)
    greet first

    for _ in 1..3 do
        use second = new Client(served.Port)
        Expect.equal (text (second.ReceiveToEnd())) "ERROR Too many open connections\r\n" "one too many"

    Expect.equal (figure served "rejected_connections") "3" "they are counted"
    Expect.equal (figure served "listen_disabled_num") "0" "the listener never waits"
    greet first

let private idle (setting: Setting) =
    let clock = TestClock()

    use served = new Served({ setting with ThreadCount = 1; IdleTimeoutSeconds = 60; Clock = clock })

    let connect () =
        let client = new Client(served.Port)
        greet client
        client

    // What is sent behind this is served in a turn that sees the new time.
    let advance (seconds: int64) =
        clock.Advance seconds
        let before = served.Server.TurnCount

        eventually "a turn begins, for the server looks at the clock by itself" (fun () ->
            served.Server.TurnCount > before)

    use silent = connect ()
    use halfLine = connect ()
    use halfValue = connect ()
    use busy = connect ()
    use sending = connect ()
    sending.Send "set k 0 0 10\r\n01"
    advance 50L
    halfLine.Send "get some"
    halfValue.Send "set k 0 0 10\r\n01"
    sending.Send "2"
    greet busy

    eventually "what was sent has arrived" (fun () ->
        int64 (figure served "bytes_read") = 6L * 9L + 16L + 8L + 16L + 1L)

    advance 11L
    Expect.equal (silent.ReceiveToEnd()) [||] "silence for longer than the timeout"
    Expect.equal (halfLine.ReceiveToEnd()) [||] "bytes of a line that does not end are not enough"
    Expect.equal (figure served "idle_kicks") "2" "they are counted"
    // The sweep that closed the two has passed the others.
    sending.Expect("3456789\r\n", "STORED\r\n")
    halfValue.Expect("23456789\r\n", "STORED\r\n")
    greet busy
    advance 62L

    for client in [ halfValue; busy; sending ] do
        Expect.equal (client.ReceiveToEnd()) [||] "idle at last"

    Expect.equal (figure served "idle_kicks") "5" "all of them"
    use last = new Client(served.Port)
    greet last

let private idleReader (setting: Setting) =
    let clock = TestClock()

    use served = new Served({ setting with IdleTimeoutSeconds = 60; Clock = clock })

    use client = new Client(served.Port)
    let mebibyte = 1024 * 1024
    client.Expect($"set big 0 0 %d{mebibyte}\r\n%s{String('v', mebibyte)}\r\n", "STORED\r\n")
    client.Send(String.replicate 100 "get big\r\n")
    let mutable written = -1L

    // Until the server can send no more.
    eventually "the client's buffers are full" (fun () ->
        let before = written
        Thread.Sleep 50
        written <- int64 (figure served "bytes_written")
        written > int64 mebibyte && written = before)

    clock.Advance 61L
    served.AwaitConnectionCount 0
    Expect.equal (figure served "idle_kicks") "1" "a client that does not take its replies is idle, too"

let private turns (setting: Setting) =
    use served = new Served({ setting with ThreadCount = 1; RequestCountMaxPerTurn = 1 })

    use client = new Client(served.Port)
    client.Expect("set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\n", "STORED\r\nSTORED\r\n")
    let keys = String.replicate 50 " a none b"

    client.Expect(
        $"get{keys}\r\nincr a 1\r\ngat 0 a b\r\ngets none\r\n",
        String.replicate 50 "VALUE a 0 1\r\n1\r\nVALUE b 0 1\r\n2\r\n"
        + "END\r\n2\r\nVALUE a 0 1\r\n2\r\nVALUE b 0 1\r\n2\r\nEND\r\nEND\r\n"
    )

    Expect.isGreaterThan (int64 (figure served "conn_yields")) 100L "turns given to others"

let private addresses (setting: Setting) =
    let loopback (address: IPAddress) = ListenPoint(EndPoint = IPEndPoint(address, 0))

    use served =
        new Served(
            {
                setting with
                    ListenPoints = [
                        loopback IPAddress.Loopback
                        loopback (IPAddress.Parse "127.0.0.2")
                        if Socket.OSSupportsIPv6 then
                            loopback IPAddress.IPv6Loopback
                    ]
            }
        )

    for endPoint in served.Server.EndPoints do
        use client = new Client(endPoint)
        greet client

    Expect.equal served.Server.EndPoints.Count (if Socket.OSSupportsIPv6 then 3 else 2) "as many as asked for"

[<Tests>]
let tests =
    testSequenced
    <| testList "Limits" [
        onTransports "one connection too many waits where it may" waitsAtLimit
        onTransports "a stop does not wait for those who wait" stopsAtLimit
        onTransports "one connection too many is told so" refusesAtLimit
        onTransports "who finishes no command and sends no value is closed" idle
        onTransports "who takes no reply is closed" idleReader
        everywhere "a share of one command makes progress" turns
        onTransports "every address is listened on" addresses
    ]
