namespace LsmFs.Engine

// What the parsers, of lines and of the binary protocol, make of the bytes of a connection: a step at a time.

open System

/// What the parser made of the bytes it was given.
type ParseStepKind =
    /// Nothing yet: call again with the same bytes and more behind them. `WantedBytes` is how many in all, 0 when unknown.
    | NeedMore = 0uy
    /// The command is complete, value included. The bytes must stay where they are until it is executed.
    | Parsed = 1uy
    /// Nothing to execute: send `Reply` (which may be none) and go on behind `ConsumedBytes`.
    | Rejected = 2uy
    /// The connection cannot go on: close it without a word.
    | Close = 3uy
    /// The connection cannot go on: send `Reply`, and close it.
    | RejectedForGood = 4uy

/// One step of the parser.
[<Struct>]
type ParseStep = {
    Kind: ParseStepKind
    /// The answer to what was rejected.
    Reply: ReplyCode
    /// What a rejected line counts as.
    Counters: Counters
    /// Bytes that are done with; 0 for `NeedMore` and `Close`.
    ConsumedBytes: int
    /// For `NeedMore`: the length the input must reach before another call makes sense; 0 unknown.
    WantedBytes: int
}

/// What the parser remembers of a connection between calls. The default value is a fresh connection.
[<Struct; NoEquality; NoComparison>]
type ParserState =
    /// Bytes of a refused value that are still to be dropped.
    val mutable SwallowBytes: int64
    /// Leading bytes of the unfinished line that hold no newline, so that none is searched twice.
    val mutable ScannedBytes: int

/// The steps that parsers take.
[<RequireQualifiedAccess>]
module internal ParseStep =

    let inline needMoreOf (wantedBytes: int) : ParseStep = {
        Kind = ParseStepKind.NeedMore
        Reply = ReplyCode.None
        Counters = Counters.None
        ConsumedBytes = 0
        WantedBytes = wantedBytes
    }

    let inline parsed (consumedBytes: int) : ParseStep = {
        Kind = ParseStepKind.Parsed
        Reply = ReplyCode.None
        Counters = Counters.None
        ConsumedBytes = consumedBytes
        WantedBytes = 0
    }

    let rejectedCounting (counters: Counters) (reply: ReplyCode) (noReply: bool) (consumedBytes: int) : ParseStep = {
        Kind = ParseStepKind.Rejected
        Reply = (if noReply then ReplyCode.None else reply)
        Counters = counters
        ConsumedBytes = consumedBytes
        WantedBytes = 0
    }

    let rejected (reply: ReplyCode) (noReply: bool) (consumedBytes: int) : ParseStep =
        rejectedCounting Counters.None reply noReply consumedBytes

    let inline close () : ParseStep = {
        Kind = ParseStepKind.Close
        Reply = ReplyCode.None
        Counters = Counters.None
        ConsumedBytes = 0
        WantedBytes = 0
    }

    /// Drops bytes of a refused value.
    let swallow (state: byref<ParserState>) (input: ReadOnlySpan<byte>) : ParseStep =
        let dropped = int (min state.SwallowBytes (int64 input.Length))
        state.SwallowBytes <- state.SwallowBytes - int64 dropped
        rejected ReplyCode.None true dropped
