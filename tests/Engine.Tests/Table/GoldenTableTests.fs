/// The table that every later program must still read, byte for byte. After a deliberate change of the format, rewrite it with
/// `LSMFS_REWRITE_GOLDEN=1 dotnet run -c Release --project tests/Engine.Tests` under a new name that carries the new version, and keep the old one.
module LsmFs.Engine.Tests.GoldenTableTests

open System
open System.IO
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

let private pathOf (name: string) = Path.Combine(__SOURCE_DIRECTORY__, name)

/// The table of version 2, by compression.
let private goldenPath (compression: Compression) =
    pathOf $"golden-v2-%s{compression.ToString().ToLowerInvariant()}.sst"

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
                        ValueSome(Array.init (number * 5) (fun index -> byte (index / 4 * 31 + number)))
                WriteFlags = if number &&& 1 = 0 then 0u else 0xCAFEu
                WriteExpirySeconds = if number &&& 2 = 0 then 0u else 2_000_000_000u
                WriteCas = if number &&& 4 = 0 then 0UL else 0x0123456789ABCDEFUL
                WriteMarks = EntryMarks.None
            }
    ]

let private goldenOptions = {
    tinyOptions with
        BlockSizeBytes = 256
        PartitionSizeBytes = 60
        BloomBitsPerKey = 10
}

[<Tests>]
let tests =
    testList "GoldenTable" [
        for compression in [ Compression.None; Compression.Lz4; Compression.Zstd ] do
            test $"version 2, compressed %O{compression}, is written as it always was, and read" {
                let built = build { goldenOptions with Compression = compression } goldenModel

                if Environment.GetEnvironmentVariable "LSMFS_REWRITE_GOLDEN" = "1" then
                    File.WriteAllBytes(goldenPath compression, built)

                let golden = File.ReadAllBytes(goldenPath compression)

                // What a compressor makes of the same content may change with its version; that it can be read may not.
                if compression = Compression.None then
                    Expect.isTrue
                        (golden.AsSpan().SequenceEqual(ReadOnlySpan<byte> built))
                        "the builder writes the golden bytes"

                let table = openOrFail golden
                Expect.isGreaterThan table.PartitionCount 1 "partitions"
                Expect.equal (readAll golden table) (Ok(List.ofSeq goldenModel.Values)) "the entries"

                for KeyValue(key, entry) in goldenModel do
                    Expect.equal (find golden table (keyBytes key)) (ValueSome entry) key
            }

        test "golden tables are compressed as their names say" {
            let typesOf (compression: Compression) =
                let file = File.ReadAllBytes(goldenPath compression)

                dataBlocks file (openOrFail file)
                |> List.map (fun block -> file[int block.Handle.OffsetBytes + block.Handle.LengthBytes - 5])
                |> List.distinct

            Expect.equal (typesOf Compression.None) [ 0uy ] "none"
            Expect.contains (typesOf Compression.Lz4) 1uy "LZ4"
            Expect.contains (typesOf Compression.Zstd) 2uy "Zstandard"
        }

        test "version 1, which no release has written, is refused by name" {
            match openBytes (File.ReadAllBytes(pathOf "golden-v1.sst")) with
            | Ok _ -> failtest "was believed"
            | Error corruption -> Expect.stringContains corruption.Reason "format version 1" "the version"
        }
    ]
