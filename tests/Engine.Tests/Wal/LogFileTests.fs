module LsmFs.Engine.Tests.LogFileTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private number = FileNumber 7UL
let private file = "000007.wal"

/// A log with these payloads, and where each frame ends.
let logOf (payloads: byte[] list) : byte[] * int list =
    let buffer = ByteBuffer 64
    let seed = LogFile.appendHeader buffer WriteAheadLog number 0x5EED5EEDUL

    let ends =
        payloads
        |> List.map (fun payload ->
            let start = LogFile.startFrame buffer
            buffer.Append(span payload)
            LogFile.finishFrame buffer seed start
            buffer.Length)

    buffer.ToArray(), ends

let private replay (bytes: byte[]) = LogFile.replay WriteAheadLog number file bytes

let private payloadsOf (bytes: byte[]) (replay: LogReplay) : byte[] list =
    replay.Frames
    |> Array.map (fun frame -> bytes[frame.PayloadOffset .. frame.PayloadOffset + frame.PayloadLength - 1])
    |> List.ofArray

let private values (values: Value list) = values |> List.map (fun (Value bytes) -> bytes)

[<Tests>]
let tests =
    testList "LogFile" [
        property "frames are read back in order" (fun (payloads: Value list) ->
            let payloads = values payloads
            let bytes, _ = logOf payloads

            match replay bytes with
            | Ok log ->
                Expect.equal (payloadsOf bytes log) payloads "payloads"
                Expect.equal (log.TornBytes, log.IsTailUnused) (0, true) "torn bytes"
                Expect.equal log.ValidLengthBytes bytes.Length "valid length"
            | Error corruption -> failtest $"{corruption}")

        property "every prefix is a torn log that keeps its whole frames" (fun (payloads: Value list) ->
            let payloads = values payloads |> List.truncate 3
            let bytes, ends = logOf payloads

            for length in 0 .. bytes.Length - 1 do
                let whole = ends |> List.filter (fun last -> last <= length) |> List.length

                match replay bytes[.. length - 1] with
                | Ok log ->
                    Expect.equal (payloadsOf bytes log) (List.truncate whole payloads) $"payloads of {length} bytes"
                    Expect.equal (log.ValidLengthBytes + log.TornBytes) length $"bytes accounted for in {length}"
                | Error corruption -> failtest $"{length} bytes: {corruption}")

        testCase "every changed byte is noticed: corruption before the last frame, a torn tail in it" (fun () ->
            let payloads = [ [| 1uy .. 40uy |]; [||]; Array.zeroCreate 9; [| 5uy; 6uy |] ]
            let bytes, ends = logOf payloads
            let lastStart = ends[ends.Length - 2]

            for offset in 0 .. bytes.Length - 1 do
                for change in [ 1uy; 0x80uy; 0xFFuy ] do
                    let damaged = Array.copy bytes
                    damaged[offset] <- damaged[offset] ^^^ change

                    match replay damaged with
                    | Error corruption ->
                        Expect.isLessThan
                            offset
                            lastStart
                            $"only what is followed by a whole frame is corruption, {corruption}"

                        Expect.equal corruption.File file "the file is named"
                    | Ok log ->
                        Expect.isGreaterThanOrEqual offset lastStart $"byte {offset} was changed and not noticed"
                        Expect.equal (payloadsOf damaged log) (List.truncate 3 payloads) "the frames before it stay")

        testCase "a tail of zeros, as a file system may leave, is torn" (fun () ->
            let bytes, _ = logOf [ [| 1uy; 2uy |] ]

            match replay (Array.append bytes (Array.zeroCreate 5000)) with
            | Ok log ->
                Expect.equal
                    (log.Frames.Length, log.TornBytes, log.IsTailUnused)
                    (1, 5000, true)
                    "one frame and the tail"
            | Error corruption -> failtest $"{corruption}")

        testCase
            "a frame that was begun in a tail of zeros is told from an unused one, whichever of its bytes are there"
            (fun () ->
                let bytes, ends = logOf [ [| 1uy; 2uy |]; [| 1uy .. 40uy |] ]
                let start = ends[0]

                for offset in start .. bytes.Length - 1 do
                    // Memory is written back in any order, so any part of it may be there without the rest.
                    let begun = Array.append bytes (Array.zeroCreate 100)
                    Array.Clear(begun, start, offset - start)

                    match replay begun with
                    | Ok log when offset = start -> Expect.equal log.Frames.Length 2 "both frames"
                    | Ok log ->
                        Expect.equal
                            (log.Frames.Length, log.ValidLengthBytes, log.IsTailUnused)
                            (1, start, false)
                            $"with the bytes from {offset} on"
                    | Error corruption -> failtest $"{corruption}")

        testCase "a header that was never written is an empty log" (fun () ->
            match replay (Array.zeroCreate 4096) with
            | Ok log -> Expect.equal (log.Frames.Length, log.ValidLengthBytes) (0, 0) "nothing valid"
            | Error corruption -> failtest $"{corruption}")

        testCase "a value that holds a frame of another file does not pass for a frame" (fun () ->
            let foreign =
                let buffer = ByteBuffer 64
                let seed = LogFile.appendHeader buffer WriteAheadLog number 0x0BADUL
                let start = LogFile.startFrame buffer
                buffer.Append(span "attack"B)
                LogFile.finishFrame buffer seed start
                buffer.ToArray()[LogFile.headerLength ..]

            let bytes, ends = logOf [ [| 1uy |]; foreign ]
            // The frame around it is torn in its last byte: what it carries must not count as a whole frame after the damage.
            let torn = Array.append bytes[.. bytes.Length - 2] [| bytes[bytes.Length - 1] ^^^ 1uy |]

            match replay torn with
            | Ok log -> Expect.equal log.ValidLengthBytes ends[0] "cut after the first frame"
            | Error corruption -> failtest $"{corruption}")

        testCase "unknown versions are refused by name" (fun () ->
            let bytes, _ = logOf []
            Coding.writeU32 (Span<byte> bytes) 8 9u
            Coding.writeU32 (Span<byte> bytes) 28 (Checksum.compute (span bytes[..27]))

            match replay bytes with
            | Error corruption ->
                Expect.equal
                    corruption.Reason
                    "write-ahead log format version 9 is not known (the newest known is 1)"
                    "the reason"
            | Ok _ -> failtest "a log of version 9 was read")

        testCase "a log under another log's name is refused" (fun () ->
            let bytes, _ = logOf [ [| 1uy |] ]
            Expect.isError (LogFile.replay WriteAheadLog (FileNumber 8UL) "000008.wal" bytes) "another number"
            Expect.isError (LogFile.replay Manifest number file bytes) "another kind")

        testCase "the bytes of the format" (fun () ->
            let bytes, _ = logOf [ "k"B ]

            Expect.equal
                (Convert.ToHexString bytes)
                ("4C534D465357414C" // magic
                 + "00000001" // version
                 + "0000000000000007" // file number
                 + "000000005EED5EED" // salt
                 + "276575AB" // checksum of the header
                 + "4652414D" // frame magic
                 + "00000001" // payload length
                 + "91D710E0" // checksum of the payload
                 + "06E643D7" // checksum of the frame's header
                 + "6B")
                "header and frame")
    ]
