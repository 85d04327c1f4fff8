/// `stats conns`: who is connected, from where, and what is waited for.
module LsmFs.Host.Tests.ConnectionListTests

open System
open System.IO
open System.Net
open System.Net.Sockets
open System.Text
open System.Threading
open Expecto
open LsmFs.Host
open LsmFs.Host.Tests.Served

/// The name and value of every line, in order, and nothing behind the end.
let private ask (client: Client) : (string * string) list =
    client.Send "stats conns\r\n"
    let all = StringBuilder()
    let bytes: byte[] = Array.zeroCreate 65536

    while not (all.ToString().EndsWith "END\r\n") do
        let received = client.Socket.Receive bytes

        if received = 0 then
            failtest "the server closed within the list"

        all.Append(text bytes[.. received - 1]) |> ignore

    let lines = all.ToString().Split("\r\n", StringSplitOptions.RemoveEmptyEntries)
    Expect.equal (Array.last lines) "END" "the end"

    [
        for line in lines[.. lines.Length - 2] do
            match line.Split(' ', 3) with
            | [| "STAT"; name; value |] -> name, value
            | _ -> failtest $"no line of statistics: {line}"
    ]

/// What is said of each descriptor, by the part of the name behind it.
let private byDescriptor (lines: (string * string) list) : Map<string, Map<string, string>> =
    lines
    |> List.groupBy (fun (name, _) -> name.Split(':')[0])
    |> List.map (fun (id, lines) -> id, Map [ for name, value in lines -> name.Split(':')[1], value ])
    |> Map.ofList

let private addressOf (client: Client) : string =
    match client.Socket.LocalEndPoint with
    | :? IPEndPoint as endPoint when endPoint.AddressFamily = AddressFamily.InterNetworkV6 ->
        $"tcp6:[{endPoint.Address}]:{endPoint.Port}"
    | :? IPEndPoint as endPoint -> $"tcp:{endPoint.Address}:{endPoint.Port}"
    | _ -> "?:<AF 0>"

/// What is said of a client.
let private find (asker: Client) (client: Client) : Map<string, string> =
    ask asker |> byDescriptor |> Map.values |> Seq.find (fun lines -> lines["addr"] = addressOf client)

let private awaitState (asker: Client) (client: Client) (state: string) =
    let mutable last = ""

    let isThere () =
        last <- (find asker client)["state"]
        last = state

    Expect.isTrue (SpinWait.SpinUntil(isThere, 30_000)) $"the state should be {state}, is {last}"

let private states (setting: Setting) =
    let clock = TestClock()
    use served = new Served({ setting with IdleTimeoutSeconds = 1000; Clock = clock })
    use asker = new Client(served.Port)
    use silent = new Client(served.Port)
    use polite = new Client(served.Port)
    use halfLine = new Client(served.Port)
    use halfValue = new Client(served.Port)
    use deaf = new Client(served.Port)
    served.AwaitConnectionCount 6
    let value = String('v', 1024 * 1024)
    deaf.Expect($"set big 0 0 {value.Length}\r\n{value}\r\n", "STORED\r\n")
    polite.Expect("version\r\n", "VERSION 1.2.3\r\n")
    halfLine.Send "get some"
    halfValue.Send "set k 0 0 100000\r\n01"
    deaf.Send(String.replicate 32 "get big\r\n")
    awaitState asker asker "conn_parse_cmd"
    awaitState asker silent "conn_new_cmd"
    awaitState asker polite "conn_read"
    awaitState asker halfLine "conn_read"
    awaitState asker halfValue "conn_nread"
    awaitState asker deaf "conn_mwrite"
    clock.Advance 7L
    let lines = find asker polite
    Expect.equal lines["secs_since_last_cmd"] "7" "what the clock says"
    Expect.equal lines["listen_addr"] $"tcp:127.0.0.1:{served.Port}" "where it came in"
    Expect.equal (find asker asker).["secs_since_last_cmd"] "0" "who asks is not idle"

    let listeners =
        ask asker
        |> byDescriptor
        |> Map.values
        |> Seq.filter (fun lines -> lines["state"] = "conn_listening")
        |> List.ofSeq

    Expect.equal
        [ for lines in listeners -> lines["addr"], lines.ContainsKey "listen_addr" ]
        [ $"tcp:127.0.0.1:{served.Port}", false ]
        "the listener"

