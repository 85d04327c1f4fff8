/// Invariants 1 to 4 of `BinaryAuthentication`, and its answers.
module LsmFs.Engine.Tests.BinaryAuthenticationTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Packets
open LsmFs.Engine.Tests.Streams

/// What a client is told that sends these pieces, until it has authenticated as foo with the password bar; and the most bytes that were kept for it.
let private trace (pieces: byte[] list) : string list * int =
    let said = ResizeArray<string>()
    let mutable unread: byte[] = [||]
    let mutable isOver = false
    let mutable keptMax = 0

    let reply (code: ReplyCode) =
        let target: byte[] = Array.zeroCreate BinaryReply.lengthMax
        let length = BinaryReply.writeCode (target.AsSpan()) (span unread) code 0UL
        let responses, rest = decode target[.. length - 1]
        Expect.equal rest 0 "whole replies"

        for response in responses do
            said.Add $"%02x{response.Opcode} %02x{response.Status} {response.Body}"

    for piece in pieces do
        unread <- Array.append unread piece
        let mutable isWaiting = isOver

        while not isWaiting do
            let step = BinaryAuthentication.step (span unread)
            let text (offset: int) (length: int) = ofLatin (ReadOnlySpan<byte>(unread, offset, length))

            match step.Kind with
            | AuthenticationStepKind.Check ->
                let isKnown =
                    text step.UserOffset step.UserLength = "foo" && text step.PasswordOffset step.PasswordLength = "bar"

                reply (Authentication.answer isKnown)
                isOver <- isKnown
            | AuthenticationStepKind.Answer
            | AuthenticationStepKind.Failure -> reply step.Reply
            | AuthenticationStepKind.AnswerAndClose ->
                reply step.Reply
                said.Add "close"
                isOver <- true
            | AuthenticationStepKind.Version -> said.Add "version"
            | AuthenticationStepKind.Close ->
                said.Add "close"
                isOver <- true
            | _ -> isWaiting <- true

            let waits = step.Kind = AuthenticationStepKind.NeedMore || step.Kind = AuthenticationStepKind.Close

            Expect.equal (step.ConsumedBytes = 0) waits "a step consumes, or waits, or closes"
            unread <- unread[step.ConsumedBytes ..]

            if isWaiting then
                keptMax <- max keptMax unread.Length

            isWaiting <- isWaiting || isOver

    List.ofSeq said, keptMax

let private auth (token: string) = request BinaryOpcode.SaslAuth "PLAIN" [||] token

let private failure = "21 20 Auth failure."

let private tells (requests: Request list) (expected: string list) =
    let told, _ = trace [ requests |> List.map encode |> Array.concat ]
    Expect.equal told expected $"%A{requests}"

[<Tests>]
let tests =
    testList "Binary authentication" [
        packetProperty "invariants 1 and 2: cuts do not change the answers, and little is kept"
        <| fun (PacketStream bytes) cuts ->
            let ask = request BinaryOpcode.SaslMechanisms "" [||] ""

            for bytes in
                [
                    bytes
                    Array.concat [ encode ask; encode (auth "\000foo\000no"); bytes ]
                    Array.concat [ encode (auth (String('x', 1000))); bytes ]
                ] do
                let whole, _ = trace [ bytes ]
                let told, kept = trace (single bytes)
                Expect.equal told whole "byte by byte"
                Expect.equal (fst (trace (pieces cuts bytes))) whole "in pieces"

                Expect.isLessThan
                    kept
                    (BinaryFormat.headerLength + ProtocolLimits.keyLengthMax + Authentication.tokenLengthMax)
                    "kept"

        packetProperty "invariant 3: nothing but a password lets a client in"
        <| fun (request: Request) ->
            let told, _ = trace [ encode request ]
            let isSasl = request.Opcode >= 0x20uy && request.Opcode <= 0x22uy

            if request.Opcode = byte BinaryOpcode.Version then
                Expect.equal told [ "version" ] "everybody may know"
            elif isSasl then
                Expect.isFalse (List.contains "21 00 Authenticated" told) "no password"
            else
                Expect.equal told.Tail [ "close" ] "a stranger"
                Expect.stringEnds told.Head "20 Auth failure." "is told so"

        testCase "PLAIN"
        <| fun () ->
            tells [ request BinaryOpcode.SaslMechanisms "" [||] "" ] [ "20 00 PLAIN" ]
            tells [ auth "\000foo\000bar" ] [ "21 00 Authenticated" ]
            tells [ auth "somebody\000foo\000bar" ] [ "21 00 Authenticated" ]
            tells [ auth "\000foo\000no"; auth "\000foo\000bar" ] [ failure; "21 00 Authenticated" ]

            for token in [ ""; "\000"; "foo"; "foo\000bar"; "\000foo\000bar\000"; "\000foobar"; "\000foo\000" ] do
                tells [ auth token ] [ failure ]

            tells [ request BinaryOpcode.SaslAuth "CRAM-MD5" [||] "\000foo\000bar" ] [ failure ]
            tells [ request BinaryOpcode.SaslStep "PLAIN" [||] "\000foo\000bar" ] [ "22 20 Auth failure." ]

        testCase "what cannot be closes"
        <| fun () ->
            let invalid = [ "21 04 Invalid arguments"; "close" ]
            tells [ auth (String('x', Authentication.tokenLengthMax + 1)) ] invalid
            tells [ request BinaryOpcode.SaslAuth "" [||] "x" ] invalid
            tells [ request BinaryOpcode.SaslAuth "PLAIN" (u32 0u) "x" ] invalid
            tells [ request BinaryOpcode.SaslMechanisms "k" [||] "" ] [ "20 04 Invalid arguments"; "close" ]
            Expect.equal (fst (trace [ latin "get k\r\n" ])) [ "close" ] "text"
            Expect.equal (fst (trace [ encodeAnnouncing 2u (auth "x") ])) [ "21 81 Unknown command"; "close" ] "lengths"
    ]
