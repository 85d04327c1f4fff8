module LsmFs.Engine.Tests.ManifestReplayTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private number = FileNumber 3UL
let private file = "MANIFEST-000003"

/// A manifest with these edits.
let private manifestOf (edits: VersionEdit list) : byte[] =
    let buffer = ByteBuffer 256
    let seed = LogFile.appendHeader buffer Manifest number 99UL

    for edit in edits do
        let start = LogFile.startFrame buffer
        VersionEdit.encode buffer edit
        LogFile.finishFrame buffer seed start

    buffer.ToArray()

let private replay (bytes: byte[]) = ManifestReplay.replay 7 number file bytes

/// Edits of which each fits what the ones before it made: those of `candidates` that do.
let private fitting (candidates: VersionEdit list) : VersionEdit list * ManifestState =
    let step (edits, state: ManifestState) (edit: VersionEdit) =
        if (Version.refusal edit state.Version).IsNone then
            edit :: edits, ManifestReplay.apply edit state
        else
            edits, state

    let edits, state = candidates |> List.fold step ([], ManifestReplay.initial 7)
    List.rev edits, state

[<Tests>]
let tests =
    testList "ManifestReplay" [
        editProperty "replay is the fold of the edits" (fun (edits: Edit list) ->
            let edits, state = fitting (edits |> List.map (fun (Edit edit) -> edit))
            edits.IsEmpty || replay (manifestOf edits) = Ok state)

        editProperty "a snapshot edit makes the same state" (fun (edits: Edit list) ->
            let _, state = fitting (edits |> List.map (fun (Edit edit) -> edit))
            replay (manifestOf [ ManifestReplay.snapshot state ]) = Ok state)

        testCase "an edit that does not fit is corruption" (fun () ->
            let removal = { VersionEdit.empty with Removed = [ 1, FileNumber 5UL ] }

            match replay (manifestOf [ removal ]) with
            | Error corruption ->
                Expect.equal
                    corruption.Reason
                    "a version edit does not fit: it removes table 000005, which is not in level 1"
                    "the reason"
            | Ok _ -> failtest "a table that is not there was removed")

        testCase "a manifest without an edit is corruption" (fun () ->
            Expect.isError (replay (manifestOf [])) "no edit"
            Expect.isError (replay [||]) "no byte")

        testCase "a torn last edit is left out" (fun () ->
            let next number = { VersionEdit.empty with NextFile = ValueSome(FileNumber number) }
            let bytes = manifestOf [ next 7UL; next 8UL ]

            match replay bytes[.. bytes.Length - 2] with
            | Ok state -> Expect.equal state.NextFile (FileNumber 7UL) "the first edit"
            | Error corruption -> failtest $"{corruption}")

        property
            "CURRENT names a manifest, and any other byte is refused"
            (fun (number: uint64) (offset: uint16) (change: byte) ->
                let bytes = ManifestReplay.encodeCurrent (FileNumber number)
                Expect.equal (ManifestReplay.decodeCurrent bytes) (Ok(FileNumber number)) "read back"
                let damaged = Array.copy bytes
                let offset = int offset % bytes.Length
                damaged[offset] <- damaged[offset] ^^^ max 1uy change

                match ManifestReplay.decodeCurrent damaged with
                | Ok other ->
                    Expect.notEqual
                        other
                        (FileNumber number)
                        "another digit is another manifest, which will not be there"
                | Error corruption -> Expect.equal corruption.File "CURRENT" "the file is named")
    ]
