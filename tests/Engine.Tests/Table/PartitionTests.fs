module LsmFs.Engine.Tests.PartitionTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

/// A partition as FORMATS.md describes it, written without the builder; `between` comes where nothing should be.
let private partitionOf (between: byte[]) (start: uint64) (filter: byte[]) (blocks: (string * int) list) : byte[] =
    let buffer = ByteBuffer 64
    let ends = blocks |> List.scan (fun stop (separator, _) -> stop + separator.Length) 0 |> List.tail

    for separator, _ in blocks do
        buffer.Append(span (keyBytes separator))

    buffer.Append(span between)

    for separatorEnd, (_, blockEnd) in List.zip ends blocks do
        buffer.AppendU32(uint32 separatorEnd)
        buffer.AppendU32(uint32 blockEnd)

    buffer.Append(span filter)
    buffer.AppendU64 start
    buffer.AppendU32(uint32 filter.Length)
    buffer.AppendU32(uint32 blocks.Length)
    buffer.ToArray()

let private contentOf (bytes: byte[]) : BlockContent = { Bytes = bytes; Start = 0; Length = bytes.Length }

/// Of the table with the letters from a on, as its second partition, behind "b" and up to "h".
let private faultOf (bytes: byte[]) : string voption =
    Partition.findFault (contentOf bytes) false (span "b"B) (span "h"B) 1000L

let private noFilter = [| 0uy |]

[<Tests>]
let tests =
    testList "Partition" [
        test "is found in, block by block" {
            let bytes = partitionOf [||] 100UL noFilter [ "d", 50; "f", 70; "h", 100 ]
            Expect.isTrue (faultOf bytes).IsNone "nothing is wrong"
            let content = contentOf bytes
            Expect.equal (Partition.blockCount content) 3 "blocks"

            for key, block in [ "", 0; "c", 0; "d", 0; "da", 1; "f", 1; "g", 2; "h", 2; "i", 3 ] do
                Expect.equal (Partition.find content (span (keyBytes key))) block key

            Expect.equal (Partition.handle content 1) { OffsetBytes = 150L; LengthBytes = 20 } "the place of a block"
            Expect.equal (Partition.dataEndBytes content) 200L "the end"

            Expect.throwsT<ArgumentOutOfRangeException>
                (fun () -> Partition.handle content 3 |> ignore)
                "a block too many"
        }

        test "structures that cannot be are refused" {
            let refused (what: string) (bytes: byte[]) =
                Expect.isTrue (faultOf bytes).IsSome $"%s{what} was not refused"

            let make = partitionOf [||] 100UL noFilter
            refused "nothing" [||]
            refused "no blocks" (make [])

            refused
                "more blocks than bytes"
                (Array.append (Array.truncate 22 (make [ "h", 50 ])) [| 0uy; 1uy; 0uy; 0uy |])

            refused "bytes that belong to nothing" (partitionOf [| 1uy |] 100UL noFilter [ "h", 50 ])
            refused "a filter that is none" (partitionOf [||] 100UL [| 1uy; 2uy |] [ "h", 50 ])
            refused "a filter without its end" (partitionOf [||] 100UL [||] [ "h", 50 ])
            refused "an empty block" (make [ "d", 50; "h", 50 ])
            refused "blocks that go back" (make [ "d", 50; "h", 40 ])
            refused "blocks past the data" (make [ "d", 50; "h", 901 ])
            refused "blocks that begin past the data" (partitionOf [||] UInt64.MaxValue noFilter [ "h", 50 ])
            refused "equal separators" (make [ "d", 50; "d", 60; "h", 70 ])
            refused "descending separators" (make [ "f", 50; "d", 60; "h", 70 ])
            refused "a separator not above the partition before" (make [ "b", 50; "h", 60 ])
            refused "another last separator than the index has" (make [ "d", 50; "g", 60 ])
        }

        property
            "content that was changed under a right checksum is refused or used, never thrown at"
            (fun (first: Write) (rest: Write list) (at: int) (value: byte) (cut: byte) (keys: Key list) ->
                let file = build tinyOptions (modelFrom 1UL (first :: rest))
                let table = openOrFail file

                for number in 0 .. table.PartitionCount - 1 do
                    match openPartition file table number with
                    | Error corruption -> failtest $"%O{corruption}"
                    | Ok partition ->
                        let bytes = partition.Content.Bytes
                        bytes[int (uint32 at % uint32 bytes.Length)] <- value
                        let bytes = Array.truncate (bytes.Length - int cut % 3) bytes
                        let handle = table.PartitionHandle number

                        // Of the same stored length, so that it can stand in the same place.
                        let padded = Array.zeroCreate (handle.LengthBytes - StoredBlock.trailerLengthBytes)
                        Array.blit bytes 0 padded 0 (min bytes.Length padded.Length)

                        match table.OpenPartition(BlockDecoder(), number, store padded, 0) with
                        | Error corruption -> Expect.equal corruption.OffsetBytes handle.OffsetBytes "the place"
                        | Ok content ->
                            for Key key in keys do
                                let block = Partition.find content (span key)
                                Expect.isTrue (block >= 0 && block <= Partition.blockCount content) "a block"
                                Partition.mayContain content (KeyHash.compute (span key)) |> ignore

                            Expect.isLessThanOrEqual (Partition.dataEndBytes content) table.DataLengthBytes "within"

                            for block in 0 .. Partition.blockCount content - 1 do
                                Expect.isGreaterThan (Partition.handle content block).LengthBytes 0 "a block's length")
    ]
