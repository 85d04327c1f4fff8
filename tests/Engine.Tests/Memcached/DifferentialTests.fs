module LsmFs.Engine.Tests.DifferentialTests

open System
open System.Collections.Generic
open System.Text
open System.Text.RegularExpressions
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Peer

// What a client sends is made so that every memcached gives the answers of the release this project follows: lines with too few words, bad
// flags and the like are left to the transcripts. Times are far away, or past, so that the second in which something happens does not matter.

let private keys = [| "a"; "b"; "c"; "d"; String('k', 250) |]

let private flags = [| "0"; "0"; "1"; "4294967295" |]

let private exptimes = [| "0"; "0"; "0"; "0"; "1000"; "2592000"; "2592001"; "2147483647"; "-1"; "-2147483648" |]

let private deltas = [|
    "0"
    "1"
    "7"
    "4294967296"
    "9223372036854775808"
    "18446744073709551615"
    "18446744073709551616"
    "-1"
    "x"
|]

// None has a minus: behind a number of 2^63 or more memcached 1.6.18 looks for one past the end of the value, in what other items left there.
let private values = [|
    ""
    "0"
    "5"
    "10"
    "99"
    "007"
    " 3"
    "+4"
    "5 x"
    "5x"
    "abc"
    "18446744073709551615"
    "18446744073709551616"
    "9223372036854775807"
    "1\000"
    "1                                                              2"
|]

/// One line or two, `$n` for the n-th cas unique seen so far.
let private commandOf (random: Random) (casCount: int) : string =
    let pick (choices: string[]) = choices[random.Next choices.Length]
    let noreply = if random.Next 6 = 0 then " noreply" else ""

    match random.Next 100 with
    | roll when roll < 40 ->
        let verb = pick [| "set"; "set"; "add"; "replace"; "append"; "prepend"; "cas" |]

        let unique =
            if verb <> "cas" then ""
            elif casCount = 0 || random.Next 4 = 0 then " 999999999"
            else $" ${random.Next(max 0 (casCount - 12), casCount)}"

        let value = pick values
        $"{verb} {pick keys} {pick flags} {pick exptimes} {value.Length}{unique}{noreply}\r\n{value}\r\n"
    | roll when roll < 42 ->
        // Two bytes too many, which are read as a command.
        $"set {pick keys} 0 0 2{noreply}\r\nabcdef\r\n"
    | 42 ->
        let verb = pick [| "set"; "add"; "append" |]
        let value = String('x', 1_048_577)
        $"{verb} {pick keys} 0 0 {value.Length}{noreply}\r\n{value}\r\n"
    | roll when roll < 60 ->
        let verb = pick [| "get"; "gets"; "gets" |]
        $"{verb} {pick keys} {pick keys} {pick keys}\r\n"
    | roll when roll < 68 ->
        let verb = pick [| "gat"; "gats" |]
        $"{verb} {pick exptimes} {pick keys} {pick keys}\r\n"
    | roll when roll < 80 ->
        let verb = pick [| "incr"; "decr" |]
        $"{verb} {pick keys} {pick deltas}{noreply}\r\n"
    | roll when roll < 88 -> $"touch {pick keys} {pick exptimes}{noreply}\r\n"
    | roll when roll < 97 ->
        let delay = pick [| ""; ""; " 0" |]
        $"delete {pick keys}{delay}{noreply}\r\n"
    | 97 -> "nonsense\r\n"
    | 98 -> $"get {String('k', 251)}\r\n"
    | _ -> "verbosity 0\r\n"

/// The cas uniques of one server, in the order they were first seen: the only thing about them that servers agree on.
type private CasNumbers() =
    let seen = List<string>()

    member _.Count = seen.Count

    /// The answer with the place of each cas unique instead of itself.
    member _.Number(answer: string) : string =
        Regex.Replace(
            answer,
            @"^(VALUE \S+ \d+ \d+) (\d+)\r$",
            (fun found ->
                let cas = found.Groups[2].Value

                if not (seen.Contains cas) then
                    seen.Add cas

                $"{found.Groups[1].Value} ${seen.IndexOf cas}\r"),
            RegexOptions.Multiline
        )

    /// The command with cas uniques instead of their places.
    member _.Fill(command: string) : string =
        Regex.Replace(command, @"\$(\d+)", (fun found -> seen[int found.Groups[1].Value]))

let private run (seed: int) (commandCount: int) (peer: Peer) =
    let random = Random seed
    let server = Server ProtocolLimits.valueLengthMaxDefault
    let connection = Connection server
    use real = peer.Connect()
    let casNumbers = CasNumbers()
    let realCasNumbers = CasNumbers()

    for number in 1..commandCount do
        let command = commandOf random casNumbers.Count
        let before = connection.Output.Length
        connection.Receive(latin (casNumbers.Fill command))
        let answer = casNumbers.Number(connection.Output.Substring before)
        let request = realCasNumbers.Fill command + "version\r\n"

        let realAnswer, _ =
            real.Ask(latin request, (fun answer -> Regex.IsMatch(answer, @"VERSION [0-9.]+\r\n\z")))

        let realAnswer = realCasNumbers.Number(Regex.Replace(realAnswer, @"VERSION [0-9.]+\r\n\z", ""))

        if answer <> realAnswer then
            failtestf
                "seed %d, command %d: %A: expected %A, got %A"
                seed
                number
                (Transcript.cut command)
                (Transcript.cut realAnswer)
                (Transcript.cut answer)

    let statistics, _ = real.Ask(latin "stats\r\n", (fun answer -> answer.EndsWith "END\r\n"))

    for name in Counter.names do
        let found = Regex.Match(statistics, $@"^STAT {name} (\d+)\r$", RegexOptions.Multiline)
        Expect.equal (server.Counter name) (int64 found.Groups[1].Value) $"{name}, seed {seed}"

[<Tests>]
let tests =
    testList "Memcached peers, random commands" [
        for round in 1..3 ->
            let seed = Random.Shared.Next()
            peerTest $"round {round}, seed {seed}" (run seed 1500)
    ]

[<Tests>]
let programTests =
    testList "Program, random commands" [
        for round in 1..3 do
            let seed = Random.Shared.Next()
            yield! programTest $"round {round}, seed {seed}" (run seed 1500)
    ]
