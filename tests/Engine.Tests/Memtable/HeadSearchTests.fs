module LsmFs.Engine.Tests.HeadSearchTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private headsGen =
    gen {
        let! count = Gen.choose (0, 64)

        let! heads =
            Gen.arrayOfLength
                count
                (Gen.elements [ 0UL; 1UL; 2UL; 0x7FFFFFFFFFFFFFFFUL; 0x8000000000000000UL; UInt64.MaxValue ])

        let! wanted = Gen.elements [ 0UL; 1UL; 3UL; 0x7FFFFFFFFFFFFFFFUL; 0x8000000000000000UL; UInt64.MaxValue ]
        return struct (heads, wanted)
    }

let private headsProperty name (body: uint64[] -> uint64 -> unit) =
    testPropertyWithConfig
        (config 300)
        name
        (Prop.forAll (Arb.fromGen headsGen) (fun (struct (heads, wanted)) -> body heads wanted))

/// The heads, followed by what must not be found.
let private padded (heads: uint64[]) (filler: uint64) : uint64[] =
    Array.append heads (Array.create (72 - heads.Length) filler)

[<Tests>]
let tests =
    testList "HeadSearch" [
        property "heads order as the keys do, or are equal" (fun (Key shared) (Key left) (Key right) ->
            let left, right = Array.append shared left, Array.append shared right
            let leftHead = KeyHead.compute (span left) shared.Length
            let rightHead = KeyHead.compute (span right) shared.Length
            let order = sign ((span left).SequenceCompareTo(span right))
            Expect.isTrue (compare leftHead rightHead = order || leftHead = rightHead) "order")

        property "a head is the 8 bytes after the prefix, padded with zeros" (fun (Key key) (NonNegativeInt prefix) ->
            let prefix = prefix % (key.Length + 3)
            let wanted = Array.append (Array.skip (min prefix key.Length) key) (Array.zeroCreate 8)
            Expect.equal (KeyHead.compute (span key) prefix) (Coding.readU64 (span wanted) 0) "head")

        headsProperty "every width finds the equal heads" (fun heads wanted ->
            let model =
                heads
                |> Array.indexed
                |> Array.fold (fun mask (index, head) -> if head = wanted then mask ||| (1UL <<< index) else mask) 0UL

            let heads, count = padded heads wanted, heads.Length
            Expect.equal (HeadSearch.equalMask &heads[0] count wanted) model "chosen width"
            Expect.equal (HeadSearch.equalMask512 &heads[0] count wanted) model "512 bits"
            Expect.equal (HeadSearch.equalMask256 &heads[0] count wanted) model "256 bits"
            Expect.equal (HeadSearch.equalMask128 &heads[0] count wanted) model "128 bits"
            Expect.equal (HeadSearch.equalMaskScalar &heads[0] count wanted) model "scalar")

        headsProperty "every width counts the smaller heads" (fun heads wanted ->
            let model = heads |> Array.filter (fun head -> head < wanted) |> Array.length
            let capacity = (heads.Length + 7) / 8 * 8
            let heads = padded (Array.sort heads) UInt64.MaxValue
            Expect.equal (HeadSearch.rank &heads[0] capacity wanted) model "chosen width"
            Expect.equal (HeadSearch.rank512 &heads[0] capacity wanted) model "512 bits"
            Expect.equal (HeadSearch.rank256 &heads[0] capacity wanted) model "256 bits"
            Expect.equal (HeadSearch.rank128 &heads[0] capacity wanted) model "128 bits"
            Expect.equal (HeadSearch.rankScalar &heads[0] capacity wanted) model "scalar")
    ]
