module LsmFs.Engine.Tests.TableFormatTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

let private footerOf
    (partitions: uint16)
    (properties: uint16)
    (index: uint16)
    (data: uint32)
    : TableFooter * byte[] * int64 =
    let footer = {
        DataLengthBytes = int64 data
        PartitionsLengthBytes = int64 partitions
        PropertiesLengthBytes = int properties
        IndexLengthBytes = int index
    }

    let buffer = ByteBuffer 64
    TableFormat.appendFooter buffer footer
    let sizeBytes = footer.IndexOffsetBytes + int64 index + int64 TableFormat.footerLengthBytes
    footer, buffer.ToArray(), sizeBytes

let private reasonOf (result: Result<TableFooter, Corruption>) : string =
    match result with
    | Ok _ -> failtest "was believed"
    | Error corruption ->
        Expect.equal corruption.File fileName "the file is named"
        corruption.Reason

let private decode (sizeBytes: int64) (bytes: byte[]) = TableFormat.decodeFooter fileName sizeBytes (span bytes)

/// Changes bytes of a footer and makes its checksum right again.
let private forge (change: byte[] -> unit) (bytes: byte[]) : byte[] =
    let forged = Array.copy bytes
    change forged
    Coding.writeU32 (Span<byte> forged) 24 (Checksum.compute (ReadOnlySpan<byte>(forged, 0, 24)))
    forged

[<Tests>]
let tests =
    testList "TableFormat" [
        property "a footer is read back" (fun partitions properties index data ->
            let footer, bytes, sizeBytes = footerOf partitions properties index data
            Expect.equal bytes.Length TableFormat.footerLengthBytes "length"
            decode sizeBytes bytes = Ok footer)

        property "a footer fits one file size only" (fun partitions properties index data (size: uint32) ->
            let _, bytes, sizeBytes = footerOf partitions properties index data
            Result.isOk (decode (int64 size) bytes) = (int64 size = sizeBytes))

        property
            "lengths that were changed under a right checksum are refused"
            (fun partitions properties index data (at: byte) (value: byte) ->
                let _, bytes, sizeBytes = footerOf partitions properties index data
                let at = int at % 20
                let forged = bytes |> forge (fun bytes -> bytes[at] <- value)
                Result.isOk (decode sizeBytes forged) = (bytes[at] = value))

        property
            "properties that contradict themselves are refused, whatever their checksum says"
            (fun (writes: Write list) ->
                let model = modelFrom 1UL writes

                if not model.IsEmpty then
                    let _, properties = buildTaking 3 tinyOptions model

                    let decode (properties: TableProperties) =
                        let buffer = ByteBuffer 64
                        TableFormat.appendProperties buffer properties
                        TableFormat.decodeProperties buffer.Written

                    Expect.isOk (decode properties) "as they were built"
                    let beyond = Array.append properties.LargestKey [| 1uy |]

                    for lying, reason in
                        [
                            { properties with EntryCount = 0L }, "a table of 0 entries"
                            { properties with TombstoneCount = properties.EntryCount + 1L }, "tombstones among"
                            { properties with TombstoneCount = -1L }, "tombstones among"
                            { properties with KeyBytes = -1L }, "a negative number of bytes"
                            { properties with ValueBytes = -1L }, "a negative number of bytes"
                            { properties with SmallestKey = beyond }, "a smallest key larger than the largest"
                            {
                                properties with
                                    SmallestSequence = SequenceNumber(properties.LargestSequence.Value + 1UL)
                            },
                            "a smallest sequence number larger"
                            { properties with EarliestExpirySeconds = 0u; LatestExpirySeconds = 1u },
                            "an earliest expiry later than the latest"
                            { properties with EarliestExpirySeconds = 3u; LatestExpirySeconds = 2u },
                            "an earliest expiry later than the latest"
                        ] do
                        match decode lying with
                        | Ok _ -> failtest reason
                        | Error found -> Expect.stringContains found reason "the reason")

        test "an unknown version is named beside the one that is known" {
            let _, bytes, sizeBytes = footerOf 70us 80us 90us 4096u
            let newer = bytes |> forge (fun bytes -> bytes[23] <- 5uy)
            let reason = reasonOf (decode sizeBytes newer)
            Expect.stringContains reason "format version 5" "found"
            Expect.stringContains reason $"knows only version %d{TableFormat.version}" "known"
        }

        test "reasons help an operator" {
            let _, bytes, sizeBytes = footerOf 70us 80us 90us 4096u
            Expect.stringContains (reasonOf (decode 10L bytes[..9])) "10 bytes, fewer than the 36" "a short file"
            Expect.stringContains (reasonOf (decode 0L [||])) "0 bytes, fewer than the 36" "an empty file"
            Expect.stringContains (reasonOf (decode sizeBytes (Array.zeroCreate 36))) "does not end in LsmFsTbl" "zeros"
            let damaged = Array.copy bytes
            damaged[3] <- 1uy
            Expect.stringContains (reasonOf (decode sizeBytes damaged)) "checksum" "a damaged offset"
        }

        property
            "properties are read back, whatever follows them, and no prefix of them is"
            (fun (first: Write) (rest: Write list) (Value after) ->
                let _, properties = buildTaking 3 tinyOptions (modelFrom 5UL (first :: rest))
                let buffer = ByteBuffer 64
                TableFormat.appendProperties buffer properties
                let bytes = buffer.ToArray()

                Expect.equal
                    (TableFormat.decodeProperties (span (Array.append bytes after)))
                    (Ok(struct (properties, bytes.Length)))
                    "whole"

                for length in 0 .. bytes.Length - 1 do
                    Expect.isError
                        (TableFormat.decodeProperties (ReadOnlySpan<byte>(bytes, 0, length)))
                        $"prefix of %d{length}")
    ]
