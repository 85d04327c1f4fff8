module LsmFs.Engine.Tests.BinaryTests

open System
open System.Text.RegularExpressions
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.BinaryConversation
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Packets
open LsmFs.Engine.Tests.Peer

/// A fresh connection's answer to these bytes, in hexadecimal.
let private hexAnswer (server: Server) (bytes: byte[]) : string =
    let connection = Connection server
    connection.Receive bytes
    Convert.ToHexString(latin connection.Output)

let private hex (text: string) = text.Replace(" ", "").Replace("|", "").ToUpperInvariant()

/// Cuts long values, for messages.
let private brief (text: string) =
    if text.Length > 300 then
        text.Substring(0, 300) + "…"
    else
        text

let private against (exchanges: Exchange list) (ask: byte[] -> bool -> string * bool) (reconnect: unit -> unit) =
    let numbers = CasNumbers()

    for exchange in exchanges do
        let bytes = packets numbers exchange

        let bytes =
            if exchange.IsClosed then
                bytes
            else
                Array.append bytes fence

        let answer, isClosed = ask bytes exchange.IsClosed

        let replies =
            if exchange.IsClosed then
                fst (decode (latin answer)) |> List.map (show numbers)
            else
                match tryBeforeFence numbers answer with
                | Some replies -> replies
                | None -> failtestf "%s: no end of the answer: %s" exchange.Name (brief answer)

        Expect.equal (List.map brief replies) exchange.Replies exchange.Name
        Expect.equal isClosed exchange.IsClosed $"closed: {exchange.Name}"

        if isClosed then
            reconnect ()

let private replay (peer: Peer) =
    let mutable connection = peer.Connect()

    against
        exchanges
        (fun bytes isClosed ->
            connection.Ask(bytes, (fun answer -> not isClosed && (tryBeforeFence (CasNumbers()) answer).IsSome)))
        (fun () ->
            (connection :> IDisposable).Dispose()
            connection <- peer.Connect())

    (connection :> IDisposable).Dispose()

let private keys = [| "a"; "b"; "c"; "d"; String('k', 250) |]

let private exptimes = [| 0u; 0u; 0u; 0u; 1000u; 2592000u; 2592001u; 0x7FFFFFFFu; 0x80000000u; 0xFFFFFFFFu |]

// No sum of these reaches 2^63: memcached 1.6.18 takes such a number for none when a minus sign happens to lie behind it in memory.
let private numbers = [| 0UL; 1UL; 7UL; 4294967296UL; 1UL <<< 53 |]

let private values = [|
    ""
    "0"
    "5"
    "10"
    "99"
    "007"
    " 3"
    "+4"
    "5 x"
    "abc"
    "9007199254740993"
    "18446744073709551616"
|]