let private kinds (setting: Setting) =
    let path = Path.Combine(Path.GetTempPath(), $"lsmfs-{Guid.NewGuid():N}.sock")

    use served =
        new Served(
            {
                setting with
                    ListenPoints = [
                        ListenPoint(EndPoint = IPEndPoint(IPAddress.Any, 0))
                        ListenPoint(EndPoint = IPEndPoint(IPAddress.IPv6Loopback, 0))
                        ListenPoint(Path = path)
                    ]
            }
        )

    let port6 = served.Server.EndPoints[1].Port
    use anyone = new Client(served.Port)
    use six = new Client(IPEndPoint(IPAddress.IPv6Loopback, port6))
    use local = new Client(UnixDomainSocketEndPoint path)
    served.AwaitConnectionCount 3
    let isThere () = (ask anyone |> byDescriptor).Count = 6
    Expect.isTrue (SpinWait.SpinUntil(isThere, 30_000)) "three connections and three listeners"
    Expect.equal (find anyone anyone).["listen_addr"] $"tcp:127.0.0.1:{served.Port}" "the address that was called"
    Expect.equal (find anyone six).["listen_addr"] $"tcp6:[::1]:{port6}" "IPv6"
    Expect.equal (find anyone local).["listen_addr"] $"unix:{path}" "a path"

    let listening = [
        for lines in (ask anyone |> byDescriptor).Values do
            if lines["state"] = "conn_listening" then
                lines["addr"]
    ]

    Expect.equal
        (List.sort listening)
        (List.sort [ $"tcp:0.0.0.0:{served.Port}"; $"tcp6:[::1]:{port6}"; $"unix:{path}" ])
        "the listeners"

let private many (setting: Setting) =
    use served = new Served(setting)
    use asker = new Client(served.Port)
    let clients = [| for _ in 1..1500 -> new Client(served.Port) |]
    let isThere () = List.length (ask asker) = 3 + 4 * 1501
    Expect.isTrue (SpinWait.SpinUntil(isThere, 30_000)) "all are listed"
    let addresses = Set [ for lines in (ask asker |> byDescriptor).Values -> lines["addr"] ]

    for client in clients do
        Expect.isTrue (addresses.Contains(addressOf client)) "with the address of each"

    // What is behind it waits, and comes.
    asker.Send "stats conns\r\nversion\r\nquit\r\n"
    Expect.stringEnds (text (asker.ReceiveToEnd())) "END\r\nVERSION 1.2.3\r\n" "the pipeline goes on"

    for client in clients[1..] do
        (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 1
    Expect.equal (List.length (ask clients[0])) 7 "who has gone is not listed"
    (clients[0] :> IDisposable).Dispose()

/// Lists under way harm nobody when their client goes.
let private leaving (setting: Setting) =
    use served = new Served(setting)
    let clients = [| for _ in 1..500 -> new Client(served.Port) |]

    for client in clients do
        client.Send(String.replicate 20 "stats conns\r\n")

    for client in clients do
        (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 0
    use last = new Client(served.Port)
    Expect.equal (List.length (ask last)) 7 "nobody but who asks, and the listener"

[<Tests>]
let tests =
    testSequenced
    <| testList "ConnectionList" [
        onTransports "a connection's lines tell its state, addresses and idle time" states
        onTransports "every kind of listener and its connections are listed" kinds
        onTransports "1,500 connections are listed in pieces" many
        onTransports "clients that go within the list" leaving
    ]
