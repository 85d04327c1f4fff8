module LsmFs.Engine.Tests.ExecuteTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter

let private now = 1_800_000_000u

let private entryOf (flags: uint32) (expiry: uint32) (cas: uint64) (value: string) : Entry =
    let write = {
        WriteKey = latin "a"
        WriteValue = ValueSome(latin value)
        WriteFlags = flags
        WriteExpirySeconds = expiry
        WriteCas = cas
        WriteMarks = EntryMarks.None
    }

    { Buffer = encode 77UL write; Offset = 0 }

/// A change without spans, so that it can be kept and compared.
type private Decision = {
    Kind: ChangeKind
    Reply: ReplyCode
    Counters: Counters
    Flags: uint32
    ExpirySeconds: uint32
    Cas: uint64
    Number: uint64
    Value: string
}

/// Parses one command and decides it.
let private decide (text: string) (current: Entry voption) : Decision =
    let input = latin text
    let mutable state = ParserState()
    let mutable command = Unchecked.defaultof<Command>
    let step = Parser.parse 1000 &state (span input) &command
    Expect.equal step.Kind ParseStepKind.Parsed text
    let scratch: byte[] = Array.zeroCreate ProtocolLimits.scratchLength
    let change = Execute.decide &command (span input) &current now 1000 (scratch.AsSpan())

    {
        Kind = change.Kind
        Reply = change.Reply
        Counters = change.Counters
        Flags = change.Flags
        ExpirySeconds = change.ExpirySeconds
        Cas = change.Cas
        Number = change.Number
        Value = ofLatin change.Head + ofLatin change.Tail
    }

let private nothing (reply: ReplyCode) (counters: Counters) : Decision = {
    Kind = ChangeKind.Nothing
    Reply = reply
    Counters = counters
    Flags = 0u
    ExpirySeconds = 0u
    Cas = 0UL
    Number = 0UL
    Value = ""
}

let private put (reply: ReplyCode) (counters: Counters) (flags: uint32) (expiry: uint32) (value: string) : Decision = {
    nothing reply counters with
        Kind = ChangeKind.Put
        Flags = flags
        ExpirySeconds = expiry
        Value = value
}

let private current = entryOf 5u 1_900_000_000u 0UL "10"

