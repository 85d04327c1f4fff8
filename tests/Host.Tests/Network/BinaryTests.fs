/// The binary protocol through sockets and a store: what waiting, pipelines and pieces do to packets. What packets mean is tested in the engine.
module LsmFs.Host.Tests.BinaryTests

open System
open System.Buffers.Binary
open System.IO
open System.Net
open System.Threading
open Expecto
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests
open LsmFs.Host.Tests.DiskReadTests
open LsmFs.Host.Tests.Served

let private u32 (number: uint32) : byte[] =
    let bytes: byte[] = Array.zeroCreate 4
    BinaryPrimitives.WriteUInt32BigEndian(bytes, number)
    bytes

let private packet (opcode: BinaryOpcode) (opaque: uint32) (key: string) (extras: byte[]) (value: byte[]) : byte[] =
    Array.concat [
        [| 0x80uy; byte opcode; 0uy; byte key.Length; byte extras.Length; 0uy; 0uy; 0uy |]
        u32 (uint32 (extras.Length + key.Length + value.Length))
        u32 opaque
        Array.zeroCreate 8
        extras
        ascii key
        value
    ]

let private get (opcode: BinaryOpcode) (opaque: uint32) (key: string) = packet opcode opaque key [||] [||]

let private set (opcode: BinaryOpcode) (opaque: uint32) (key: string) (value: string) =
    packet opcode opaque key (Array.zeroCreate 8) (ascii value)

let private incr (opaque: uint32) (key: string) =
    packet BinaryOpcode.Increment opaque key (Array.concat [ u32 0u; u32 1u; u32 0u; u32 5u; u32 0u ]) [||]

let private noop (opaque: uint32) = packet BinaryOpcode.Noop opaque "" [||] [||]

/// The next reply: opcode, status, opaque, and what stands behind the extras.
let private receive (client: Client) : BinaryOpcode * int * uint32 * string =
    let header = client.Receive 24

    if header.Length < 24 then
        failtest "the server has closed"

    let read (offset: int) = BinaryPrimitives.ReadUInt32BigEndian(ReadOnlySpan<byte>(header, offset, 4))
    let body = client.Receive(int (read 8))

    LanguagePrimitives.EnumOfValue header[1],
    int (BinaryPrimitives.ReadUInt16BigEndian(ReadOnlySpan<byte>(header, 6, 2))),
    read 12,
    text body[int header[4] ..]

let private expect (client: Client) (replies: (BinaryOpcode * int * uint32 * string) list) =
    for reply in replies do
        Expect.equal (receive client) reply "reply"

let private conversation =
    Array.concat [
        set BinaryOpcode.Set 1u "a" "abc"
        set BinaryOpcode.SetQ 2u "b" "5"
        get BinaryOpcode.GetKQ 3u "a"
        get BinaryOpcode.GetQ 4u "missing"
        incr 5u "b"
        packet BinaryOpcode.GatK 6u "b" (u32 0u) [||]
        get BinaryOpcode.Get 7u "missing"
        packet (LanguagePrimitives.EnumOfValue 0x70uy) 8u "key" (u32 0u) (ascii "value")
        packet BinaryOpcode.AppendQ 9u "a" [||] (ascii "d")
        get BinaryOpcode.Get 10u "a"
        packet BinaryOpcode.Delete 11u "a" [||] [||]
        packet BinaryOpcode.DeleteQ 12u "b" [||] [||]
        packet BinaryOpcode.Version 13u "" [||] [||]
        set BinaryOpcode.SetQ 14u "big" (String('x', 1048577))
        noop 15u
    ]

