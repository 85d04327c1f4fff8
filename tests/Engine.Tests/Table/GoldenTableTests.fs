/// The table that every later program must still read, byte for byte. After a deliberate change of the format, rewrite it with
/// `LSMFS_REWRITE_GOLDEN=1 dotnet run -c Release --project tests/Engine.Tests` under a new name that carries the new version, and keep the old one.
module LsmFs.Engine.Tests.GoldenTableTests

open System
open System.IO
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

let private goldenPath = Path.Combine(__SOURCE_DIRECTORY__, "golden-v1.sst")

/// Sixteen entries with every combination of kind and fields, in blocks of at most 256 bytes.
let private goldenModel: Model =
    modelFrom 1000UL [
        for number in 0..15 do
            {
                WriteKey = keyBytes $"user:%02d{number * 7 % 16}"
                WriteValue =
                    if number = 3 || number = 12 then
                        ValueNone
                    else
                        ValueSome(Array.init (number * 5) (fun index -> byte (index * 31 + number)))
                WriteFlags = if number &&& 1 = 0 then 0u else 0xCAFEu
                WriteExpirySeconds = if number &&& 2 = 0 then 0u else 2_000_000_000u
                WriteCas = if number &&& 4 = 0 then 0UL else 0x0123456789ABCDEFUL
            }
    ]

let private goldenOptions = { tinyOptions with BlockSizeBytes = 256; BloomBitsPerKey = 10 }

[<Tests>]
let tests =
    testList "GoldenTable" [
        test "version 1 is written as it always was, and read" {
            let built = build goldenOptions goldenModel

            if Environment.GetEnvironmentVariable "LSMFS_REWRITE_GOLDEN" = "1" then
                File.WriteAllBytes(goldenPath, built)

            let golden = File.ReadAllBytes goldenPath

            Expect.isTrue
                (golden.AsSpan().SequenceEqual(ReadOnlySpan<byte> built))
                "the builder writes the golden bytes"

            let table = openOrFail golden
            Expect.equal (readAll golden table) (Ok(List.ofSeq goldenModel.Values)) "the entries"

            for KeyValue(key, entry) in goldenModel do
                Expect.equal (find golden table (keyBytes key)) (ValueSome entry) key
        }
    ]
