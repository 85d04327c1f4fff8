module LsmFs.Host.Tests.PipelineTests

open System
open System.Collections.Generic
open System.Text
open System.Threading
open Expecto
open LsmFs.Host.Tests.Served

/// Requests and the replies they must get, in order.
let private transcript = [
    "set a 7 0 3\r\nabc\r\n", "STORED\r\n"
    "get a\r\n", "VALUE a 7 3\r\nabc\r\nEND\r\n"
    "append a 0 0 2\r\nde\r\n", "STORED\r\n"
    "set n 0 0 1 noreply\r\n5\r\n", ""
    "incr n 7\r\n", "12\r\n"
    "get a missing n\r\n", "VALUE a 7 5\r\nabcde\r\nVALUE n 0 2\r\n12\r\nEND\r\n"
    "gat 0 n missing a\r\n", "VALUE n 0 2\r\n12\r\nVALUE a 7 5\r\nabcde\r\nEND\r\n"
    "nonsense\r\n", "ERROR\r\n"
    "version\r\n", "VERSION 1.2.3\r\n"
    "verbosity 1\r\n", "OK\r\n"
    "delete a\r\n", "DELETED\r\n"
    "get a\r\n", "END\r\n"
    "touch n 0\r\n", "TOUCHED\r\n"
    "set big 0 0 1048577 noreply\r\n", ""
]

// The last command's value is too large and dropped, so it may be sent as anything.
let private requests = ascii (String.Join("", List.map fst transcript))

let private tooLarge = Array.create (1048577 + 2) (byte 'x')

let private replies = String.Join("", List.map snd transcript)

let private last = "get n\r\n", "VALUE n 0 2\r\n12\r\nEND\r\n"

