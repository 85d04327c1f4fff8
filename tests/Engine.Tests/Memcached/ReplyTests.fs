module LsmFs.Engine.Tests.ReplyTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter

[<Tests>]
let tests =
    testList "Reply" [
        property "a value line says what it holds, in the length that was announced"
        <| fun (Key key) (Value value) (flags: uint32) (cas: uint64) (hasCas: bool) ->
            let length = Reply.valueLength key.Length flags value.Length cas hasCas
            let target: byte[] = Array.zeroCreate length
            let written = Reply.writeValue (target.AsSpan()) (span key) flags (span value) cas hasCas
            Expect.equal written length "length"
            let suffix = if hasCas then $" {cas}" else ""

            Expect.equal
                (ofLatin (span target))
                $"VALUE {ofLatin (span key)} {flags} {value.Length}{suffix}\r\n{ofLatin (span value)}\r\n"
                "text"

            let line: byte[] = Array.zeroCreate Reply.valueLineLengthMax
            let lineLength = Reply.writeValueLine (line.AsSpan()) (span key) flags value.Length cas hasCas
            Expect.equal (lineLength + value.Length + 2) length "the line alone"

        property "an entry is written as its parts are"
        <| fun (write: Write) (hasCas: bool) ->
            let entry = { Buffer = encode 9UL write; Offset = 0 }
            let length = Reply.entryLength entry hasCas
            let target: byte[] = Array.zeroCreate length
            Expect.equal (Reply.writeEntry (target.AsSpan()) entry hasCas) length "length"
            let parts: byte[] = Array.zeroCreate length

            Reply.writeValue (parts.AsSpan()) entry.Key entry.Flags entry.Value entry.Cas hasCas |> ignore

            Expect.equal target parts "bytes"

        testCase "the longest value line has room"
        <| fun () ->
            let line: byte[] = Array.zeroCreate Reply.valueLineLengthMax
            let key: byte[] = Array.create ProtocolLimits.keyLengthMax 1uy

            let length =
                Reply.writeValueLine (line.AsSpan()) (span key) UInt32.MaxValue Int32.MaxValue UInt64.MaxValue true

            Expect.isLessThanOrEqual length Reply.valueLineLengthMax "length"

        property "numbers"
        <| fun (number: uint64) ->
            let target: byte[] = Array.zeroCreate Reply.numberLengthMax
            let length = Reply.writeNumber (target.AsSpan()) number
            Expect.equal (ofLatin (ReadOnlySpan<byte>(target, 0, length))) $"{number}\r\n" "text"

        testCase "statistics, version, and the largest number"
        <| fun () ->
            let target: byte[] = Array.zeroCreate 100
            let text (length: int) = ofLatin (ReadOnlySpan<byte>(target, 0, length))
            Expect.equal (text (Reply.writeStat (target.AsSpan()) "pid" "12")) "STAT pid 12\r\n" "stat"
            Expect.equal (Reply.statLength "pid" "12") 13 "length"
            Expect.equal (text (Reply.writeVersion (target.AsSpan()) "1.2.3")) "VERSION 1.2.3\r\n" "version"
            Expect.equal (Reply.versionLength "1.2.3") 15 "length"

            Expect.equal
                (text (Reply.writeServerError (target.AsSpan()) "disk full"))
                "SERVER_ERROR disk full\r\n"
                "refusal"

            Expect.equal (Reply.serverErrorLength "disk full") 24 "length"

            Expect.equal
                (text (Reply.writeNumber (target.AsSpan()) UInt64.MaxValue))
                "18446744073709551615\r\n"
                "number"

        testCase "fixed lines end as lines do, and fit"
        <| fun () ->
            for code in Enum.GetValues<ReplyCode>() do
                let line = ofLatin (Reply.line code)
                let isEmpty = code = ReplyCode.None || code = ReplyCode.Number || code = ReplyCode.Value
                Expect.equal (line = "") isEmpty $"{code}"
                Expect.isTrue (isEmpty || line.EndsWith "\r\n") $"{code}"
                Expect.isLessThanOrEqual line.Length Reply.lineLengthMax $"{code}"
    ]
