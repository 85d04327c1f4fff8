module LsmFs.Engine.Tests.PeerTests

open System
open System.Collections.Generic
open System.Text.RegularExpressions
open System.Threading
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Peer
open LsmFs.Engine.Tests.Transcript

let private countOf (word: string) (text: string) = Regex.Count(text, Regex.Escape word)

/// Sends an exchange with `version` behind it, whose answer ends the exchange's.
let private ask (connection: PeerConnection) (request: string) (versions: int) : string * bool =
    let answer, isClosed =
        connection.Ask(
            latin (request + "version\r\n"),
            fun answer -> answer.EndsWith "\r\n" && countOf "VERSION " answer > versions
        )

    if isClosed then
        answer, true
    else
        answer.Substring(0, answer.LastIndexOf("VERSION ", StringComparison.Ordinal)), false

let private replay (exchanges: Exchange list) (peer: Peer) =
    let isOld = peer.IsOld
    let bound = Dictionary<string, string>()
    let mutable connection = peer.Connect()

    for exchange in exchanges do
        // memcached looks at the clock once a second.
        if exchange.WaitSeconds > 0 then
            Thread.Sleep(exchange.WaitSeconds * 1000 + 200)

        let expected =
            match peer.Kind with
            | LsmFs -> exchange.Expected
            | Memcached ->
                (if isOld then exchange.ExpectedOfOld else None)
                |> Option.orElse exchange.ExpectedOfPeer
                |> Option.defaultValue exchange.Expected

        let request = substitute bound exchange.Request

        let answer, isClosed =
            if expected.IsClosed then
                connection.Ask(latin request, (fun _ -> false))
            else
                ask connection request (countOf "VERSION " expected.Answer)

        if not (isMatch bound expected.Answer answer) then
            failtestf "line %d: expected %A, got %A" exchange.LineNumber (cut expected.Answer) (cut answer)

        Expect.equal isClosed expected.IsClosed $"closed, line {exchange.LineNumber}"

        if isClosed then
            (connection :> IDisposable).Dispose()
            connection <- peer.Connect()

    (connection :> IDisposable).Dispose()

[<Tests>]
let tests =
    testList "Memcached peers" [
        for name, exchanges in all do
            peerTest $"transcript {name}" (replay exchanges)
    ]

[<Tests>]
let programTests =
    testList "Program" [
        for name, exchanges in all do
            yield! programTest $"transcript {name}" (replay exchanges)
    ]