let private inTwoPieces (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    for cut in 0 .. requests.Length do
        client.Send(Array.sub requests 0 cut)
        Thread.Sleep(if cut % 16 = 0 then 1 else 0)
        client.Send(Array.sub requests cut (requests.Length - cut))
        client.Send tooLarge
        client.Send(fst last)
        let expected = replies + snd last
        Expect.equal (text (client.Receive expected.Length)) expected $"cut after %d{cut} bytes"

let private byteByByte (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    for single in requests do
        client.Send [| single |]

    client.Send tooLarge
    client.Send(fst last)
    let expected = replies + snd last
    Expect.equal (text (client.Receive expected.Length)) expected "sent byte by byte"

/// A random pipeline over few keys, and what a map says the replies must be.
let private randomPipeline (random: Random) : byte[] * string =
    let map = Dictionary<string, string>()
    let requests = StringBuilder()
    let replies = StringBuilder()

    for _ in 1 .. random.Next(1, 400) do
        let key = $"key%d{random.Next 4}"

        let value =
            String(char (random.Next(int 'a', int 'z')), random.Next(if random.Next 20 = 0 then 50_000 else 40))

        let known, old = map.TryGetValue key

        let hit =
            if known then
                $"VALUE %s{key} 0 %d{old.Length}\r\n%s{old}\r\n"
            else
                ""

        match random.Next 7 with
        | 0
        | 1 ->
            requests.Append $"set %s{key} 0 0 %d{value.Length}\r\n%s{value}\r\n" |> ignore
            replies.Append "STORED\r\n" |> ignore
            map[key] <- value
        | 2 ->
            requests.Append $"set %s{key} 0 0 %d{value.Length} noreply\r\n%s{value}\r\n" |> ignore
            map[key] <- value
        | 3 ->
            requests.Append $"delete %s{key}\r\n" |> ignore
            replies.Append(if map.Remove key then "DELETED\r\n" else "NOT_FOUND\r\n") |> ignore
        | 4 ->
            requests.Append $"gat 0 %s{key} %s{key}\r\n" |> ignore
            replies.Append(hit + hit + "END\r\n") |> ignore
        | _ ->
            requests.Append $"get %s{key} %s{key}\r\n" |> ignore
            replies.Append(hit + hit + "END\r\n") |> ignore

    // The keys start absent in the next pipeline, too.
    for key in map.Keys do
        requests.Append $"delete %s{key} noreply\r\n" |> ignore

    ascii (requests.ToString()), replies.ToString()

let private randomly (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    for seed in 1..40 do
        let random = Random seed
        let requests, replies = randomPipeline random
        let reader = Tasks.Task.Run(fun () -> client.Receive replies.Length)
        let mutable sent = 0

        while sent < requests.Length do
            let piece = min (random.Next(1, 8000)) (requests.Length - sent)
            client.Send(Array.sub requests sent piece)
            sent <- sent + piece

        Expect.equal (text reader.Result) replies $"seed %d{seed}"

/// What fills a receive to the last byte, what is a byte less or more, and the peer's end on its heels: the transport may report each of it once.
let private allAtOnce (setting: Setting) =
    use served = new Served(setting)

    for length in [ 4; 65_532; 65_536; 65_540; 131_072; 1_048_576 ] do
        for isEnding in [ false; true ] do
            use client = new Client(served.Port)
            let count = length / 4
            let reader = Tasks.Task.Run(fun () -> client.Receive(4 * count))
            client.Send(String.replicate count "mn\r\n")

            if isEnding then
                client.Socket.Shutdown(Net.Sockets.SocketShutdown.Send)

            Expect.equal (text reader.Result) (String.replicate count "MN\r\n") $"%d{length} bytes"

            if isEnding then
                Expect.isEmpty (client.ReceiveToEnd()) "the end behind the last reply"
            else
                client.Expect("mn\r\n", "MN\r\n")

/// Connections whose requests arrive in the same turn, whole, in part, several in one, with the end behind them, and with ones that end the connection.
let private besideOthers (setting: Setting) =
    use served = new Served(setting)
    use writer = new Client(served.Port)
    let valueOf number = String.replicate (1 + number % 300) "v"

    for number in 0..59 do
        writer.Expect($"set k%d{number} 0 0 %d{(valueOf number).Length}\r\n%s{valueOf number}\r\n", "STORED\r\n")

    let get number = $"get k%d{number}\r\n"

    let hit number = $"VALUE k%d{number} 0 %d{(valueOf number).Length}\r\n%s{valueOf number}\r\nEND\r\n"

    for _ in 1..20 do
        let clients = [ for number in 0..59 -> number, new Client(served.Port) ]
        served.AwaitConnectionCount 61

        for number, client in clients do
            match number % 6 with
            | 0 -> client.Send(get number)
            | 1 -> client.Send(get number + get number)
            | 2 -> client.Send $"set own%d{number} 0 0 2\r\nab\r\nget own%d{number}\r\n"
            | 3 -> client.Send(get number + "quit\r\n")
            | 4 -> client.Send "get k"
            | _ ->
                client.Send(get number)
                client.Socket.Shutdown(Net.Sockets.SocketShutdown.Send)

        for number, client in clients do
            match number % 6 with
            | 0 -> Expect.equal (text (client.Receive (hit number).Length)) (hit number) "one"
            | 1 -> Expect.equal (text (client.Receive(2 * (hit number).Length))) (hit number + hit number) "two"
            | 2 ->
                let replies = $"STORED\r\nVALUE own%d{number} 0 2\r\nab\r\nEND\r\n"
                Expect.equal (text (client.Receive replies.Length)) replies "a write before a read"
            | 4 -> client.Expect($"%d{number}\r\n", hit number)
            | _ -> Expect.equal (text (client.ReceiveToEnd())) (hit number) "the last one"

            (client :> IDisposable).Dispose()

        served.AwaitConnectionCount 1

let private visibleElsewhere (setting: Setting) =
    use served = new Served(setting)
    use writer = new Client(served.Port)
    use reader = new Client(served.Port)

    for number in 1..500 do
        // The reader's loop is kept busy with a command of its own, whose snapshot may be older than the write.
        reader.Send "get other\r\n"
        writer.Expect($"set k 0 0 6\r\n%06d{number}\r\n", "STORED\r\n")
        reader.Expect("get k\r\n", $"END\r\nVALUE k 0 6\r\n%06d{number}\r\nEND\r\n")

[<Tests>]
let tests =
    testSequenced
    <| testList "Pipeline" [
        everywhere "cut in two at every byte, the replies are the same" inTwoPieces
        everywhere "sent byte by byte, the replies are the same" byteByByte
        everywhere "what arrives at once is served whole, and the end behind it is seen" allAtOnce
        everywhere "what arrives beside that of others is answered as if it were alone" besideOthers
        everywhere "replies keep the order of commands, and a client reads its own writes" randomly
        everywhere "a write that was acknowledged is seen on every connection" visibleElsewhere
    ]
