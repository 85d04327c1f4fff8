module LsmFs.Engine.Tests.BinaryParserTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Packets
open LsmFs.Engine.Tests.Streams

/// What a step says, in words; dropped bytes say nothing.
let private describe (input: byte[]) (step: ParseStep) (command: Command) : string list =
    let header () = Convert.ToHexString(input, 0, BinaryFormat.headerLength)
    let text (offset: int) (length: int) = Convert.ToHexString(input, offset, length)

    match step.Kind with
    | ParseStepKind.Parsed -> [
        $"%A{command} {header ()} {text command.KeyOffset command.KeyLength} {text command.ValueOffset command.ValueLength}"
      ]
    | ParseStepKind.Rejected when step.Reply = ReplyCode.None -> []
    | ParseStepKind.Rejected
    | ParseStepKind.RejectedForGood -> [ $"%A{step.Kind} %A{step.Reply} %A{step.Counters} {header ()}" ]
    | ParseStepKind.Close -> [ "close" ]
    | _ -> []

let private isEnd (kind: ParseStepKind) = kind = ParseStepKind.Close || kind = ParseStepKind.RejectedForGood

/// The steps a connection goes through, and what is left at its end.
let private trace (pieces: byte[] list) : string list * int * int64 =
    let steps = ResizeArray<string>()
    let mutable state = ParserState()
    let mutable unread: byte[] = [||]
    let mutable isClosed = false

    for piece in pieces do
        unread <- Array.append unread piece
        let mutable isWaiting = isClosed

        while not isWaiting do
            let mutable command = Unchecked.defaultof<Command>
            let step = BinaryParser.parse valueLengthMax &state (span unread) &command
            steps.AddRange(describe unread step command)
            isClosed <- isEnd step.Kind
            isWaiting <- isClosed || step.Kind = ParseStepKind.NeedMore
            let waits = step.Kind = ParseStepKind.NeedMore || step.Kind = ParseStepKind.Close
            Expect.equal (step.ConsumedBytes = 0) waits "a step consumes, or waits, or closes"

            if step.Kind = ParseStepKind.NeedMore then
                Expect.isTrue (step.WantedBytes = 0 || step.WantedBytes > unread.Length) "more is wanted than there is"

            Expect.isLessThanOrEqual state.SwallowBytes (int64 BinaryFormat.bodyLengthMax) "what is dropped is bounded"
            unread <- unread[step.ConsumedBytes ..]

    List.ofSeq steps, (if isClosed then 0 else unread.Length), (if isClosed then 0L else state.SwallowBytes)

let private parseOnce (bytes: byte[]) : struct (ParseStep * Command) =
    let mutable state = ParserState()
    let mutable command = Unchecked.defaultof<Command>
    let step = BinaryParser.parse valueLengthMax &state (span bytes) &command
    struct (step, command)

