namespace LsmFs.Engine

// The decision of a command as data, and what the decisions of classic and meta commands have in common.

open System
open System.Runtime.CompilerServices

/// What a decision does to the key.
type ChangeKind =
    | Nothing = 0uy
    /// The key gets the value `Head ++ Tail` with the flags, expiry and cas of the change.
    | Put = 1uy
    | Delete = 2uy
    /// Every entry so far is flushed when `ExpirySeconds` comes; 0 at once.
    | FlushAll = 3uy

/// The decision of a command, as data. Its spans lie in the input, in the current entry, or in the scratch memory: carry it out before
/// any of these change.
[<Struct; IsByRefLike; NoEquality; NoComparison>]
type Change = {
    Kind: ChangeKind
    /// The answer; `None` when the client wants none.
    Reply: ReplyCode
    /// What the command counts as.
    Counters: Counters
    /// The client's flags.
    Flags: uint32
    /// Unix time in seconds; 0 never. Of a flush: when it happens.
    ExpirySeconds: uint32
    /// The cas unique of the new entry; 0 lets its sequence number stand for it.
    Cas: uint64
    /// What meta commands remember of the new entry.
    Marks: EntryMarks
    /// What a put does to what is known of the last access.
    Access: AccessEffect
    /// The new number, for `ReplyCode.Number`.
    Number: uint64
    /// The new value is `Head` followed by `Tail`.
    Head: ReadOnlySpan<byte>
    Tail: ReadOnlySpan<byte>
}

/// What decisions are made of.
[<RequireQualifiedAccess>]
module Change =

    /// The longest relative expiry in seconds, 30 days: what is larger is a Unix time.
    [<Literal>]
    let relativeExptimeMax = 2592000

    /// The Unix time of an entry that is expired from the start.
    [<Literal>]
    let private alwaysExpired = 1u

    // What a number leaves of a longer old value is blank, as in memcached; past this length, where no number was meant, it is cut.
    let private blanks: byte[] = Array.create 4096 32uy

    /// When an entry expires that a client gave this exptime at `nowSeconds`: 0 never; negative already; up to 30 days from now on; else a Unix time.
    let expirySeconds (exptime: int32) (nowSeconds: uint32) : uint32 =
        if exptime = 0 then
            0u
        elif exptime < 0 then
            alwaysExpired
        elif exptime > relativeExptimeMax then
            uint32 exptime
        else
            uint32 (min (uint64 nowSeconds + uint64 exptime) 0xFFFFFFFFUL)

    /// An answer, and the key stays as it is.
    let inline answer (reply: ReplyCode) (counters: Counters) : Change = {
        Kind = ChangeKind.Nothing
        Reply = reply
        Counters = counters
        Flags = 0u
        ExpirySeconds = 0u
        Cas = 0UL
        Marks = EntryMarks.None
        Access = AccessEffect.Written
        Number = 0UL
        Head = ReadOnlySpan<byte>.Empty
        Tail = ReadOnlySpan<byte>.Empty
    }

    /// The item as it is.
    let inline keep (entry: Entry) (reply: ReplyCode) (counters: Counters) : Change = {
        answer reply counters with
            Kind = ChangeKind.Put
            Flags = entry.Flags
            ExpirySeconds = entry.ExpirySeconds
            Cas = entry.Cas
            Marks = entry.Marks
            Access = AccessEffect.Kept
            Head = entry.Value
    }

    /// Writes the digits of a number; returns how many.
    let writeDigits (number: uint64) (target: Span<byte>) : int =
        let mutable written = 0
        number.TryFormat(target, &written) |> ignore
        written

    /// The number of the item plus or minus the delta; false when its value is no number. Addition wraps at 2^64, subtraction ends at 0.
    let tryCount (entry: Entry) (isIncr: bool) (delta: uint64) (result: byref<uint64>) : bool =
        let mutable number = 0UL
        let good = Digits.tryStored entry.Value &number

        result <-
            (if isIncr then number + delta
             elif delta > number then 0UL
             else number - delta)

        good

    /// The item with a number in place of its value; its flags and expiry stay.
    let recount (entry: Entry) (number: uint64) (scratch: Span<byte>) (counters: Counters) : Change =
        let length = writeDigits number scratch
        // memcached counts in place while the number has room there, and makes a new item otherwise.
        let isInPlace = length <= entry.ValueLength

        let padding =
            if isInPlace && entry.ValueLength <= blanks.Length then
                entry.ValueLength - length
            else
                0

        {
            answer ReplyCode.Number counters with
                Kind = ChangeKind.Put
                Flags = entry.Flags
                ExpirySeconds = entry.ExpirySeconds
                Marks = (if isInPlace then entry.Marks else EntryMarks.None)
                Access =
                    (if isInPlace then
                         AccessEffect.Renewed
                     else
                         AccessEffect.Written)
                Number = number
                Head = Span<byte>.op_Implicit(scratch.Slice(0, length))
                Tail = ReadOnlySpan<byte>(blanks, 0, padding)
        }

    /// The item with a value behind or before its own; its flags and expiry stay.
    let join (entry: Entry) (value: ReadOnlySpan<byte>) (isAppend: bool) : Change = {
        answer ReplyCode.Stored Counters.CmdSet with
            Kind = ChangeKind.Put
            Flags = entry.Flags
            ExpirySeconds = entry.ExpirySeconds
            Head = (if isAppend then entry.Value else value)
            Tail = (if isAppend then value else entry.Value)
    }
