module LsmFs.Host.Tests.BackPressureTests

open System
open System.Diagnostics
open System.Net.Sockets
open System.Text
open System.Threading
open Expecto
open LsmFs.Host.Tests.Served

let private mebibyte = 1024 * 1024

let private bigValue = String('v', mebibyte)

let private storeBig (client: Client) = client.Expect($"set big 0 0 %d{mebibyte}\r\n%s{bigValue}\r\n", "STORED\r\n")

/// Reads this many bytes and drops them.
let private skip (client: Client) (count: int64) =
    let bytes: byte[] = Array.zeroCreate 262144
    let mutable left = count

    while left > 0L do
        let received = client.Socket.Receive(bytes, 0, int (min left bytes.LongLength), SocketFlags.None)

        if received = 0 then
            failtest $"the server closed with %d{left} bytes to come"

        left <- left - int64 received

/// How much the process has grown a while later.
let private growthBytes (before: int64) =
    let mutable peak = 0L

    for _ in 1..10 do
        Thread.Sleep 100
        peak <- max peak (Environment.WorkingSet - before)

    peak

let private unreadGigabyte (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    storeBig client
    let before = residentBytes ()
    let count = 1000
    client.Send(String.replicate count "get big\r\n")
    let growth = growthBytes before
    Expect.isLessThan growth (32L * int64 mebibyte) "memory taken for a client that does not read"
    use other = new Client(served.Port)
    other.Expect("get none\r\n", "END\r\n")
    skip client (int64 count * int64 ($"VALUE big 0 %d{mebibyte}\r\n".Length + mebibyte + 2 + 5))
    client.Expect("version\r\n", "VERSION 1.2.3\r\n")

let private unreadByMany (setting: Setting) =
    use served = new Served(setting)
    let clients = [| for _ in 1..20 -> new Client(served.Port) |]
    storeBig clients[0]
    let before = residentBytes ()

    for client in clients do
        client.Send(String.replicate 50 "get big big big big\r\n")

    // A value that is on its way when the peer stops reading is the most that is kept for each.
    Expect.isLessThan
        (growthBytes before)
        (int64 (clients.Length + 16) * 2L * int64 mebibyte)
        "memory taken for clients that do not read"

    for client in clients do
        (client :> IDisposable).Dispose()

    served.AwaitConnectionCount 0

let private unreadAcknowledgements (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    let before = residentBytes ()
    let request = ascii "set k 0 0 10\r\n0123456789\r\n"
    let many = Array.concat (Array.replicate 1000 request)
    client.Socket.Blocking <- false
    let mutable sent = 0L
    let quiet = Stopwatch.StartNew()

    // Until the server has not read for a while.
    while quiet.ElapsedMilliseconds < 1000L && sent < 1_000_000_000L do
        let offset = int (sent % int64 request.Length)
        let mutable error = SocketError.Success
        let count = client.Socket.Send(many, offset, many.Length - offset, SocketFlags.None, &error)

        if error = SocketError.Success then
            sent <- sent + int64 count
            quiet.Restart()
        else
            Thread.Sleep 1

    Expect.isLessThan sent 1_000_000_000L "a client that does not read is not read for ever"

    Expect.isLessThan
        (Environment.WorkingSet - before)
        (96L * int64 mebibyte)
        "memory taken for replies that are not read"

    client.Socket.Blocking <- true
    let offset = int (sent % int64 request.Length)
    let rest = Array.sub request offset (request.Length - offset)
    let total = (sent + int64 rest.Length) / int64 request.Length
    let sender = Tasks.Task.Run(fun () -> client.Send rest)
    skip client (total * 8L)
    sender.Wait()
    client.Expect("version\r\n", "VERSION 1.2.3\r\n")

let private tenThousandKeys (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    let count = 10_000
    let value index = String(char (int 'a' + index % 26), 1000 + index % 100)
    let fill = StringBuilder()

    for index in 1..count do
        fill.Append $"set key%d{index} %d{index} 0 %d{(value index).Length} noreply\r\n%s{value index}\r\n"
        |> ignore

    client.Send(fill.ToString())
    client.Expect("version\r\n", "VERSION 1.2.3\r\n")
    client.Send("get" + String.Join("", [ for index in 1..count -> $" key%d{index} absent" ]) + "\r\n")

    for index in 1..count do
        let expected = $"VALUE key%d{index} %d{index} %d{(value index).Length}\r\n%s{value index}\r\n"

        if index % 100 = 0 then
            Thread.Sleep 10

        if text (client.Receive expected.Length) <> expected then
            failtest $"wrong value %d{index}"

    client.Expect("version\r\n", "END\r\nVERSION 1.2.3\r\n")

let private unreadTouches (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    storeBig client
    let before = residentBytes ()
    let keyCount = 400
    let request = "gat 0" + String.replicate keyCount " big" + "\r\n"
    client.Send(String.replicate 5 request)
    // Every touch writes the value again, so the memtables count as well.
    Expect.isLessThan
        (growthBytes before)
        (128L * int64 mebibyte)
        "memory taken for a client that touches and does not read"

    let value = int64 ($"VALUE big 0 %d{mebibyte}\r\n".Length + mebibyte + 2)
    skip client (int64 keyCount * value + 5L)
    use other = new Client(served.Port)
    other.Expect("get none\r\n", "END\r\n")

/// Short replies of many clients leave together; one that does not read keeps its own, in their order, and finds the end of the stream behind them.
let private unreadShortReplies (setting: Setting) =
    use served = new Served({ setting with ThreadCount = 1 })
    use silent = new Client(served.Port)
    use other = new Client(served.Port)
    let count = 60_000
    let value = String('v', 90)
    silent.Expect($"set k 7 0 90\r\n%s{value}\r\n", "STORED\r\n")

    let request =
        String.concat "" [
            for number in 1..count do
                $"get k\r\nget missing%d{number}\r\n"

                if number % 1000 = 0 then
                    $"mn\r\nmg k O%d{number} f\r\n"
            "quit\r\n"
        ]

    let expected =
        String.concat "" [
            for number in 1..count do
                $"VALUE k 7 90\r\n%s{value}\r\nEND\r\nEND\r\n"

                if number % 1000 = 0 then
                    $"MN\r\nHD O%d{number} f7\r\n"
        ]

    let sender = Tasks.Task.Run(fun () -> silent.Send request)

    for number in 1..200 do
        other.Expect($"get missing%d{number}\r\n", "END\r\n")

    let replies = silent.ReceiveToEnd()
    sender.Wait()
    Expect.isTrue (Encoding.ASCII.GetString replies = expected) "every reply, in the order of the commands"

let private fairness (setting: Setting) =
    use served = new Served({ setting with ThreadCount = 1 })
    use greedy = new Client(served.Port)
    use modest = new Client(served.Port)
    let pipeline = ascii (String.replicate 20_000 "get a b c d e f g h\r\n")
    let reply = 20_000L * 5L

    let flood =
        Tasks.Task.Run(fun () ->
            for _ in 1..20 do
                let sender = Tasks.Task.Run(fun () -> greedy.Send pipeline)
                skip greedy reply
                sender.Wait())

    let waits = [
        while not flood.IsCompleted do
            let watch = Stopwatch.StartNew()
            modest.Expect("get x\r\n", "END\r\n")
            watch.ElapsedMilliseconds
    ]

    flood.Wait()
    Expect.isGreaterThan waits.Length 20 "the modest client is served while the greedy one is"
    // The median: a single wait says more about what else the machine does.
    let median = List.item (waits.Length / 2) (List.sort waits)
    Expect.isLessThan median 250L "milliseconds that the modest client waits"

[<Tests>]
let tests =
    testSequenced
    <| testList "BackPressure" [
        onTransports "a gigabyte of replies that is not read costs little memory and is delivered later" unreadGigabyte
        onTransports "many clients that do not read cost little memory each" unreadByMany
        everywhere "a client that writes and does not read acknowledgements is not read either" unreadAcknowledgements
        onTransports "10,000 keys in one get, read slowly" tenThousandKeys
        everywhere "two gigabytes asked for by gat cost little memory and are delivered" unreadTouches
        onTransports
            "short replies that are not read keep their order, and the end comes behind them"
            unreadShortReplies
        onTransports "a long pipeline does not starve another client" fairness
    ]
