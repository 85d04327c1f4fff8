module LsmFs.Engine.Tests.TranscriptTests

open System.Collections.Generic
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Transcript

/// Runs a transcript; `pieces` says into which pieces each request is cut.
let private run (exchanges: Exchange list) (pieces: byte[] -> byte[] list) =
    let server = Server ProtocolLimits.valueLengthMaxDefault
    let bound = Dictionary<string, string>()
    let mutable connection = Connection server

    for exchange in exchanges do
        server.Advance exchange.WaitSeconds
        let before = connection.Output.Length
        latin (substitute bound exchange.Request) |> pieces |> List.iter connection.Receive
        let answer = connection.Output.Substring before

        if not (isMatch bound exchange.Expected.Answer answer) then
            failtestf "line %d: expected %A, got %A" exchange.LineNumber (cut exchange.Expected.Answer) (cut answer)

        Expect.equal connection.IsClosed exchange.Expected.IsClosed $"closed, line {exchange.LineNumber}"

        if connection.IsClosed then
            connection <- Connection server

[<Tests>]
let tests =
    testList "Transcript" [
        for name, exchanges in all do
            testCase name <| fun () -> run exchanges List.singleton

            testCase $"{name}, in two pieces"
            <| fun () -> run exchanges (fun bytes -> [ bytes[.. bytes.Length / 2 - 1]; bytes[bytes.Length / 2 ..] ])

            testCase $"{name}, byte by byte"
            <| fun () ->
                // A megabyte a byte at a time proves nothing that its first and last bytes do not.
                run exchanges (fun bytes ->
                    if bytes.Length > 5000 then
                        List.concat [
                            bytes[..299] |> Array.map Array.singleton |> List.ofArray
                            [ bytes[300 .. bytes.Length - 301] ]
                            bytes[bytes.Length - 300 ..] |> Array.map Array.singleton |> List.ofArray
                        ]
                    else
                        bytes |> Array.map Array.singleton |> List.ofArray)
    ]