let private replies = [
    BinaryOpcode.Set, 0, 1u, ""
    BinaryOpcode.GetKQ, 0, 3u, "aabc"
    BinaryOpcode.Increment, 0, 5u, "\000\000\000\000\000\000\000\006"
    BinaryOpcode.GatK, 0, 6u, "b6"
    BinaryOpcode.Get, 1, 7u, "Not found"
    LanguagePrimitives.EnumOfValue 0x70uy, 0x81, 8u, "Unknown command"
    BinaryOpcode.Get, 0, 10u, "abcd"
    BinaryOpcode.Delete, 0, 11u, ""
    BinaryOpcode.Version, 0, 13u, "1.2.3"
    BinaryOpcode.SetQ, 3, 14u, "Too large."
    BinaryOpcode.Noop, 0, 15u, ""
]

let private inTwoPieces (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    // The value that is too large may be cut anywhere: not at every one of its bytes.
    for cut in Seq.append (seq { 0..600 }) (seq { 700..100_003 .. conversation.Length }) do
        client.Send(Array.sub conversation 0 cut)
        Thread.Sleep(if cut % 16 = 0 then 1 else 0)
        client.Send(Array.sub conversation cut (conversation.Length - cut))
        expect client replies

let private manyQuietGets (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    let count = 10_000
    let value (number: int) = String('v', number % 100)

    // Every second key is there. Writes and reads without a word between them: the reads see the writes.
    client.Send(
        Array.concat [
            for number in 0..2 .. count - 1 do
                set BinaryOpcode.SetQ (uint32 number) $"key%d{number}" (value number)
            for number in 0 .. count - 1 do
                get BinaryOpcode.GetKQ (uint32 number) $"key%d{number}"
            noop 0xFFFFFFFFu
        ]
    )

    expect client [
        for number in 0..2 .. count - 1 do
            BinaryOpcode.GetKQ, 0, uint32 number, $"key%d{number}%s{value number}"
        BinaryOpcode.Noop, 0, 0xFFFFFFFFu, ""
    ]

let private besideText (setting: Setting) =
    use served = new Served(setting)
    use binary = new Client(served.Port)
    use lines = new Client(served.Port)
    lines.Expect("set k 7 0 1\r\n1\r\n", "STORED\r\n")
    binary.Send(Array.append (incr 1u "k") (get BinaryOpcode.Get 2u "k"))
    expect binary [ BinaryOpcode.Increment, 0, 1u, "\000\000\000\000\000\000\000\002"; BinaryOpcode.Get, 0, 2u, "2" ]
    lines.Expect("get k\r\n", "VALUE k 7 1\r\n2\r\nEND\r\n")
    // What begins no packet ends a connection that speaks binary.
    binary.Send "get k\r\n"
    Expect.equal (binary.ReceiveToEnd().Length) 0 "closed without a word"

let private oneProtocolOnly (setting: Setting) =
    let at (protocol: BindingProtocol) = ListenPoint(EndPoint = IPEndPoint(IPAddress.Loopback, 0), Protocol = protocol)

    use served =
        new Served(
            {
                setting with
                    ListenPoints = [ at BindingProtocol.Ascii; at BindingProtocol.Binary ]
            }
        )

    let ports = served.Server.EndPoints |> Seq.map _.Port |> List.ofSeq
    use asciiOnly = new Client(ports[0])
    asciiOnly.Send(Array.append (get BinaryOpcode.GetK 1u "k") (ascii "\r\n"))
    Expect.equal (text (asciiOnly.Receive 5)) "ERROR" "a packet is no line of the text protocol"
    use binaryOnly = new Client(ports[1])
    binaryOnly.Send(noop 2u)
    expect binaryOnly [ BinaryOpcode.Noop, 0, 2u, "" ]
    use line = new Client(ports[1])
    line.Send "version\r\n"
    Expect.equal (line.ReceiveToEnd().Length) 0 "a line is no packet"

let private flushRefused (setting: Setting) =
    use served = new Served(setting, { NoFlush = true; NoDump = false })
    use client = new Client(served.Port)
    client.Send(Array.append (packet BinaryOpcode.FlushQ 1u "" [||] [||]) (noop 2u))
    expect client [ BinaryOpcode.FlushQ, 0x20, 1u, "Auth failure."; BinaryOpcode.Noop, 0, 2u, "" ]

let private brokenBehindWrites (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    client.Send(Array.concat [ set BinaryOpcode.Set 1u "k" "v"; get BinaryOpcode.Get 2u ""; noop 3u ])
    expect client [ BinaryOpcode.Set, 0, 1u, ""; BinaryOpcode.Get, 4, 2u, "Invalid arguments" ]
    Expect.equal (client.ReceiveToEnd().Length) 0 "closed behind the answer"

let private largeValues (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    let large = String('v', 1048576)
    client.Send(set BinaryOpcode.Set 1u "big" large)
    expect client [ BinaryOpcode.Set, 0, 1u, "" ]
    // More than the socket's buffers take: the rest is kept until the client reads.
    client.Send(
        Array.append (Array.concat [ for opaque in 2u .. 21u -> get BinaryOpcode.GetQ opaque "big" ]) (noop 22u)
    )

    Thread.Sleep 50

    expect client [
        for opaque in 2u .. 21u -> BinaryOpcode.GetQ, 0, opaque, large
        yield BinaryOpcode.Noop, 0, 22u, ""
    ]

let private statistics (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)

    for topic in [ ""; "settings"; "lsm" ] do
        client.Send(get BinaryOpcode.Stat 1u topic)
        let mutable count = 0
        let mutable isMore = true

        while isMore do
            let opcode, status, opaque, body = receive client
            Expect.equal (opcode, status, opaque) (BinaryOpcode.Stat, 0, 1u) topic
            isMore <- body <> ""
            count <- count + 1

        Expect.isGreaterThan count 10 topic

    client.Send(Array.append (get BinaryOpcode.Stat 2u "cachedump 1 0") (get BinaryOpcode.Stat 3u "reset"))
    expect client [ BinaryOpcode.Stat, 1, 2u, "Not found"; BinaryOpcode.Stat, 0, 3u, "" ]

let private auth (opaque: uint32) (user: string) (password: string) =
    packet BinaryOpcode.SaslAuth opaque "PLAIN" [||] (ascii $"\000%s{user}\000%s{password}")

let private authenticates (setting: Setting) =
    let path = Path.GetTempFileName()

    try
        File.WriteAllText(path, "foo:bar\n")
        use served = new Served({ setting with PasswordPath = Some path })
        use stranger = new Client(served.Port)
        stranger.Send(Array.append (set BinaryOpcode.SetQ 1u "k" "stolen") (noop 2u))
        expect stranger [ BinaryOpcode.SetQ, 0x20, 1u, "Auth failure." ]
        Expect.equal (stranger.ReceiveToEnd().Length) 0 "closed"
        use client = new Client(served.Port)

        let pipeline =
            Array.concat [
                get BinaryOpcode.SaslMechanisms 3u ""
                packet BinaryOpcode.Version 4u "" [||] [||]
                auth 5u "foo" "wrong"
                auth 6u "foo" "bar"
                get BinaryOpcode.GetK 7u "k"
                noop 8u
            ]

        // Also in pieces, which need not be packets.
        for piece in Array.chunkBySize 7 pipeline do
            client.Send piece

        expect client [
            BinaryOpcode.SaslMechanisms, 0, 3u, "PLAIN"
            BinaryOpcode.Version, 0, 4u, "1.2.3"
            BinaryOpcode.SaslAuth, 0x20, 5u, "Auth failure."
            BinaryOpcode.SaslAuth, 0, 6u, "Authenticated"
            BinaryOpcode.GetK, 1, 7u, "k"
            BinaryOpcode.Noop, 0, 8u, ""
        ]

        // Those who speak text show the same passwords in their way.
        use lines = new Client(served.Port)
        lines.Expect("get k\r\n", "CLIENT_ERROR unauthenticated\r\n")
        lines.Expect("set x 0 0 7\r\nfoo bar\r\n", "STORED\r\n")
        lines.Send "stats\r\nstats settings\r\nquit\r\n"
        let statistics = text (lines.ReceiveToEnd())
        Expect.stringContains statistics "STAT auth_cmds 3\r\n" "attempts"
        Expect.stringContains statistics "STAT auth_errors 1\r\n" "failures"
        Expect.stringContains statistics "STAT auth_enabled_sasl yes\r\n" "the setting"
    finally
        File.Delete path

let private value (number: int) = $"%06d{number}"

let private blocksAhead (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.Hold()
    // Keys far apart: each in a block of its own.
    let numbers = [ 0..100..900 ]

    client.Send(
        Array.append
            (Array.concat [ for number in numbers -> get BinaryOpcode.GetQ (uint32 number) $"k%04d{number}" ])
            (noop 1u)
    )

    // All of them are read at once: none of these reads ends before the last has begun.
    server.AwaitReads numbers.Length
    Expect.equal client.Socket.Available 0 "bytes for the one who waits"
    server.LetGo()

    expect client [
        for number in numbers -> BinaryOpcode.GetQ, 0, uint32 number, value number
        yield BinaryOpcode.Noop, 0, 1u, ""
    ]

let private writesWait (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    use other = server.Connect()
    server.Hold()

    client.Send(
        Array.concat [
            set BinaryOpcode.SetQ 1u "a" "x"
            incr 2u "k0100"
            packet BinaryOpcode.GatQ 3u "k0100" (u32 0u) [||]
            get BinaryOpcode.GetK 4u "a"
            packet BinaryOpcode.Delete 5u "k0500" [||] [||]
            noop 6u
        ]
    )

    server.AwaitReads 1
    other.Expect("set b 0 0 1\r\nx\r\n", "STORED\r\n")
    Expect.equal client.Socket.Available 0 "bytes for the one who waits"
    server.LetGo()

    expect client [
        BinaryOpcode.Increment, 0, 2u, "\000\000\000\000\000\000\000\101"
        BinaryOpcode.GatQ, 0, 3u, "101   "
        BinaryOpcode.GetK, 0, 4u, "ax"
        BinaryOpcode.Delete, 0, 5u, ""
        BinaryOpcode.Noop, 0, 6u, ""
    ]

    Expect.equal server.Store.Statistics.CommitReadCount 0L "blocks that commits had to read"

let private unreadable (setting: Setting) =
    use server = cold setting
    use client = server.Connect()
    server.FailWith(Some(IOException "the disk failed" :> exn))
    client.Send(Array.concat [ get BinaryOpcode.GetQ 1u "k0100"; incr 2u "k0100"; noop 3u ])

    expect client [
        BinaryOpcode.GetQ, 0x84, 1u, Connection.Unreadable
        BinaryOpcode.Increment, 0x82, 2u, Connection.Unreadable
        BinaryOpcode.Noop, 0, 3u, ""
    ]

    server.FailWith None
    client.Send(get BinaryOpcode.Get 4u "k0100")
    expect client [ BinaryOpcode.Get, 0, 4u, value 100 ]

[<Tests>]
let tests =
    testSequenced
    <| testList "Binary" [
        everywhere "cut in two, the replies are the same" inTwoPieces
        everywhere "thousands of quiet gets behind quiet sets" manyQuietGets
        everywhere "a client that speaks binary beside one that speaks text" besideText
        onTransports "an address for one protocol only" oneProtocolOnly
        onTransports "a flush that is not allowed" flushRefused
        everywhere "a broken packet is answered behind the writes before it" brokenBehindWrites
        onTransports "large values to a client that is slow to read" largeValues
        onTransports "statistics" statistics
        onTransports "who must authenticate does so with SASL PLAIN" authenticates
        everywhere "the blocks of gets that follow each other are read at once" blocksAhead
        everywhere "writes that need the current value wait like reads" writesWait
        everywhere "a block that cannot be read is an error for its keys" unreadable
    ]
