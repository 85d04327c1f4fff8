module LsmFs.Engine.Tests.ParserTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Streams

/// What a parse step says, in words; dropped bytes and silent refusals look alike and say nothing.
let private describe (input: byte[]) (step: ParseStep) (command: Command) : string list =
    let text (offset: int) (length: int) = ofLatin (ReadOnlySpan<byte>(input, offset, length))

    match step.Kind with
    | ParseStepKind.Parsed ->
        let key = text command.KeyOffset command.KeyLength
        let keys = text command.KeyOffset command.KeysLength
        let value = text command.ValueOffset command.ValueLength

        [
            $"%A{command.Verb} {command.NoReply} {key} [{keys}] {command.Flags} {command.Exptime} {command.Number} {value}"
        ]
    | ParseStepKind.Rejected when step.Reply = ReplyCode.None && step.Counters = Counters.None -> []
    | ParseStepKind.Rejected -> [ $"%A{step.Reply} %A{step.Counters}" ]
    | ParseStepKind.Close -> [ "close" ]
    | _ -> []

/// The steps a connection goes through, and what is left at its end.
let trace (pieces: byte[] list) : string list * int * int64 =
    let steps = ResizeArray<string>()
    let mutable state = ParserState()
    let mutable unread: byte[] = [||]
    let mutable isClosed = false

    for piece in pieces do
        unread <- Array.append unread piece
        let mutable isWaiting = isClosed

        while not isWaiting do
            let mutable command = Unchecked.defaultof<Command>
            let step = Parser.parse valueLengthMax &state (span unread) &command
            steps.AddRange(describe unread step command)
            isClosed <- step.Kind = ParseStepKind.Close
            isWaiting <- isClosed || step.Kind = ParseStepKind.NeedMore
            let consumes = step.Kind = ParseStepKind.Parsed || step.Kind = ParseStepKind.Rejected
            Expect.equal (step.ConsumedBytes > 0) consumes "a step consumes, or waits, or closes"
            Expect.isTrue (state.SwallowBytes >= 0L && state.SwallowBytes <= 0x7FFFFFFFL) "what is dropped is bounded"
            unread <- unread[step.ConsumedBytes ..]

    List.ofSeq steps, (if isClosed then 0 else unread.Length), (if isClosed then 0L else state.SwallowBytes)

/// One step on a fresh connection.
let private parseOnce (bytes: byte[]) : struct (ParseStep * Command) =
    let mutable state = ParserState()
    let mutable command = Unchecked.defaultof<Command>
    let step = Parser.parse ProtocolLimits.valueLengthMaxDefault &state (span bytes) &command
    struct (step, command)

let private parsesTo (line: string) (expected: Command) =
    let struct (step, command) = parseOnce (latin line)
    Expect.equal step.Kind ParseStepKind.Parsed line
    Expect.equal step.ConsumedBytes line.Length line
    Expect.equal command expected line

let private command (verb: Verb) (keyOffset: int) (keyLength: int) : Command = {
    Verb = verb
    Dialect = Dialect.Text
    NoReply = false
    KeyOffset = keyOffset
    KeyLength = keyLength
    KeysLength = keyLength
    Flags = 0u
    Exptime = 0
    Number = 0UL
    ValueOffset = 0
    ValueLength = 0
}

/// Bytes that `count` runs of an action allocate, after it ran often enough to be compiled. The least of several rounds: a collection in the middle of one
/// counts the rest of the thread's allocation buffer, and the runtime allocates on the thread when it compiles.
let allocatedBy (count: int) (action: unit -> unit) : int64 =
    for _ in 1..1000 do
        action ()

    let round () =
        let before = GC.GetAllocatedBytesForCurrentThread()

        for _ in 1..count do
            action ()

        GC.GetAllocatedBytesForCurrentThread() - before

    List.min [
        for _ in 1..6 do
            round ()
    ]

/// The keys that are found ahead from the start on, and where they end.
let private comingGets (room: int) (input: byte[]) : string list * int =
    let coming = Array.zeroCreate<ComingKey> room
    let mutable position = 0
    let count = Parser.comingGets (span input) &position (Span<ComingKey> coming)

    [
        for key in Array.take count coming -> ofLatin (ReadOnlySpan<byte>(input, key.Offset, key.Length))
    ],
    position

