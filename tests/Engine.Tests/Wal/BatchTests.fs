module LsmFs.Engine.Tests.BatchTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

/// Writes as a payload, numbered from `first`.
let payloadOf (first: uint64) (writes: Write list) : byte[] =
    writes |> List.mapi (fun index write -> encode (first + uint64 index) write) |> Array.concat

let private frameOf (bytes: byte[]) : Frame = { PayloadOffset = 0; PayloadLength = bytes.Length }

let private validate (bytes: byte[]) (previous: uint64) =
    Batch.validate "000001.wal" bytes (frameOf bytes) (SequenceNumber previous)

[<Tests>]
let tests =
    testList "Batch" [
        property "a batch of ascending writes is accepted" (fun (writes: Write list) ->
            let expected = if writes.IsEmpty then 4UL else 4UL + uint64 writes.Length
            validate (payloadOf 5UL writes) 4UL = Ok(SequenceNumber expected))

        property
            "a sequence number that does not ascend is corruption at its entry"
            (fun (first: Write) (second: Write) ->
                let one = encode 5UL first

                match validate (Array.append one (encode 5UL second)) 4UL with
                | Error corruption -> corruption.OffsetBytes = int64 one.Length
                | Ok _ -> false)

        property "a batch that is cut within an entry is corruption" (fun (write: Write) ->
            let bytes = encode 5UL write
            [ 1 .. bytes.Length - 1 ] |> List.forall (fun length -> (validate bytes[.. length - 1] 4UL).IsError))

        testCase "a flush has no key, and everything else has one" (fun () ->
            let entry kind key =
                let buffer = ByteBuffer 32

                let header = {
                    Kind = kind
                    Sequence = SequenceNumber 1UL
                    Flags = 0u
                    ExpirySeconds = 0u
                    Cas = 0UL
                    Marks = EntryMarks.None
                }

                EntryFormat.append buffer header (span key) (span [||]) |> ignore
                buffer.ToArray()

            Expect.isOk (validate (entry EntryKind.FlushAll [||]) 0UL) "a flush"
            Expect.isError (validate (entry EntryKind.FlushAll "k"B) 0UL) "a flush with a key"
            Expect.isError (validate (entry EntryKind.Value [||]) 0UL) "a value without a key")
    ]