[<Tests>]
let tests =
    testList "Execute" [
        testCase "every verb, with and without a current entry"
        <| fun () ->
            let check (text: string) (hit: Decision) (miss: Decision) =
                Expect.equal (decide text (ValueSome current)) hit $"hit: {text}"
                Expect.equal (decide text ValueNone) miss $"miss: {text}"

            let set = Counters.CmdSet
            let stored = put ReplyCode.Stored set 7u (now + 100u) "x"
            check "set a 7 100 1\r\nx\r\n" stored stored
            check "add a 7 100 1\r\nx\r\n" (nothing ReplyCode.NotStored set) stored
            check "replace a 7 100 1\r\nx\r\n" stored (nothing ReplyCode.NotStored set)
            let joined = put ReplyCode.Stored set 5u 1_900_000_000u
            check "append a 7 100 1\r\nx\r\n" (joined "10x") (nothing ReplyCode.NotStored set)
            check "prepend a 7 100 1\r\nx\r\n" (joined "x10") (nothing ReplyCode.NotStored set)

            check
                "cas a 7 100 1 77\r\nx\r\n"
                { stored with Counters = set ||| Counters.CasHits }
                (nothing ReplyCode.NotFound (set ||| Counters.CasMisses))

            check
                "cas a 7 100 1 78\r\nx\r\n"
                (nothing ReplyCode.Exists (set ||| Counters.CasBadval))
                (nothing ReplyCode.NotFound (set ||| Counters.CasMisses))

            let refused = nothing ReplyCode.ObjectTooLarge Counters.StoreTooLarge
            check "set a 0 0 1001\r\n" { refused with Kind = ChangeKind.Delete } refused

            check
                "delete a\r\n"
                { nothing ReplyCode.Deleted Counters.DeleteHits with Kind = ChangeKind.Delete }
                (nothing ReplyCode.NotFound Counters.DeleteMisses)

            check
                "incr a 5\r\n"
                {
                    put ReplyCode.Number Counters.IncrHits 5u 1_900_000_000u "15" with
                        Number = 15UL
                }
                (nothing ReplyCode.NotFound Counters.IncrMisses)

            check
                "decr a 5\r\n"
                {
                    put ReplyCode.Number Counters.DecrHits 5u 1_900_000_000u "5 " with
                        Number = 5UL
                }
                (nothing ReplyCode.NotFound Counters.DecrMisses)

            let touched = {
                put ReplyCode.Touched (Counters.CmdTouch ||| Counters.TouchHits) 5u 0u "10" with
                    Cas = 77UL
            }

            check "touch a 0\r\n" touched (nothing ReplyCode.NotFound (Counters.CmdTouch ||| Counters.TouchMisses))

            check
                "gat 0 a\r\n"
                { touched with Reply = ReplyCode.Value }
                (nothing ReplyCode.None (Counters.CmdTouch ||| Counters.TouchMisses))

            let flushed = { nothing ReplyCode.Ok Counters.CmdFlush with Kind = ChangeKind.FlushAll }
            check "flush_all\r\n" flushed flushed
            check "flush_all -1\r\n" flushed flushed
            let later = { flushed with ExpirySeconds = now + 10u }
            check "flush_all 10\r\n" later later

        testCase "noreply changes the reply and nothing else"
        <| fun () ->
            for line in
                [
                    "set a 7 100 1{0}\r\nx\r\n"
                    "add a 7 100 1{0}\r\nx\r\n"
                    "replace a 7 100 1{0}\r\nx\r\n"
                    "append a 7 100 1{0}\r\nx\r\n"
                    "prepend a 7 100 1{0}\r\nx\r\n"
                    "cas a 7 100 1 77{0}\r\nx\r\n"
                    "set a 0 0 1001{0}\r\n"
                    "delete a{0}\r\n"
                    "incr a 5{0}\r\n"
                    "decr a 5{0}\r\n"
                    "touch a 0{0}\r\n"
                    "flush_all{0}\r\n"
                ] do
                for entry in [ ValueNone; ValueSome current ] do
                    let loud = decide (String.Format(line, "")) entry
                    let quiet = decide (String.Format(line, " noreply")) entry
                    Expect.equal quiet { loud with Reply = ReplyCode.None } line

        testCase "a touched entry keeps the cas unique through its own"
        <| fun () ->
            let entry = entryOf 0u 0u 12UL "x"
            Expect.equal (decide "touch a 0\r\n" (ValueSome entry)).Cas 12UL "an explicit one"
            Expect.equal (decide "cas a 0 0 1 12\r\ny\r\n" (ValueSome entry)).Reply ReplyCode.Stored "matches"

            Expect.equal
                (decide "cas a 0 0 1 77\r\ny\r\n" (ValueSome entry)).Reply
                ReplyCode.Exists
                "not the sequence number"

            Expect.equal (decide "append a 0 0 1\r\ny\r\n" (ValueSome entry)).Cas 0UL "a new one after a write"

        property "incr wraps, decr stops"
        <| fun (value: uint64) (delta: uint64) ->
            let entry = entryOf 1u 0u 0UL (string value)
            let up = decide $"incr a {delta}\r\n" (ValueSome entry)
            let down = decide $"decr a {delta}\r\n" (ValueSome entry)
            Expect.equal up.Number (value + delta) "incr"
            Expect.equal down.Number (if delta > value then 0UL else value - delta) "decr"

            for decision in [ up; down ] do
                Expect.equal (decision.Value.TrimEnd ' ') (string decision.Number) "digits"

                Expect.equal
                    decision.Value.Length
                    (max (string value).Length (string decision.Number).Length)
                    "never shorter"

        testCase "joining up to the limit and past it"
        <| fun () ->
            let entry = entryOf 0u 0u 0UL (String('x', 998))
            Expect.equal (decide "append a 0 0 2\r\nyy\r\n" (ValueSome entry)).Value.Length 1000 "up to it"

            Expect.equal
                (decide "append a 0 0 3\r\nyyy\r\n" (ValueSome entry))
                (nothing ReplyCode.NotStored Counters.CmdSet)
                "past it"

        testCase "exptime"
        <| fun () ->
            Expect.equal (Execute.expirySeconds 0 now) 0u "never"
            Expect.equal (Execute.expirySeconds 1 now) (now + 1u) "relative"
            Expect.equal (Execute.expirySeconds 2592000 now) (now + 2592000u) "30 days"
            Expect.equal (Execute.expirySeconds 2592001 now) 2592001u "more is absolute"
            Expect.equal (Execute.expirySeconds Int32.MaxValue now) 2147483647u "the last absolute"
            Expect.equal (Execute.expirySeconds 100 UInt32.MaxValue) UInt32.MaxValue "the end of time"

            for negative in [ -1; Int32.MinValue ] do
                let expiry = Execute.expirySeconds negative now
                Expect.isTrue (expiry > 0u && expiry < now) "negative is past"

        testCase "only writes are decided"
        <| fun () ->
            let mutable command = Unchecked.defaultof<Command>
            let mutable state = ParserState()
            let input = latin "get a\r\n"
            Parser.parse 1000 &state (span input) &command |> ignore
            let verb = command.Verb

            for verb in Enum.GetValues<Verb>() do
                Expect.equal (Execute.needsCurrent verb && not (Execute.isWrite verb)) false $"{verb}"

            Expect.isFalse (Execute.isWrite verb) "get"

            Expect.throwsT<InvalidOperationException>
                (fun () ->
                    let mutable command = Unchecked.defaultof<Command>
                    let current: Entry voption = ValueNone

                    let change =
                        Execute.decide &command (ReadOnlySpan<byte>.Empty) &current now 1000 (Span<byte>.Empty)

                    ignore change.Reply)
                "nothing to decide"

        testCase "topics of stats"
        <| fun () ->
            for text, topic in
                [
                    "", StatsTopic.General
                    "  ", StatsTopic.General
                    "settings", StatsTopic.Settings
                    "items", StatsTopic.Items
                    " slabs 1", StatsTopic.Slabs
                    "sizes", StatsTopic.Sizes
                    "conns", StatsTopic.Conns
                    "reset", StatsTopic.Reset
                    "res", StatsTopic.None
                    "detail on", StatsTopic.None
                ] do
                Expect.equal
                    (StatsRequest.understand (span (latin text)) { NoFlush = false; NoDump = false }).Topic
                    topic
                    text

        testCase "every counter has a name"
        <| fun () ->
            let bits = Enum.GetValues<Counters>() |> Array.filter (fun counter -> counter <> Counters.None)
            Expect.equal bits.Length Counter.names.Length "as many names"

            for bit in 0 .. Counter.names.Length - 1 do
                let name = (LanguagePrimitives.EnumOfValue(1u <<< bit): Counters).ToString()
                Expect.equal (Counter.names[bit].Replace("_", "")) (name.ToLowerInvariant()) "its own name"
    ]