[<Tests>]
let tests =
    testList "Parser" [
        testCase "keys ahead are the first ones of whole get and mg lines that follow each other"
        <| fun () ->
            for input, keys, finish in
                [
                    "get a\r\nget bb cc\r\nmg d v t\r\nget e\nset f 0 0 1\r\nx\r\nget g\r\n",
                    [ "a"; "bb"; "d"; "e" ],
                    34
                    "get a\r\nget b", [ "a" ], 7
                    "mg a\r\nmg", [ "a" ], 6
                    "get \r\n", [ "" ], 6
                    "get \n", [], 0
                    "gets a\r\n", [], 0
                    "get", [], 0
                    "", [], 0
                ] do
                Expect.equal (comingGets 8 (latin input)) (keys, finish) input

            Expect.equal
                (comingGets 2 (latin "get a\r\nget b\r\nget c\r\n"))
                ([ "a"; "b" ], 14)
                "no more than there is room for"

        testPropertyWithConfig (config 300) "keys ahead lie in the input, whatever it is"
        <| fun (input: NonEmptyArray<byte>) (PositiveInt room) ->
            let bytes = Array.append "get a\r\nmg b\r\nget "B input.Get

            for start in 0..13 do
                let keys, finish = comingGets (1 + room % 8) bytes[start..]
                Expect.isTrue (finish <= bytes.Length - start) "inside"
                Expect.equal (finish = 0) keys.IsEmpty "keys take bytes"

        testPropertyWithConfig (config 100) "keys of a retrieval come in groups as they come one by one"
        <| fun (words: NonNegativeInt list) (PositiveInt room) ->
            let text =
                String.concat " " [ for NonNegativeInt word in words -> String('k', 1 + word % 40) + string word ]

            let bytes = latin text
            let coming = Array.zeroCreate<ComingKey>(1 + room % 20)
            let found = ResizeArray<string>()
            let mutable position = 0
            let mutable count = Parser.comingKeys (span bytes) &position (Span<ComingKey> coming)

            while count > 0 do
                for index in 0 .. count - 1 do
                    found.Add(ofLatin (ReadOnlySpan<byte>(bytes, coming[index].Offset, coming[index].Length)))

                count <- Parser.comingKeys (span bytes) &position (Span<ComingKey> coming)

            Expect.equal (String.concat " " found) text "every key once, in order"

        streamProperty "invariant 1: cuts do not change the steps"
        <| fun (Stream bytes) cuts ->
            let whole = trace [ bytes ]
            Expect.equal (trace (single bytes)) whole "byte by byte"
            Expect.equal (trace (pieces cuts bytes)) whole "in pieces"

        streamProperty "invariant 1: cuts do not change the steps of mutated streams"
        <| fun (MutatedStream bytes) cuts ->
            let whole = trace [ bytes ]
            Expect.equal (trace (single bytes)) whole "byte by byte"
            Expect.equal (trace (pieces cuts bytes)) whole "in pieces"

        streamProperty "invariant 1: what trails does not change what came before"
        <| fun (Stream first) (Stream second) ->
            let steps, unread, swallow = trace [ first ]

            if unread = 0 && swallow = 0L && not (List.contains "close" steps) then
                let joined, _, _ = trace [ Array.append first second ]
                let alone, _, _ = trace [ second ]
                Expect.equal joined (steps @ alone) "one after the other"

        streamProperty "invariant 2: noise never throws and never stalls"
        <| fun (Noise bytes) ->
            let whole = trace [ bytes ]
            Expect.equal (trace (single bytes)) whole "byte by byte"

        streamProperty "invariant 3: what is refused is not buffered"
        <| fun (Stream bytes) (MutatedStream mutated) ->
            for bytes in [ bytes; mutated ] do
                let _, unread, _ = trace (single bytes)
                // A line, and behind it a value and its end.
                Expect.isLessThanOrEqual unread (ProtocolLimits.lineLengthMax + 1 + valueLengthMax + 2) "unread"

        streamProperty "invariant 4: keys are 1 to 250 bytes without space and newline"
        <| fun (Stream bytes) (MutatedStream mutated) ->
            // The others have arguments in their place.
            let hasKeys (verb: Verb) = verb <> Verb.Stats && verb <> Verb.LruCrawler

            for bytes in [ bytes; mutated ] do
                let mutable state = ParserState()
                let mutable command = Unchecked.defaultof<Command>
                let mutable rest = bytes
                let mutable step = Parser.parse valueLengthMax &state (span rest) &command

                while step.ConsumedBytes > 0 do
                    if step.Kind = ParseStepKind.Parsed && hasKeys command.Verb && command.KeyLength > 0 then
                        // What follows the key of a meta command are flags.
                        let length =
                            match command.Verb with
                            | Verb.Get
                            | Verb.Gets
                            | Verb.Gat
                            | Verb.Gats -> command.KeysLength
                            | _ -> command.KeyLength

                        let keys = rest[command.KeyOffset .. command.KeyOffset + length - 1]
                        let mutable position = 0
                        let mutable count = 0
                        let mutable key = (Parser.nextKey (span keys) &position).ToArray()

                        while key.Length > 0 do
                            count <- count + 1
                            Expect.isLessThanOrEqual key.Length ProtocolLimits.keyLengthMax "length"
                            Expect.isFalse (Array.contains 32uy key || Array.contains 10uy key) "bytes"
                            key <- (Parser.nextKey (span keys) &position).ToArray()

                        Expect.isGreaterThan count 0 "at least one key"

                    rest <- rest[step.ConsumedBytes ..]
                    step <- Parser.parse valueLengthMax &state (span rest) &command

        testCase "commands"
        <| fun () ->
            parsesTo "get a\r\n" (command Verb.Get 4 1)
            parsesTo "gets key\n" (command Verb.Gets 5 3)
            parsesTo "get a b\r\n" { command Verb.Get 4 1 with KeysLength = 3 }
            parsesTo "gat 100 a\r\n" { command Verb.Gat 8 1 with Exptime = 100 }
            parsesTo "gats -1 a b\r\n" { command Verb.Gats 8 1 with KeysLength = 3; Exptime = -1 }
            parsesTo "delete a 0 noreply\r\n" { command Verb.Delete 7 1 with NoReply = true }
            parsesTo "incr a 18446744073709551615\r\n" { command Verb.Incr 5 1 with Number = UInt64.MaxValue }
            parsesTo "decr a 1 noreply\r\n" { command Verb.Decr 5 1 with Number = 1UL; NoReply = true }
            parsesTo "touch a -2147483648\r\n" { command Verb.Touch 6 1 with Exptime = Int32.MinValue }
            parsesTo "flush_all\r\n" (command Verb.FlushAll 0 0)
            parsesTo "flush_all  10 noreply \r\n" { command Verb.FlushAll 0 0 with Exptime = 10; NoReply = true }
            parsesTo "verbosity 3\r\n" { command Verb.Verbosity 0 0 with Number = 3UL }
            parsesTo "version\r\n" (command Verb.Version 0 0)
            parsesTo "quit\r\n" (command Verb.Quit 0 0)
            parsesTo "stats\r\n" (command Verb.Stats 0 0)
            parsesTo "stats \r\n" (command Verb.Stats 0 0)
            parsesTo "stats cachedump 1 0\r\n" { command Verb.Stats 6 9 with KeysLength = 13 }

            let stored = {
                command Verb.Set 4 1 with
                    Flags = UInt32.MaxValue
                    Exptime = Int32.MaxValue
                    ValueOffset = 31
                    ValueLength = 3
            }

            parsesTo "set a 4294967295 2147483647 3\r\nabc\r\n" stored
            parsesTo "set a 4294967295  2147483647 3\nabc\r\n" stored

            parsesTo "set a 1 2 3 noreply\r\nabc\r\n" {
                stored with
                    Flags = 1u
                    Exptime = 2
                    ValueOffset = 21
                    NoReply = true
            }

            parsesTo "cas a 1 -2 3 9\r\nabc\r\n" {
                stored with
                    Verb = Verb.Cas
                    Flags = 1u
                    Exptime = -2
                    ValueOffset = 16
                    Number = 9UL
            }

        testCase "an unfinished value says how much is wanted"
        <| fun () ->
            let struct (step, _) = parseOnce (latin "set a 0 0 1000\r\nabc")
            Expect.equal step.Kind ParseStepKind.NeedMore "unfinished"
            Expect.equal step.WantedBytes (16 + 1000 + 2) "line, value, end"
            let struct (step, _) = parseOnce (latin "append a 0 0 1000\r\n")
            Expect.equal step.WantedBytes (19 + 1000 + 2) "line, value, end"

        testCase "ten thousand keys in one get"
        <| fun () ->
            let keys = [ for number in 1..10_000 -> $"key:%d{number}" ]
            let line = latin ("get " + String.concat " " keys + "\r\n")
            let struct (step, command) = parseOnce line
            Expect.equal step.ConsumedBytes line.Length "whole"
            let all = ReadOnlySpan<byte>(line, command.KeyOffset, command.KeysLength).ToArray()
            let found = ResizeArray<string>()
            let mutable position = 0
            let mutable key = ofLatin (Parser.nextKey (span all) &position)

            while key <> "" do
                found.Add key
                key <- ofLatin (Parser.nextKey (span all) &position)

            Expect.sequenceEqual found keys "every key"

        testCase "long lines"
        <| fun () ->
            let kind (text: string) =
                let struct (step, _) = parseOnce (latin text)
                step.Kind

            let million = String('x', 1 <<< 20)
            Expect.equal (kind million) ParseStepKind.Close "a mebibyte of nothing"
            Expect.equal (kind ("set " + million)) ParseStepKind.Close "a mebibyte of set"
            Expect.equal (kind ("get " + million)) ParseStepKind.NeedMore "a mebibyte of get"
            Expect.equal (kind ("gets " + million)) ParseStepKind.NeedMore "a mebibyte of gets"
            Expect.equal (kind ("getsx " + million)) ParseStepKind.Close "a mebibyte of no command"
            Expect.equal (kind ("gat 0 " + million)) ParseStepKind.Close "a mebibyte of gat"
            Expect.equal (kind (String('x', 2048))) ParseStepKind.NeedMore "2048 bytes"
            Expect.equal (kind (String('x', 2049))) ParseStepKind.Close "2049 bytes"
            Expect.equal (kind (String('x', 2047) + "\r\n")) ParseStepKind.Rejected "2048 bytes and a newline"
            Expect.equal (kind (String('x', 2048) + "\r\n")) ParseStepKind.Close "2049 bytes and a newline"
            let most = ProtocolLimits.retrievalLineLengthMax
            Expect.equal (kind ("get " + String('x', most - 4))) ParseStepKind.NeedMore "8 MiB of get"
            Expect.equal (kind ("get " + String('x', most - 3))) ParseStepKind.Close "more than 8 MiB of get"

        testCase "parsing allocates nothing"
        <| fun () ->
            let lines =
                [
                    "get key:1\r\n"
                    "gets key:1 key:2 key:3\r\n"
                    "gat 100 key:1\r\n"
                    "set key:1 0 0 3 noreply\r\nabc\r\n"
                    "set key:1 0 -1  3\r\nabc\r\n"
                    "cas key:1 0 0 3 17\r\nabc\r\n"
                    "delete key:1\r\n"
                    "incr key:1 100\r\n"
                    "touch key:1 100\r\n"
                    "flush_all 10\r\n"
                    "stats items\r\n"
                    "verbosity 1\r\n"
                    "nonsense\r\n"
                    "set key:1 x 0 3\r\n"
                    "get "
                ]
                |> List.map latin
                |> Array.ofList

            let mutable total = 0

            let allocated =
                allocatedBy 1000 (fun () ->
                    for line in lines do
                        let mutable state = ParserState()
                        let mutable command = Unchecked.defaultof<Command>
                        let step = Parser.parse 1000 &state (ReadOnlySpan<byte> line) &command
                        total <- total + step.ConsumedBytes)

            Expect.equal allocated 0L "bytes"
            Expect.isGreaterThan total 0 "it did parse"
    ]
