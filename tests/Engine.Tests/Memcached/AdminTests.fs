module LsmFs.Engine.Tests.AdminTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter

let private open' = { NoFlush = false; NoDump = false }

let private restricted (restrictions: Restrictions) (requests: string list) : string list * Server =
    let server = Server ProtocolLimits.valueLengthMaxDefault
    server.Restrictions <- restrictions
    let connection = Connection server

    let answers =
        requests
        |> List.map (fun request ->
            let before = connection.Output.Length
            connection.Receive(latin (request + "\r\n"))
            connection.Output.Substring(before).TrimEnd())

    answers, server

[<Tests>]
let tests =
    testList "Administration" [
        test "a memory limit can be asked for, and not be changed" {
            for mebibytes, reply in
                [
                    0u, ReplyCode.MemoryLimitTooSmall
                    7u, ReplyCode.MemoryLimitTooSmall
                    64u, ReplyCode.Ok
                    65u, ReplyCode.MemoryLimitNotAdjusted
                    UInt32.MaxValue, ReplyCode.MemoryLimitNotAdjusted
                ] do
                Expect.equal (AdminRequest.memoryLimit mebibytes (64L <<< 20)) reply $"{mebibytes}"
        }

        test "shutdown: which lines stop a server that allows it" {
            for line, reply in
                [
                    "shutdown", ReplyCode.None
                    "shutdown  ", ReplyCode.None
                    "shutdown graceful", ReplyCode.None
                    "shutdown  graceful ", ReplyCode.None
                    "shutdown now", ReplyCode.InvalidShutdownMode
                    "shutdown gracefully", ReplyCode.InvalidShutdownMode
                    "shutdown graceful now", ReplyCode.InvalidShutdownMode
                    // No reply is no mode.
                    "shutdown noreply", ReplyCode.InvalidShutdownMode
                    "shutdown graceful noreply", ReplyCode.InvalidShutdownMode
                ] do
                let input = ReadOnlySpan<byte>(latin (line + "\r\n"))
                let mutable state = ParserState()
                let mutable command = Unchecked.defaultof<Command>
                let step = Parser.parse ProtocolLimits.valueLengthMaxDefault &state input &command
                Expect.equal step.Kind ParseStepKind.Parsed line
                Expect.equal command.Verb Verb.Shutdown line
                Expect.equal command.NoReply (line.EndsWith "noreply") line
                Expect.equal (AdminRequest.shutdown &command true) reply line
                Expect.equal (AdminRequest.shutdown &command false) ReplyCode.ShutdownNotEnabled line
        }

        test "flush_all is refused where it is forbidden, and counts" {
            let requests = [
                "flush_all"
                "flush_all 10"
                "flush_all x"
                "flush_all noreply"
                "flush_all x noreply"
                "get a"
            ]

            let answers, server = restricted { open' with NoFlush = true } ("set a 0 0 1\r\nx" :: requests)
            let refusal = "CLIENT_ERROR flush_all not allowed"

            Expect.equal answers [ "STORED"; refusal; refusal; refusal; ""; ""; "VALUE a 0 1\r\nx\r\nEND" ] "refused"
            Expect.equal (server.Counter "cmd_flush") 5L "counted"
        }

        test "lists of keys are refused where they are forbidden, and nothing else is" {
            let answers, _ =
                restricted { open' with NoDump = true } [
                    "stats cachedump"
                    "stats cachedump 1 0"
                    "stats cachedump x"
                    "stats detail on"
                    "stats detail"
                    "lru_crawler metadump"
                    "lru_crawler metadump all"
                    "lru_crawler metadump x"
                    "lru_crawler mgdump all"
                    "lru_crawler crawl 1"
                    "flush_all"
                    "lru_crawler disable"
                    "lru_crawler metadump all"
                ]

            Expect.equal
                answers
                [
                    "CLIENT_ERROR stats cachedump not allowed"
                    "CLIENT_ERROR stats cachedump not allowed"
                    "CLIENT_ERROR stats cachedump not allowed"
                    "CLIENT_ERROR stats detail not allowed"
                    "CLIENT_ERROR stats detail not allowed"
                    "ERROR"
                    "ERROR metadump not allowed"
                    "ERROR metadump not allowed"
                    "ERROR key dump not allowed"
                    "OK"
                    "OK"
                    "OK"
                    "CLIENT_ERROR lru crawler disabled"
                ]
                "as memcached -X"
        }

        property "a cachedump lists what has a line, up to its limits" (fun (writes: Write list) (limit: byte) ->
            let request = StatsRequest.understand (span (latin $"cachedump 1 {limit}")) open'
            let list = KeyListing.ofStats request
            let buffer = ByteBuffer 16
            let mutable progress = KeyListProgress()
            let mutable rest = writes

            let isListed (write: Write) =
                not (write.WriteKey |> Array.exists (fun letter -> letter = 32uy || letter = 10uy || letter = 13uy))

            while not rest.IsEmpty
                  && KeyListing.tryAppend
                      list
                      buffer
                      { Buffer = encode 1UL rest.Head; Offset = 0 }
                      (Unchecked.defaultof<Access>)
                      &progress do
                rest <- rest.Tail

            let expected =
                writes |> List.filter isListed |> List.truncate (if limit = 0uy then Int32.MaxValue else int limit)

            let lines =
                expected
                |> List.map (fun write ->
                    let length = write.WriteValue |> ValueOption.map Array.length |> ValueOption.defaultValue 0
                    $"ITEM {ofLatin (span write.WriteKey)} [{length} b; {write.WriteExpirySeconds} s]\r\n")

            Expect.equal (ofLatin buffer.Written) (String.Concat lines) "the lines"
            Expect.equal progress.ItemCount (int64 expected.Length) "their number"
            Expect.equal progress.LengthBytes (int64 buffer.Length) "their length")

        test "a cachedump is cut at 2 MiB, its end included" {
            let entry = {
                Buffer =
                    encode 1UL {
                        WriteKey = "key"B
                        WriteValue = ValueSome [||]
                        WriteFlags = 0u
                        WriteExpirySeconds = 0u
                        WriteCas = 0UL
                        WriteMarks = EntryMarks.None
                    }
                Offset = 0
            }

            let list = KeyListing.ofStats (StatsRequest.understand (span (latin "cachedump 1 0")) open')
            let buffer = ByteBuffer 16
            let mutable progress = KeyListProgress()

            while KeyListing.tryAppend list buffer entry (Unchecked.defaultof<Access>) &progress do
                ()

            let line = "ITEM key [0 b; 0 s]\r\n".Length
            Expect.equal buffer.Length ((2 * 1024 * 1024 - "END\r\n".Length) / line * line) "whole lines"
        }

        propertyOf
            500
            "any words of lru and slabs are answered, and the connection stays in step"
            (fun (choices: byte list) ->
                let words = [|
                    "tune"
                    "mode"
                    "temp_ttl"
                    "reassign"
                    "automove"
                    "ratio"
                    "window"
                    "1"
                    "0.5"
                    "-1"
                    "x"
                    "flat"
                    "noreply"
                |]

                let line = String.Join(' ', choices |> List.map (fun choice -> words[int choice % words.Length]))

                for name in [ "lru"; "slabs" ] do
                    let answers, _ = restricted open' [ $"{name} {line}"; "version" ]
                    Expect.stringStarts answers[1] "VERSION" line
                    // Of a longer line the last word looked at is the 23rd.
                    let hasNoreply = line.Split(' ') |> Array.truncate 22 |> Array.last |> (=) "noreply"
                    Expect.equal (answers[0] = "") hasNoreply $"{name} {line}")
    ]
