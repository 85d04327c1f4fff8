module LsmFs.Engine.Tests.MetaTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter

let private now = 1_800_000_000u

let private parse (text: string) : struct (ParseStep * Command) =
    let mutable state = ParserState()
    let mutable command = Unchecked.defaultof<Command>
    let step = Parser.parse 1000 &state (span (latin text)) &command
    struct (step, command)

let private decode (text: string) : string =
    let target: byte[] = Array.zeroCreate ProtocolLimits.keyScratchLength
    let length = MetaKey.decode (span (latin text)) (target.AsSpan())
    ofLatin (ReadOnlySpan<byte>(target, 0, length))

/// Letters, each with an argument that is good for it.
let private goodFlags = [
    "c"
    "f"
    "h"
    "I"
    "k"
    "l"
    "q"
    "s"
    "t"
    "u"
    "v"
    "x"
    "C18446744073709551615"
    "D0"
    "E1"
    "F4294967295"
    "J7"
    "L"
    "N-1"
    "O" + String('o', 31)
    "P/path"
    "R30"
    "T2147483647"
]

/// The flags of a line, no more than it may have.
type private Flags = Flags of string list

type private FlagArbitraries =
    static member Flags() =
        Gen.shuffle goodFlags
        |> Gen.bind (fun flags -> Gen.choose (0, 17) |> Gen.map (fun count -> Flags(List.ofArray flags[.. count - 1])))
        |> Arb.fromGen

let private flagsProperty (name: string) (body: Flags -> unit) : Test =
    testPropertyWithConfig { config 200 with arbitrary = [ typeof<FlagArbitraries> ] } name body

let private entryOf (marks: EntryMarks) (expiry: uint32) (key: string) (value: string) : Entry =
    let write = {
        WriteKey = latin key
        WriteValue = ValueSome(latin value)
        WriteFlags = UInt32.MaxValue
        WriteExpirySeconds = expiry
        WriteCas = UInt64.MaxValue
        WriteMarks = marks
    }

    { Buffer = encode 77UL write; Offset = 0 }

/// What becomes of an item, in words.
let private becomes (line: string) (current: Entry voption) : string =
    let struct (step, command) = parse line
    Expect.equal step.Kind ParseStepKind.Parsed line
    let scratch: byte[] = Array.zeroCreate ProtocolLimits.scratchLength
    let change = Execute.decide &command (span (latin line)) &current now 1000 (scratch.AsSpan())

    if change.Kind = ChangeKind.Put then
        $"%s{ofLatin change.Head}%s{ofLatin change.Tail} %A{change.Marks} %A{change.Access} {change.ExpirySeconds} {change.Cas}"
    else
        string change.Kind

let private asksForChange (line: string) (current: Entry voption) : bool =
    let struct (_, command) = parse line
    Execute.changes &command (span (latin line)) current now

