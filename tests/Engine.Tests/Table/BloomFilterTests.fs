module LsmFs.Engine.Tests.BloomFilterTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private filterOf (bitsPerKey: int) (hashes: uint64[]) : byte[] =
    let buffer = ByteBuffer 64
    BloomFilter.append buffer bitsPerKey (ReadOnlySpan<uint64> hashes)
    buffer.ToArray()

let private hashOf (number: int) : uint64 = KeyHash.compute (span (BitConverter.GetBytes number))

let private falsePositiveRate (bitsPerKey: int) (keyCount: int) : float =
    let filter = filterOf bitsPerKey (Array.init keyCount hashOf)
    let probes = 100_000

    let hits =
        Seq.init probes (fun index -> hashOf (keyCount + index))
        |> Seq.filter (BloomFilter.mayContain filter 0 filter.Length)
        |> Seq.length

    float hits / float probes

[<Tests>]
let tests =
    testList "BloomFilter" [
        property "has no false negatives, wherever it lies" (fun (keys: Key list) (bits: byte) (lead: byte) ->
            let bitsPerKey = int bits % 30
            let hashes = keys |> List.map (fun (Key key) -> KeyHash.compute (span key)) |> Array.ofList
            let filter = filterOf bitsPerKey hashes
            let buffer = Array.append (Array.zeroCreate (int lead)) filter

            BloomFilter.isWellFormed filter.Length
            && hashes |> Array.forall (BloomFilter.mayContain buffer (int lead) filter.Length))

        test "has few false positives: below 1.5 % at 10 bits for each key, and fewer with more bits" {
            for keyCount in [ 1_000; 30_000; 200_000 ] do
                let rate = falsePositiveRate 10 keyCount
                Expect.isLessThan rate 0.015 $"10 bits, %d{keyCount} keys"

            Expect.isLessThan (falsePositiveRate 16 30_000) 0.002 "16 bits"
            Expect.isLessThan (falsePositiveRate 5 30_000) 0.12 "5 bits"
        }

        test "lets through what is expected of it, at every number of bits that tables have" {
            for bitsPerKey in FilterBudget.bitsPerKeyMin .. FilterBudget.bitsPerKeyMax do
                let measured = falsePositiveRate bitsPerKey 100_000
                let expected = BloomFilter.falsePositiveRate bitsPerKey
                let error = abs (measured - expected)
                Expect.isLessThan error (0.1 * expected + 0.0005) $"%d{bitsPerKey} bits: %f{measured}, not %f{expected}"
        }

        test "of no keys contains none" {
            let filter = filterOf 10 [||]
            Expect.equal filter.Length (BloomFilter.lineLengthBytes + 1) "one empty line"
            Expect.isFalse (Seq.init 1000 hashOf |> Seq.exists (BloomFilter.mayContain filter 0 filter.Length)) "no key"
        }

        test "of no bits excludes nothing" {
            let filter = filterOf 0 [| 1UL |]
            Expect.equal filter.Length 1 "no line"

            Expect.isTrue
                (Seq.init 1000 hashOf |> Seq.forall (BloomFilter.mayContain filter 0 filter.Length))
                "every key"
        }
    ]
