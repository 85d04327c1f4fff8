module LsmFs.Engine.Tests.DigitsTests

open System
open System.Globalization
open System.Numerics
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter

/// Numbers around every boundary there is, and texts that are nearly numbers.
let private texts = [
    for power in [ 0; 7; 8; 31; 32; 63; 64; 65 ] do
        for offset in [ -2; -1; 0; 1; 2 ] do
            let number = BigInteger.Pow(BigInteger 2, power) + BigInteger offset
            string number
            string -number
            "0" + string number
            "+" + string number
            string number + "x"
    ""
    "-"
    "--1"
    "0x10"
    " 1"
    "1 "
    "00000000001"
    "000000000001"
    "-0000000001"
    "0000000000000000000001"
    "00000000000000000000001"
]

let private isPlain (text: string) (lengthMax: int) (isSigned: bool) =
    let digits =
        if isSigned && text.StartsWith '-' then
            text.Substring 1
        else
            text

    text.Length <= lengthMax && digits <> "" && digits |> Seq.forall Char.IsAsciiDigit

let private within (smallest: BigInteger) (largest: BigInteger) (text: string) =
    let number = BigInteger.Parse(text, CultureInfo.InvariantCulture)
    number >= smallest && number <= largest

let private check (text: string) =
    let bytes = latin text
    let mutable u64 = 7UL
    let mutable u32 = 7u
    let mutable i32 = 7
    let isU64 = isPlain text 22 false && within 0I (BigInteger UInt64.MaxValue) text
    let isU32 = isPlain text 11 false && within 0I (BigInteger UInt32.MaxValue) text
    let isI32 = isPlain text 11 true && within (BigInteger Int32.MinValue) (BigInteger Int32.MaxValue) text
    Expect.equal (Digits.tryUInt64 (span bytes) &u64) isU64 $"u64 {text}"
    Expect.equal (Digits.tryUInt32 (span bytes) &u32) isU32 $"u32 {text}"
    Expect.equal (Digits.tryInt32 (span bytes) &i32) isI32 $"i32 {text}"
    Expect.equal u64 (if isU64 then UInt64.Parse text else 0UL) $"u64 {text}"
    Expect.equal u32 (if isU32 then UInt32.Parse text else 0u) $"u32 {text}"
    Expect.equal i32 (if isI32 then Int32.Parse text else 0) $"i32 {text}"

[<Tests>]
let tests =
    testList "Digits" [
        testCase "boundaries" <| fun () -> texts |> List.iter check

        property "near numbers"
        <| fun (picks: byte list) ->
            check (String(picks |> List.map (fun pick -> "0194-+ x"[int pick % 8]) |> List.toArray))

        property "a stored number is read whatever stands around it"
        <| fun (number: uint64) (before: bool) (plus: bool) ->
            let text = (if before then " \t\r\n" else "") + (if plus then "+" else "") + string number

            for tail in [ ""; " "; "\r"; " x"; "\000"; "\000x" ] do
                let mutable value = 0UL
                Expect.isTrue (Digits.tryStored (span (latin (text + tail))) &value) "read"
                Expect.equal value number "value"

            for tail in [ "x"; "-"; "." ] do
                let mutable value = 0UL
                Expect.isFalse (Digits.tryStored (span (latin (text + tail))) &value) "refused"
    ]