/// A request whose `Cas` is the place of a cas unique.
let private requestOf (random: Random) (casCount: int) : Request =
    let pick (choices: 'choice[]) = choices[random.Next choices.Length]

    let cas =
        match random.Next 6 with
        | 0 when casCount > 0 -> uint64 (random.Next(max 1 (casCount - 12), casCount + 1))
        | 1 when random.Next 3 = 0 -> 999_999UL
        | _ -> 0UL

    let opaque = uint32 (random.Next 1000)
    let quiet (loud: BinaryOpcode) (quiet: BinaryOpcode) = if random.Next 3 = 0 then quiet else loud

    let plain: Request =
        match random.Next 100 with
        | roll when roll < 30 ->
            let opcode =
                pick [|
                    BinaryOpcode.Set
                    BinaryOpcode.SetQ
                    BinaryOpcode.Set
                    BinaryOpcode.Add
                    BinaryOpcode.AddQ
                    BinaryOpcode.Replace
                    BinaryOpcode.ReplaceQ
                |]

            let flags = pick [| 0u; 0u; 1u; UInt32.MaxValue |]
            request opcode (pick keys) (Array.append (u32 flags) (u32 (pick exptimes))) (pick values)
        | roll when roll < 40 ->
            let opcode =
                pick [| BinaryOpcode.Append; BinaryOpcode.AppendQ; BinaryOpcode.Prepend; BinaryOpcode.PrependQ |]

            request opcode (pick keys) [||] (pick values)
        | 40 -> request (pick [| BinaryOpcode.Set; BinaryOpcode.AddQ |]) (pick keys) (u64 0UL) (String('x', 1_048_577))
        | roll when roll < 60 ->
            let opcode = pick [| BinaryOpcode.Get; BinaryOpcode.GetQ; BinaryOpcode.GetK; BinaryOpcode.GetKQ |]

            request opcode (pick keys) [||] ""
        | roll when roll < 68 ->
            let opcode =
                pick [|
                    BinaryOpcode.Touch
                    BinaryOpcode.Gat
                    BinaryOpcode.GatQ
                    BinaryOpcode.GatK
                    BinaryOpcode.GatKQ
                |]

            request opcode (pick keys) (u32 (pick exptimes)) ""
        | roll when roll < 86 ->
            let opcode =
                pick [|
                    quiet BinaryOpcode.Increment BinaryOpcode.IncrementQ
                    quiet BinaryOpcode.Decrement BinaryOpcode.DecrementQ
                |]

            request opcode (pick keys) (Array.concat [ u64 (pick numbers); u64 (pick numbers); u32 (pick exptimes) ]) ""
        | roll when roll < 96 -> request (quiet BinaryOpcode.Delete BinaryOpcode.DeleteQ) (pick keys) [||] ""
        | 96 -> request BinaryOpcode.Noop "" [||] ""
        | 97 -> request BinaryOpcode.SaslMechanisms "" [||] ""
        // Without a body: memcached drops as much again behind one.
        | _ -> request (LanguagePrimitives.EnumOfValue(byte (random.Next(0x25, 0x100)))) "" [||] ""

    { plain with Cas = cas; Opaque = opaque }

let private isArithmetic (request: Request) =
    match BinaryFormat.loud (LanguagePrimitives.EnumOfValue request.Opcode) with
    | BinaryOpcode.Increment
    | BinaryOpcode.Decrement -> true
    | _ -> false

/// What is counted elsewhere than in the binary protocol there.
let private isCountedAlike (name: string) = name <> "store_too_large"

/// Requests after which a new connection goes on.
let private connectionLength = 500

/// `DifferentialTests` says what the variables are for.
let private environment (name: string) : int option =
    match Int32.TryParse(Environment.GetEnvironmentVariable name) with
    | true, number -> Some number
    | _ -> None

let private run (seed: int) (peer: Peer) =
    let wanted = environment "LSMFS_DIFFERENTIAL_COMMANDS" |> Option.defaultValue 4000
    let random = Random seed
    let server = Server ProtocolLimits.valueLengthMaxDefault
    let mutable connection = Connection server
    let mutable real = peer.Connect()
    let casNumbers = CasNumbers()
    let realCasNumbers = CasNumbers()
    let mutable number = 0
    let mutable left = connectionLength

    while number < wanted do
        // Several in a packet of the network, so that quiet ones have others behind them.
        // Arithmetic first: while memcached has not sent a value, it does not count in its place, and leaves no blanks behind a shorter number.
        let requests =
            [ for _ in 0 .. random.Next 4 -> requestOf random casNumbers.Count ]
            |> List.sortBy (isArithmetic >> not)

        number <- number + requests.Length
        left <- left - requests.Length

        if left < 0 then
            left <- connectionLength
            connection <- Connection server
            (real :> IDisposable).Dispose()
            real <- peer.Connect()

        let bytes (numbers: CasNumbers) =
            Array.append
                (requests
                 |> List.map (fun request -> encode { request with Cas = numbers.Cas request.Cas })
                 |> Array.concat)
                fence

        let before = connection.Output.Length
        connection.Receive(bytes casNumbers)
        let own = connection.Output.Substring before

        let answer, isClosed =
            real.Ask(bytes realCasNumbers, (fun answer -> (tryBeforeFence (CasNumbers()) answer).IsSome))

        Expect.isFalse isClosed $"seed {seed}, packet {number}: closed"

        let opaques (answer: string) = decode (latin answer) |> fst |> List.map _.Opaque

        let own = tryBeforeFence casNumbers own, opaques own
        let answer = tryBeforeFence realCasNumbers answer, opaques answer

        if own <> answer then
            let sent = requests |> List.map (encode >> Convert.ToHexString >> brief)
            failtestf "seed %d, packet %d: %A: expected %A, got %A" seed number sent answer own

    (real :> IDisposable).Dispose()
    use text = peer.Connect()
    let statistics, _ = text.Ask(latin "stats\r\n", (fun answer -> answer.EndsWith "END\r\n"))

    for name in Counter.names |> Array.filter isCountedAlike do
        let found = Regex.Match(statistics, $@"^STAT {name} (\d+)\r$", RegexOptions.Multiline)

        if found.Success then
            Expect.equal (server.Counter name) (int64 found.Groups[1].Value) $"{name}, seed {seed}"

[<Tests>]
let tests =
    testList "Binary protocol" [
        testCase "golden packets"
        <| fun () ->
            let server = Server ProtocolLimits.valueLengthMaxDefault

            Expect.equal
                (hexAnswer
                    server
                    (Convert.FromHexString(
                        hex
                            "80 01 0005 08 00 0000 00000012 deadbeef 0000000000000000 | 00001234 00000000 | 48656c6c6f 576f726c64"
                    )))
                (hex "81 01 0000 00 00 0000 00000000 deadbeef 0000000000000001")
                "set Hello to World with flags 0x1234"

            Expect.equal
                (hexAnswer
                    server
                    (Convert.FromHexString(hex "80 0c 0005 00 00 0000 00000005 00000001 0000000000000000 | 48656c6c6f")))
                (hex "81 0c 0005 04 00 0000 0000000e 00000001 0000000000000001 | 00001234 | 48656c6c6f | 576f726c64")
                "getk Hello"

            Expect.equal
                (hexAnswer
                    server
                    (Convert.FromHexString(hex "80 00 0001 00 00 0000 00000001 00000002 0000000000000000 | 78")))
                (hex "81 00 0000 00 00 0001 00000009 00000002 0000000000000000 | 4e6f7420666f756e64")
                "get of what is not there"

            Expect.equal
                (hexAnswer
                    server
                    (Convert.FromHexString(
                        hex
                            "80 05 0001 14 00 0000 00000015 00000003 0000000000000000 | 0000000000000001 0000000000000009 00000e10 | 6e"
                    )))
                (hex "81 05 0000 00 00 0000 00000008 00000003 0000000000000002 | 0000000000000009")
                "increment with an initial number"

        testCase "the conversation"
        <| fun () ->
            let server = Server ProtocolLimits.valueLengthMaxDefault
            let mutable connection = Connection server

            against
                exchanges
                (fun bytes _ ->
                    let before = connection.Output.Length
                    connection.Receive bytes
                    connection.Output.Substring before, connection.IsClosed)
                (fun () -> connection <- Connection server)

        testCase "stat is what stats says, in packets"
        <| fun () ->
            let server = Server ProtocolLimits.valueLengthMaxDefault
            let lines = Connection server
            lines.Receive(latin "stats\r\n")
            let connection = Connection server
            connection.Receive(encode (request BinaryOpcode.Stat "" [||] ""))
            let packets, rest = decode (latin connection.Output)
            Expect.equal rest 0 "whole packets"
            let said = packets |> List.map (fun packet -> packet.Key, packet.Body)

            let expected = [
                for line in lines.Output.Split "\r\n" do
                    match line.Split ' ' with
                    | [| "STAT"; name; value |] -> name, value
                    | _ -> ()
            ]

            Expect.equal said (expected @ [ "", "" ]) "names and values, and an empty one at the end"
            Expect.isGreaterThan said.Length 10 "some"

        testCase "room for statistics"
        <| fun () ->
            for text in
                [ ""; "END\r\n"; "STAT a b\r\nEND\r\n"; "STAT a \r\nSTAT b \r\nSTAT c \r\nEND\r\n"; "ERROR\r\n" ] do
                let target: byte[] = Array.zeroCreate (BinaryReply.statisticsLengthMax text.Length)
                let packet = encode (request BinaryOpcode.Stat "x" [||] "")

                let length =
                    BinaryReply.writeStatistics
                        (target.AsSpan())
                        (ReadOnlySpan<byte> packet)
                        (ReadOnlySpan<byte>(latin text))

                Expect.isLessThanOrEqual length target.Length text
                Expect.equal (snd (decode target[.. length - 1])) 0 text

        testCase "a connection speaks what its first byte begins"
        <| fun () ->
            let expect (protocol: BindingProtocol) (first: byte) (isBinary: bool) =
                Expect.equal (BindingProtocol.isBinary protocol first) isBinary $"%A{protocol} {first}"

            expect BindingProtocol.Negotiating 0x80uy true
            expect BindingProtocol.Negotiating (byte 'g') false
            expect BindingProtocol.Negotiating 0x81uy false
            expect BindingProtocol.Ascii 0x80uy false
            expect BindingProtocol.Binary (byte 'g') true
    ]

let private seeds =
    match environment "LSMFS_DIFFERENTIAL_SEED" with
    | Some seed -> [ seed ]
    | None -> [ for _ in 1..3 -> Random.Shared.Next() ]

[<Tests>]
let peerTests =
    testList "Memcached peers, binary" [
        yield peerTest "the conversation" replay

        for seed in seeds do
            yield peerTest $"random packets of seed {seed}" (run seed)
    ]

[<Tests>]
let programTests =
    testList "Program, binary" [
        yield! programTest "the conversation" replay

        for seed in seeds do
            yield! programTest $"random packets of seed {seed}" (run seed)
    ]