[<Tests>]
let tests =
    testList "Binary parser" [
        packetProperty "invariant 1: cuts do not change the steps"
        <| fun (PacketStream bytes) cuts ->
            let whole = trace [ bytes ]
            Expect.equal (trace (single bytes)) whole "byte by byte"
            Expect.equal (trace (pieces cuts bytes)) whole "in pieces"

        packetProperty "invariant 2: noise never throws and never stalls"
        <| fun (bytes: byte[]) ->
            for bytes in [ bytes; Array.append [| 0x80uy |] bytes; Array.append [| 0x80uy; 1uy; 0uy; 1uy; 8uy |] bytes ] do
                Expect.equal (trace (single bytes)) (trace [ bytes ]) "byte by byte"

        packetProperty "invariant 3: what is refused is not buffered"
        <| fun (PacketStream bytes) ->
            let _, unread, _ = trace (single bytes)
            // Header, the longest extras, key and value.
            Expect.isLessThan unread (BinaryFormat.headerLength + 20 + 250 + valueLengthMax) "unread"

        packetProperty "round trip: a good request is read as it was meant"
        <| fun (request: Request) ->
            let bytes = encode request
            let struct (step, command) = parseOnce bytes
            let text (offset: int) (length: int) = bytes[offset .. offset + length - 1]
            let opcode = BinaryFormat.loud (LanguagePrimitives.EnumOfValue request.Opcode)

            let isSasl =
                opcode = BinaryOpcode.SaslMechanisms
                || opcode = BinaryOpcode.SaslAuth
                || opcode = BinaryOpcode.SaslStep

            if isSasl then
                Expect.equal step.Kind ParseStepKind.Rejected "unknown"
                Expect.equal step.Reply ReplyCode.Error "unknown"
            else
                Expect.equal step.Kind ParseStepKind.Parsed "kind"
                Expect.equal step.ConsumedBytes bytes.Length "whole"
                Expect.equal command.Dialect Dialect.Binary "dialect"
                Expect.isFalse command.NoReply "quiet commands are the reply's business"
                // Invariant 5.
                Expect.equal (text command.KeyOffset command.KeyLength) request.Key "key"
                Expect.equal command.KeysLength command.KeyLength "one key"

                match opcode with
                | BinaryOpcode.Set
                | BinaryOpcode.Add
                | BinaryOpcode.Replace ->
                    Expect.equal (text command.ValueOffset command.ValueLength) request.Value "value"
                    Expect.equal command.Flags (Coding.readU32 (span request.Extras) 0) "flags"
                    Expect.equal (uint32 command.Exptime) (Coding.readU32 (span request.Extras) 4) "exptime"
                    Expect.equal (command.Verb = Verb.Cas) (request.Cas <> 0UL) "cas"
                    Expect.equal command.Number request.Cas "cas unique"
                | BinaryOpcode.Append
                | BinaryOpcode.Prepend ->
                    Expect.equal (text command.ValueOffset command.ValueLength) request.Value "value"
                | BinaryOpcode.Increment
                | BinaryOpcode.Decrement ->
                    Expect.equal command.Number (Coding.readU64 (span request.Extras) 0) "delta"
                    Expect.equal (text command.ValueOffset command.ValueLength) request.Extras[8..15] "initial"
                    Expect.equal (uint32 command.Exptime) (Coding.readU32 (span request.Extras) 16) "exptime"
                | BinaryOpcode.Touch
                | BinaryOpcode.Gat
                | BinaryOpcode.GatK ->
                    Expect.equal (uint32 command.Exptime) (Coding.readU32 (span request.Extras) 0) "exptime"
                | _ -> ()

        testCase "a quiet command is another that keeps silent"
        <| fun () ->
            let quiet =
                Enum.GetValues<BinaryOpcode>()
                |> Array.filter BinaryFormat.isQuiet
                |> Array.map (fun opcode -> string opcode)

            let named = Enum.GetNames<BinaryOpcode>() |> Array.filter (fun name -> name.EndsWith 'Q')

            Expect.equal quiet named "by name"

            for opcode in Enum.GetValues<BinaryOpcode>() do
                Expect.equal (string (BinaryFormat.loud opcode)) ((string opcode).TrimEnd 'Q') "loud"

        testCase "bodies that cannot be"
        <| fun () ->
            let isBroken (reply: ReplyCode) (bytes: byte[]) (why: string) =
                let struct (step, _) = parseOnce bytes
                Expect.equal (step.Kind, step.Reply) (ParseStepKind.RejectedForGood, reply) why

            let get = request BinaryOpcode.Get "key" [||] ""
            isBroken ReplyCode.Error (encodeAnnouncing 2u get) "shorter than the key"
            isBroken ReplyCode.BadCommandLineFormat (encodeAnnouncing 4u get) "a value behind the key"
            isBroken ReplyCode.BadCommandLineFormat (encodeAnnouncing 0x40000001u get) "over a gibibyte"
            isBroken ReplyCode.BadCommandLineFormat (encodeAnnouncing 0xFFFFFFFFu get) "over two"
            isBroken ReplyCode.BadCommandLineFormat (encode { get with Key = Array.create 251 1uy }) "key"
            isBroken ReplyCode.BadCommandLineFormat (encode { get with Key = [||] }) "no key"
            isBroken ReplyCode.BadCommandLineFormat (encode (request BinaryOpcode.Set "a" (u32 0u) "v")) "extras"
            isBroken ReplyCode.BadCommandLineFormat (encode (request BinaryOpcode.Noop "a" [||] "")) "a key too many"
            let unknown = request (LanguagePrimitives.EnumOfValue 0x70uy) "" [||] ""
            let struct (step, _) = parseOnce (encodeAnnouncing 0x40000000u unknown)
            Expect.equal step.Kind ParseStepKind.Rejected "a gibibyte of an unknown command is dropped"

        testCase "a value that is too large is dropped, and a set removes the old one"
        <| fun () ->
            let large = String('x', valueLengthMax + 1)
            let mutable state = ParserState()
            let mutable command = Unchecked.defaultof<Command>
            let add = encode (request BinaryOpcode.Add "key" (u64 0UL) large)
            let step = BinaryParser.parse valueLengthMax &state (span add) &command
            Expect.equal (step.Kind, step.Reply) (ParseStepKind.Rejected, ReplyCode.ObjectTooLarge) "add"
            Expect.equal step.Counters Counters.StoreTooLarge "counted"
            Expect.equal (int64 step.ConsumedBytes + state.SwallowBytes) (int64 add.Length) "the packet goes"

            state <- ParserState()
            let set = encode { request BinaryOpcode.SetQ "key" (u64 0UL) large with Cas = 7UL }
            let step = BinaryParser.parse valueLengthMax &state (span set) &command
            Expect.equal step.Kind ParseStepKind.Parsed "set"
            Expect.equal (command.Verb, command.KeyLength, command.ValueLength) (Verb.SetTooLarge, 3, 0) "set"
            Expect.equal (int64 step.ConsumedBytes + state.SwallowBytes) (int64 set.Length) "the packet goes"

        testCase "keys ahead are those of the gets that follow each other"
        <| fun () ->
            let packets =
                Array.concat [
                    encode (request BinaryOpcode.GetKQ "a b" [||] "")
                    encode (request BinaryOpcode.GatQ "c" (u32 1u) "")
                    encode (request BinaryOpcode.Noop "" [||] "")
                    encode (request BinaryOpcode.Get "d" [||] "")
                ]

            let mutable position = 0
            let next () = ofLatin (BinaryParser.nextKey (span packets) &position)
            Expect.equal (next ()) "a b" "first"
            Expect.equal (next ()) "c" "second"
            Expect.equal (next ()) "" "no get"
            Expect.equal (next ()) "" "stays"

            let coming = Array.zeroCreate<ComingKey> 8
            position <- 0
            Expect.equal (BinaryParser.comingKeys (span packets) &position (Span<ComingKey> coming)) 2 "both at once"
            let key (index: int) = ofLatin (ReadOnlySpan<byte>(packets, coming[index].Offset, coming[index].Length))
            Expect.equal [ key 0; key 1 ] [ "a b"; "c" ] "where they stand"

        testCase "parsing allocates nothing"
        <| fun () ->
            let packets =
                [
                    request BinaryOpcode.GetKQ "key" [||] ""
                    request BinaryOpcode.Set "key" (u64 0UL) "value"
                    request BinaryOpcode.Set "key" (u64 0UL) (String('x', 100))
                    request BinaryOpcode.Increment "key" (Array.zeroCreate 20) ""
                    request BinaryOpcode.Noop "key" [||] ""
                    request (LanguagePrimitives.EnumOfValue 0x70uy) "key" [||] "value"
                ]
                |> List.map encode
                |> Array.ofList

            let mutable total = 0

            let allocated =
                ParserTests.allocatedBy 1000 (fun () ->
                    for packet in packets do
                        let mutable state = ParserState()
                        let mutable command = Unchecked.defaultof<Command>
                        let step = BinaryParser.parse valueLengthMax &state (ReadOnlySpan<byte> packet) &command
                        total <- total + step.ConsumedBytes)

            Expect.equal allocated 0L "bytes"
            Expect.isGreaterThan total 0 "it did parse"
    ]
