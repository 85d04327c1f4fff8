module LsmFs.Engine.Tests.StoredBlockTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

let private codecs = [ Compression.None; Compression.Lz4; Compression.Zstd ]

let private encodeWith (compression: Compression) (content: byte[]) : byte[] =
    let buffer = ByteBuffer 16
    BlockEncoder(compression).Append(buffer, span content)
    buffer.ToArray()

/// Opens a block that lies at an offset of its own in its buffer.
let private openStored (stored: byte[]) : Result<byte[], Corruption> =
    let handle = { OffsetBytes = 4096L; LengthBytes = stored.Length }

    BlockDecoder().Open(fileName, handle, "data block", Array.append [| 7uy; 7uy |] stored, 2)
    |> Result.map (fun content -> Array.sub content.Bytes content.Start content.Length)

let private withRightChecksum (stored: byte[]) : byte[] =
    let forged = Array.copy stored
    let covered = ReadOnlySpan<byte>(forged, 0, forged.Length - 4)
    Coding.writeU32 (Span<byte> forged) (forged.Length - 4) (Checksum.compute covered)
    forged

/// Content that shrinks: a few bytes again and again, cut off anywhere.
let private repetitive (pattern: byte[]) (length: int) : byte[] =
    Array.init length (fun index ->
        if pattern.Length = 0 then
            0uy
        else
            pattern[index % pattern.Length])

[<Tests>]
let tests =
    testList "StoredBlock" [
        property
            "is read back whole, whatever compresses it"
            (fun (pattern: byte[]) (length: uint16) (Value incompressible) ->
                for compression in codecs do
                    for content in [ repetitive pattern (int length % 9000); incompressible; [||] ] do
                        Expect.equal (openStored (encodeWith compression content)) (Ok content) $"%O{compression}")

        test "what does not shrink is stored raw, what does is not" {
            let random = Array.zeroCreate<byte> 4096
            Random(7).NextBytes random
            let repeated = repetitive "user:1234:name"B 4096

            for compression in [ Compression.Lz4; Compression.Zstd ] do
                let stored = encodeWith compression random
                Expect.equal stored (store random) $"random bytes, %O{compression}"
                let stored = encodeWith compression repeated
                Expect.isLessThan stored.Length 1000 $"repeated bytes, %O{compression}"
                Expect.equal stored[stored.Length - 5] (byte compression) "the stored type"
        }

        property
            "every changed byte is noticed before anything is decompressed"
            (fun (pattern: byte[]) (length: uint16) (at: uint32) (flip: byte) ->
                for compression in codecs do
                    let stored = encodeWith compression (repetitive pattern (int length % 5000))
                    let at = int (at % uint32 stored.Length)
                    stored[at] <- stored[at] ^^^ max 1uy flip

                    match openStored stored with
                    | Ok _ -> failtest "was believed"
                    | Error corruption ->
                        Expect.equal corruption.File fileName "the file is named"
                        Expect.equal corruption.OffsetBytes 4096L "and the place"
                        Expect.stringContains corruption.Reason "checksum" "and the reason")

        propertyOf
            500
            "bytes that were changed under a right checksum give other content or are refused, never thrown at"
            (fun (pattern: byte[]) (length: uint16) (changes: (uint16 * byte) list) (cut: byte) ->
                for compression in [ Compression.Lz4; Compression.Zstd ] do
                    let stored = encodeWith compression (repetitive pattern (200 + int length % 5000))
                    let trailer = stored[stored.Length - 5 ..]
                    let body = Array.truncate (stored.Length - 5 - int cut % 4) stored

                    for at, value in changes do
                        // The length in front is looked at below.
                        let at = 4 + int at % max 1 (body.Length - 4)

                        if at < body.Length then
                            body[at] <- value

                    match openStored (withRightChecksum (Array.append body trailer)) with
                    | Ok content -> Expect.isGreaterThan content.Length 0 "content of the length that is given"
                    | Error corruption -> Expect.equal corruption.OffsetBytes 4096L "the place")

        test "a length that cannot be is refused" {
            let content = repetitive "abc"B 1000

            for compression in [ Compression.Lz4; Compression.Zstd ] do
                for length in [ 0u; 1u; 999u; 1001u; 70_000u; 0x40100001u; UInt32.MaxValue ] do
                    let stored = encodeWith compression content
                    Coding.writeU32 (Span<byte> stored) 0 length

                    match openStored (withRightChecksum stored) with
                    | Ok _ -> failtest $"%d{length} was believed"
                    | Error corruption -> Expect.stringContains corruption.Reason "content" "the reason"
        }

        test "an unknown stored type is named" {
            let stored = store (repetitive "abc"B 100)
            stored[stored.Length - 5] <- 9uy

            match openStored (withRightChecksum stored) with
            | Ok _ -> failtest "was believed"
            | Error corruption -> Expect.stringContains corruption.Reason "stored type 9" "the type"
        }

        test "fewer bytes than a trailer are refused" {
            for length in 0..4 do
                Expect.isError (openStored (Array.zeroCreate length)) $"%d{length} bytes"
        }

        test "one encoder and one decoder serve many blocks" {
            for compression in codecs do
                let encoder, decoder, buffer = BlockEncoder compression, BlockDecoder(), ByteBuffer 16

                for length in [ 5000; 100; 9000; 1 ] do
                    buffer.Clear()
                    let content = repetitive "xyz"B length
                    encoder.Append(buffer, span content)
                    let handle = { OffsetBytes = 0L; LengthBytes = buffer.Length }

                    match decoder.Open(fileName, handle, "data block", buffer.Bytes, 0) with
                    | Ok opened ->
                        Expect.equal (Array.sub opened.Bytes opened.Start opened.Length) content $"%O{compression}"
                    | Error corruption -> failtest $"%O{corruption}"
        }
    ]
