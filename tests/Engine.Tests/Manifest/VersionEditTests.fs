module LsmFs.Engine.Tests.VersionEditTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private encode (edit: VersionEdit) : byte[] =
    let buffer = ByteBuffer 64
    VersionEdit.encode buffer edit
    buffer.ToArray()

let private decode (bytes: byte[]) =
    VersionEdit.decode "MANIFEST-000001" bytes { PayloadOffset = 0; PayloadLength = bytes.Length }

[<Tests>]
let tests =
    testList "VersionEdit" [
        editProperty "what is encoded is read back" (fun (Edit edit) -> decode (encode edit) = Ok edit)

        // Each prefix costs an exception inside the decoder, so a few edits must do.
        editPropertyOf 30 "no prefix throws or invents a table" (fun (Edit edit) ->
            let bytes = encode edit

            for length in 0 .. bytes.Length - 1 do
                match decode bytes[.. length - 1] with
                | Error corruption -> Expect.equal corruption.File "MANIFEST-000001" "the file is named"
                | Ok prefix ->
                    let isPrefixOf (whole: 'item list) (part: 'item list) = List.truncate part.Length whole = part

                    Expect.isTrue
                        (isPrefixOf edit.Added prefix.Added && isPrefixOf edit.Removed prefix.Removed)
                        "a prefix")

        testCase "an unknown field is corruption at its place" (fun () ->
            let bytes =
                Array.append (encode { VersionEdit.empty with NextFile = ValueSome(FileNumber 9UL) }) [| 99uy |]

            match decode bytes with
            | Error corruption ->
                Expect.equal
                    (corruption.OffsetBytes, corruption.Reason)
                    (9L, "a version edit has the unknown field 99")
                    "place and reason"
            | Ok _ -> failtest "an unknown field was skipped")

        testCase "a flush is a watermark at once, or a time that keeps the watermark" (fun () ->
            let now = FlushState.apply (SequenceNumber 5UL) 0u FlushState.none
            let later = FlushState.apply (SequenceNumber 9UL) 100u now
            Expect.isTrue (now.Covers(SequenceNumber 5UL, 0u)) "what was there"
            Expect.isFalse (now.Covers(SequenceNumber 6UL, 0u)) "what comes after"
            Expect.isTrue (later.Covers(SequenceNumber 5UL, 50u)) "the watermark stays"
            Expect.isFalse (later.Covers(SequenceNumber 6UL, 99u)) "not before its time"
            Expect.isTrue (later.Covers(SequenceNumber 6UL, 100u)) "when its time comes"

            Expect.equal
                (FlushState.apply (SequenceNumber 12UL) 0u later).PendingAtSeconds
                0u
                "a flush at once ends the wait")
    ]
