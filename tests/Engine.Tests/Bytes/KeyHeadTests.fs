module LsmFs.Engine.Tests.KeyHeadTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

[<Tests>]
let tests =
    testList "KeyHead" [
        property "orders as the keys do, and equal heads say nothing" (fun (Key left) (Key right) (skip: byte) ->
            let prefix = Array.zeroCreate (int skip % 20)
            let head (key: byte[]) = KeyHead.compute (span (Array.append prefix key)) prefix.Length
            let order = ReadOnlySpan<byte>(left).SequenceCompareTo(ReadOnlySpan<byte> right)

            if head left < head right then order < 0
            elif head left > head right then order > 0
            else true)

        test "is the next 8 bytes, with zeros after the end" {
            Expect.equal (KeyHead.compute (span "abcdefghij"B) 1) 0x6263646566676869UL "8 bytes and more"
            Expect.equal (KeyHead.compute (span "abc"B) 1) 0x6263000000000000UL "fewer"
            Expect.equal (KeyHead.compute (span "abc"B) 3) 0UL "none"
            Expect.equal (KeyHead.compute (span "abc"B) 4) 0UL "past the end"
        }
    ]
