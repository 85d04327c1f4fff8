namespace LsmFs.Engine

// Numbers as clients write them. memcached 1.6.45 reads all but two of its arguments this way: plain decimal digits, a minus sign
// where negative numbers exist, no plus sign, at most 11 (32-bit) or 22 (64-bit) characters. Functions return false and 0 for
// anything else, and allocate nothing.

open System
open System.Runtime.CompilerServices
open System.Runtime.InteropServices

/// Reading decimal numbers.
[<RequireQualifiedAccess>]
module Digits =

    /// Longest token that is read as a 32-bit number.
    [<Literal>]
    let private token32LengthMax = 11

    /// Longest token that is read as a 64-bit number.
    [<Literal>]
    let private token64LengthMax = 22

    /// The digits of `text` from `start` on, all of them; false when one is no digit, or the number exceeds 64 bits, or there is none.
    let private tryAll (text: ReadOnlySpan<byte>) (start: int) (value: byref<uint64>) : bool =
        let mutable index = start
        let mutable sum = 0UL
        let mutable good = text.Length > start

        while good && index < text.Length do
            let digit = uint64 (text[index] - 48uy)

            // 1844674407370955161 is the largest number that can take another digit, and only up to 5 at that.
            if digit > 9UL || sum > 1844674407370955161UL || (sum = 1844674407370955161UL && digit > 5UL) then
                good <- false
            else
                sum <- sum * 10UL + digit
                index <- index + 1

        value <- (if good then sum else 0UL)
        good

    /// A number of 0 to 2^64-1.
    let tryUInt64 (text: ReadOnlySpan<byte>) (value: byref<uint64>) : bool =
        if text.Length > token64LengthMax then
            value <- 0UL
            false
        else
            tryAll text 0 &value

    /// A number of 0 to 2^32-1.
    let tryUInt32 (text: ReadOnlySpan<byte>) (value: byref<uint32>) : bool =
        let mutable wide = 0UL
        let good = text.Length <= token32LengthMax && tryAll text 0 &wide && wide <= 0xFFFFFFFFUL
        value <- (if good then uint32 wide else 0u)
        good

    /// A number of -2^31 to 2^31-1.
    let tryInt32 (text: ReadOnlySpan<byte>) (value: byref<int32>) : bool =
        let isNegative = text.Length > 0 && text[0] = byte '-'
        let mutable wide = 0UL

        let good =
            text.Length <= token32LengthMax
            && tryAll text (if isNegative then 1 else 0) &wide
            && wide <= (if isNegative then 0x80000000UL else 0x7FFFFFFFUL)

        value <-
            (if not good then 0
             elif isNegative then int32 -(int64 wide)
             else int32 wide)

        good

    let inline private isSpace (character: byte) = character = 32uy || (character >= 9uy && character <= 13uy)

    /// The number a stored value stands for, as `incr` and `decr` read it: white space, a plus sign at most, digits, and then the end,
    /// white space or a zero byte, whatever follows. (memcached reads values with C's strtoull.)
    let tryStored (text: ReadOnlySpan<byte>) (value: byref<uint64>) : bool =
        let mutable start = 0

        while start < text.Length && isSpace text[start] do
            start <- start + 1

        if start < text.Length && text[start] = byte '+' then
            start <- start + 1

        let mutable finish = start

        while finish < text.Length && text[finish] - 48uy <= 9uy do
            finish <- finish + 1

        if finish < text.Length && text[finish] <> 0uy && not (isSpace text[finish]) then
            value <- 0UL
            false
        else
            tryAll (text.Slice(0, finish)) start &value

    /// Digits from `position` on, for as long as they are digits and at most `lengthMax` of them; moves `position` behind them. For hot paths:
    /// no digit at all gives 0 and leaves `position`. `lengthMax` is at most 18, which cannot overflow.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let internal readRun (text: ReadOnlySpan<byte>) (lengthMax: int) (position: byref<int>) : uint64 =
        let finish = min text.Length (position + lengthMax)
        let mutable sum = 0UL
        let mutable digit = 0u

        while position < finish
              && (digit <- uint32 (Unsafe.Add(&MemoryMarshal.GetReference text, position)) - 48u
                  digit <= 9u) do
            sum <- sum * 10UL + uint64 digit
            position <- position + 1

        sum