[<Tests>]
let tests =
    testList "Meta" [
        property "a key in base64 is decoded to what was encoded"
        <| fun (Key key) ->
            let text = Convert.ToBase64String key

            if text.Length <= ProtocolLimits.keyLengthMax then
                Expect.equal (decode text) (ofLatin (span key)) "the key"
                Expect.equal (decode ("!" + text + "-")) (ofLatin (span key)) "other characters are passed over"

        property "whatever is decoded fits, and is a key that its text in base64 stands for"
        <| fun (Key text) ->
            let text = ofLatin (span text)

            if text.Length <= ProtocolLimits.keyLengthMax then
                let key = decode text

                if key <> "" then
                    Expect.equal (decode (Convert.ToBase64String(latin key))) key "the same again"

        testCase "what is no base64 is no key"
        <| fun () ->
            for text in [ ""; "A"; "AA"; "AAA"; "AAAAA"; "===="; "A==="; "AAAA===="; "!!!!" ] do
                Expect.equal (decode text) "" text

        flagsProperty "good flags are all read, in any order"
        <| fun (Flags flags) ->
            let words = String.concat " " flags
            let mutable options = MetaOptions()
            Expect.equal (MetaFlags.read (span (latin "key")) (span (latin words)) &options) ReplyCode.None words

            let expected =
                flags |> List.fold (fun set flag -> set ||| MetaFlags.ofLetter (byte flag[0])) MetaFlags.None

            Expect.equal options.Flags expected words

            for verb in [ "mg"; "md"; "ma" ] do
                let line = $"{verb}  key {words}\r\n"
                let struct (step, command) = parse line
                Expect.equal step.Kind ParseStepKind.Parsed line
                Expect.equal step.ConsumedBytes line.Length line
                Expect.equal command.Flags (uint32 expected) line
                Expect.equal (line.Substring(command.KeyOffset, command.KeyLength)) "key" line
                Expect.equal (line.Substring(command.KeyOffset, command.KeysLength)) ($"key {words}") line

        flagsProperty "one flag that is wrong refuses the command"
        <| fun (Flags flags) ->
            for wrong, reply in
                [
                    "z", ReplyCode.InvalidFlag
                    "Tx", ReplyCode.BadToken
                    "?", ReplyCode.BadCommandLineFormat
                    "O" + String('o', 32), ReplyCode.OpaqueTooLong
                ] do
                let others = flags |> List.filter (fun flag -> flag[0] <> wrong[0])
                let line = "mg key " + String.concat " " (others @ [ wrong ]) + "\r\n"
                let struct (step, _) = parse line
                Expect.equal step.Kind ParseStepKind.Rejected line
                Expect.equal step.Reply reply line
                let struct (step, _) = parse ("ma" + line.Substring 2)
                let isOwn = reply = ReplyCode.BadCommandLineFormat || reply = ReplyCode.OpaqueTooLong
                Expect.equal step.Reply (if isOwn then reply else ReplyCode.InvalidOrDuplicateFlag) line

        testCase "the longest answer has room"
        <| fun () ->
            let key = String('\n', ProtocolLimits.keyLengthMax)
            let entry = entryOf (EntryMarks.Stale ||| EntryMarks.WinSent) (now + 1_000_000u) key (String('v', 1000))
            let line = $"mg a v c f h k l s t O{String('o', 31)}\r\n"
            let struct (_, command) = parse line

            let context = {
                NowSeconds = UInt32.MaxValue
                Cas = UInt64.MaxValue
                Access = { LastSeconds = 0u; IsFetched = true }
            }

            let target: byte[] = Array.zeroCreate Answer.headLengthMax
            let length = Answer.writeHitHead (target.AsSpan()) &command (span (latin line)) entry context
            Expect.stringEnds (ofLatin (ReadOnlySpan<byte>(target, 0, length))) " Z X\r\n" "the whole line"
            let debug = "me a\r\n"
            let struct (_, command) = parse debug
            let length = Answer.writeHitHead (target.AsSpan()) &command (span (latin debug)) entry context

            Expect.stringEnds
                (ofLatin (ReadOnlySpan<byte>(target, 0, length)))
                $" size={entry.Length}\r\n"
                "and that of me"

        testCase "which meta gets are writes"
        <| fun () ->
            let plain = entryOf EntryMarks.None 0u "a" "1"
            let soon = entryOf EntryMarks.None (now + 10u) "a" "1"
            let stale = entryOf EntryMarks.Stale 0u "a" "1"
            let sent = entryOf (EntryMarks.Stale ||| EntryMarks.WinSent) (now + 10u) "a" "1"

            for line, current, expected in
                [
                    "mg a v\r\n", ValueSome plain, false
                    "mg a v\r\n", ValueNone, false
                    "mg a N30\r\n", ValueSome plain, false
                    "mg a N30\r\n", ValueNone, true
                    "mg a R30\r\n", ValueSome plain, false
                    "mg a R30\r\n", ValueSome soon, true
                    "mg a R10\r\n", ValueSome soon, false
                    "mg a R30\r\n", ValueSome sent, false
                    "mg a\r\n", ValueSome stale, true
                    "mg a\r\n", ValueSome sent, false
                    "mg a T0\r\n", ValueSome sent, true
                ] do
                Expect.equal (asksForChange line current) expected line

        testCase "marks, last access, expiry and cas unique of what is written"
        <| fun () ->
            let none = ValueNone
            let stale = ValueSome(entryOf (EntryMarks.Stale ||| EntryMarks.WinSent) (now + 10u) "a" "1")
            let cas = UInt64.MaxValue

            for line, current, expected in
                [
                    "mg a N30\r\n", none, $" WinSent Fetched {now + 30u} 0"
                    "mg a N30 u E5\r\n", none, $" WinSent Written {now + 30u} 5"
                    "mg a T30\r\n", stale, $"1 Stale, WinSent Fetched {now + 30u} {cas}"
                    "mg a T30 u\r\n", stale, $"1 Stale, WinSent Kept {now + 30u} {cas}"
                    // Another command has sent the token meanwhile.
                    "mg a R30\r\n", stale, "Nothing"
                    "ms a 1\r\n2\r\n", stale, "2 None Written 0 0"
                    "ms a 1 C1 I T5\r\n2\r\n", stale, $"2 Stale, WinSent Written {now + 10u} 0"
                    "ms a 1 C1 T5\r\n2\r\n", stale, "Nothing"
                    "ms a 1 MA T5 E9\r\n2\r\n", stale, $"12 None Written {now + 10u} 9"
                    "ms YQ== 1 b\r\n2\r\n", none, "2 BinaryKey Written 0 0"
                    "md a I\r\n", stale, $"1 Stale Kept {now + 10u} 0"
                    "md a I T5 E9\r\n", stale, $"1 Stale Kept {now + 5u} 9"
                    "md a x\r\n", stale, $" None Written 0 {cas}"
                    "md a x I\r\n", stale, " Stale Written 0 0"
                    "md a\r\n", stale, "Delete"
                    "md a C5\r\n", stale, "Nothing"
                    "ma a\r\n", stale, $"2 Stale, WinSent Renewed {now + 10u} 0"
                    "ma a D9\r\n", stale, $"10 None Written {now + 10u} 0"
                    "ma a N30 J7\r\n", none, $"7 None Written {now + 30u} 0"
                    "incr a 1\r\n", stale, $"2 Stale, WinSent Renewed {now + 10u} 0"
                    "touch a 0\r\n", stale, $"1 Stale, WinSent Fetched 0 {cas}"
                    "append a 0 0 1\r\n2\r\n", stale, $"12 None Written {now + 10u} 0"
                    "set a 0 0 1\r\n2\r\n", stale, "2 None Written 0 0"
                ] do
                Expect.equal (becomes line current) expected line

        property "the table of last accesses knows an entry again, and takes no other for it"
        <| fun (sequence: uint64) (seconds: uint32) (isFetched: bool) (other: uint64) ->
            let bits = 12
            let number = SequenceNumber sequence
            let access = { LastSeconds = max 1u seconds; IsFetched = isFetched }
            let slot = Recency.pack bits number access.LastSeconds isFetched
            Expect.equal (Recency.unpack bits number slot 5u) access "the entry"
            let unknown = { LastSeconds = 5u; IsFetched = false }
            Expect.equal (Recency.unpack bits number 0UL 5u) unknown "an empty slot"

            if
                (other ^^^ sequence) &&& ((1UL <<< 43) - 1UL) <> 0UL
                && Recency.slotOf bits (SequenceNumber other) = Recency.slotOf bits number
            then
                Expect.equal (Recency.unpack bits (SequenceNumber other) slot 5u) unknown "another entry"

            let neighbour = SequenceNumber(sequence + (1UL <<< bits))
            Expect.equal (Recency.slotOf bits neighbour) (Recency.slotOf bits number) "the next entry of the slot"
            Expect.equal (Recency.unpack bits neighbour slot 5u) unknown "is not known"

        testCase "keys ahead are those of the mg lines that follow each other"
        <| fun () ->
            let keysOf (following: string) = [
                let bytes = latin following
                let mutable position = 0
                let mutable key = ofLatin (Parser.nextMetaKey (span bytes) &position)

                while key <> "" do
                    key
                    key <- ofLatin (Parser.nextMetaKey (span bytes) &position)
            ]

            for following, keys in
                [
                    "mg a\r\nmg bb v T30\nmn\r\nmg c\r\n", [ "a"; "bb" ]
                    "mg a v\r\nmg b", [ "a" ]
                    "mg a\r\nmg YQ== b\r\n", [ "a" ]
                    "mg a\r\nms b 1\r\nx\r\nmg c\r\n", [ "a" ]
                    "mg a\r\nmg b v v\r\n", [ "a" ]
                    "get a\r\n", []
                    "", []
                ] do
                Expect.equal (keysOf following) keys following

        testCase "the table takes its part of the budget, and not too little or too much"
        <| fun () ->
            for budget, bits in [ 0L, 10; 64L <<< 20, 16; 1L <<< 30, 20; 1L <<< 50, 24 ] do
                Expect.equal (Recency.slotBits budget) bits $"{budget}"

        testCase "a hit allocates nothing"
        <| fun () ->
            let line = latin "mg a2V5 b c f h k l s t v R30 Oabc\r\n"
            let entry = entryOf EntryMarks.BinaryKey 0u "key" "value"
            let target: byte[] = Array.zeroCreate Answer.headLengthMax
            let scratch: byte[] = Array.zeroCreate ProtocolLimits.keyScratchLength

            let context = {
                NowSeconds = now
                Cas = 1UL
                Access = { LastSeconds = now; IsFetched = true }
            }

            let allocated =
                ParserTests.allocatedBy 1000 (fun () ->
                    let mutable state = ParserState()
                    let mutable command = Unchecked.defaultof<Command>
                    Parser.parse 1000 &state (span line) &command |> ignore
                    let key = Answer.key &command (span line) (scratch.AsSpan())

                    if key.Length = 3 && not (Execute.changes &command (span line) (ValueSome entry) now) then
                        Answer.writeHitHead (target.AsSpan()) &command (span line) entry context |> ignore)

            Expect.equal allocated 0L "bytes"
    ]
