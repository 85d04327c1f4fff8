/// Invariants 1 to 3 of `Authentication`, its answers, and the file of passwords. The answers are asked of a real memcached too.
module LsmFs.Engine.Tests.AuthenticationTests

open System
open System.IO
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Peer
open LsmFs.Engine.Tests.Streams

let private passwords = "foo:bar\nuser2:pass:with colon\nempty:\n"

let private read (text: string) : PasswordList =
    match Authentication.readFile (span (latin text)) with
    | Ok list -> list
    | Error reason -> failtest reason

let private isListed (list: PasswordList) (user: string) (password: string) =
    list.Credentials
    |> Array.exists (fun credential -> credential.User = latin user && credential.Password = latin password)

/// What a client is told that sends these pieces, one line for each answer, until it has authenticated; and the most bytes that were kept for it.
let private trace (list: PasswordList) (pieces: byte[] list) : string list * int =
    let said = ResizeArray<string>()
    let mutable unread: byte[] = [||]
    let mutable isOver = false
    let mutable keptMax = 0

    for piece in pieces do
        unread <- Array.append unread piece
        let mutable isWaiting = isOver

        while not isWaiting do
            let step = Authentication.step (span unread)

            match step.Kind with
            | AuthenticationStepKind.Check ->
                let text (offset: int) (length: int) = ofLatin (ReadOnlySpan<byte>(unread, offset, length))

                let isKnown =
                    isListed list (text step.UserOffset step.UserLength) (text step.PasswordOffset step.PasswordLength)

                said.Add(ofLatin (Reply.line (Authentication.answer isKnown)))
                isOver <- isKnown
            | AuthenticationStepKind.Answer -> said.Add(ofLatin (Reply.line step.Reply))
            | AuthenticationStepKind.Close ->
                said.Add "close"
                isOver <- true
            | _ -> isWaiting <- true

            let consumes = step.Kind = AuthenticationStepKind.Check || step.Kind = AuthenticationStepKind.Answer

            Expect.equal (step.ConsumedBytes > 0) consumes "a step consumes, or waits, or closes"
            unread <- unread[step.ConsumedBytes ..]

            if isWaiting then
                keptMax <- max keptMax unread.Length

            isWaiting <- isWaiting || isOver

    List.ofSeq said, keptMax

let private stored = "STORED\r\n"
let private unauthenticated = "CLIENT_ERROR unauthenticated\r\n"
let private failure = "CLIENT_ERROR authentication failure\r\n"
let private badFormat = "CLIENT_ERROR bad authentication token format\r\n"
let private badTermination = "CLIENT_ERROR bad command line termination\r\n"
let private tooLong = "CLIENT_ERROR auth token too long\r\n"

/// What a client sends first, what it is told, and what releases before 1.6.40 say where that is something else.
let private answers = [
    "set foo 0 0 7\r\nfoo bar\r\n", stored, None
    "set x y z 7\r\nfoo bar\r\n", stored, None
    "set foo 0 0 7 noreply\r\nfoo bar\r\n", stored, None
    "set foo 0 0 7 1 2 3\r\nfoo bar\r\n", stored, None
    "set  foo   0  0   7   \r\nfoo bar\r\n", stored, None
    "set foo 0 0 007\r\nfoo bar\r\n", stored, None
    $"set {String('k', 300)} 0 0 7\r\nfoo bar\r\n", stored, None
    "set foo 0 0 21\r\nuser2 pass:with colon\r\n", stored, Some failure
    "set foo 0 0 6\r\nempty \r\n", stored, Some badFormat
    "set foo 0 0 7\r\nfoo baz\r\n", failure, None
    "set foo 0 0 8\r\nfoo  bar\r\n", failure, Some stored
    "set foo 0 0 8\r\n foo bar\r\n", failure, Some stored
    "set foo 0 0 8\r\nfoo bar \r\n", failure, Some stored
    "set foo 0 0 6\r\nfoobar\r\n", badFormat, None
    "set foo 0 0 0\r\n\r\n", badFormat, None
    "set foo 0 0 7\r\nfoo bar\n\n", badTermination, None
    "set foo 0 0 7\r\nfoo barxx", badTermination, None
    $"set foo 0 0 2000\r\n{String('x', 2000)}\r\n", badFormat, None
    "set foo 0 0 16385\r\n", tooLong, Some ""
    "set foo 0 0 4294967295\r\n", tooLong, Some ""
    "set foo 0 0 4294967296\r\n", unauthenticated, Some ""
    "set foo 0 0 -7\r\n", unauthenticated, None
    "set foo 0 0 +7\r\n", unauthenticated, Some ""
    "set foo 0 0 x\r\n", unauthenticated, None
    "set foo 0 0\r\n", unauthenticated, None
    " set foo 0 0 7\r\n", unauthenticated, Some ""
    "SET foo 0 0 7\r\n", unauthenticated, None
    "add foo 0 0 7\r\n", unauthenticated, None
    "ms foo 7\r\n", unauthenticated, None
    "get foo\r\n", unauthenticated, None
    "version\r\n", unauthenticated, None
    "GET / HTTP/1.1\r\n", unauthenticated, None
    "quit x\r\n", unauthenticated, None
    "12345\r\n", unauthenticated, None
    "quit\r\n", "close", Some unauthenticated
    "1234\r\n", "close", Some unauthenticated
    String('x', 2049), "close", None
]

let private isAnswered (request: string, expected: string, _: string option) =
    testCase $"answer to %A{request.Substring(0, min 30 request.Length)}"
    <| fun () -> Expect.equal (fst (trace (read passwords) [ latin request ])) [ expected ] "the answer"

let private isAnsweredBy (peer: Peer) =
    let ask (request: string) (expected: string) =
        use connection = peer.Connect()
        connection.Ask(latin request, (fun answer -> expected <> "close" && answer.Length >= expected.Length))

    use connection = peer.Connect()

    let greeting, _ = connection.Ask(latin "set foo 0 0 7\r\nfoo bar\r\nversion\r\n", _.Contains("VERSION"))

    let isOld = System.Version(greeting.Trim().Split(' ')[1]) < System.Version(1, 6, 40)

    for request, expected, old in answers do
        let expected = if isOld then Option.defaultValue expected old else expected
        let answer, isClosed = ask request expected
        Expect.equal (if isClosed then "close" else answer) expected $"the answer to %A{request}"

let private passwordFile =
    lazy (Path.Combine(Directory.CreateTempSubdirectory("lsmfs-auth-").FullName, "passwords"))

let private writePasswords () =
    File.WriteAllText(passwordFile.Value, passwords)
    $"-Y {passwordFile.Value}"

/// What a stranger sends: attempts of every kind among commands and garbage.
let private attempts (bytes: byte[]) : byte[] =
    let attempt = "set a 0 0 7\r\nfoo baz\r\nset b 0 0 5\r\nfooba\r\nset c 0 0 20000\r\nset d 0 0 40\r\n"
    Array.append bytes (latin attempt)

let private refuses (text: string) (reason: string) =
    match Authentication.readFile (span (latin text)) with
    | Ok _ -> failtest $"%A{text} should be refused"
    | Error said -> Expect.equal said reason $"why %A{text} is refused"

let private users (list: PasswordList) =
    list.Credentials
    |> Array.map (fun credential -> ofLatin (span credential.User), ofLatin (span credential.Password))

[<Tests>]
let tests =
    testList "Authentication" [
        streamProperty "invariant 1: cuts do not change the steps"
        <| fun (MutatedStream bytes) cuts ->
            let bytes = attempts bytes
            let whole = fst (trace (read passwords) [ bytes ])
            Expect.equal (fst (trace (read passwords) (single bytes))) whole "byte by byte"
            Expect.equal (fst (trace (read passwords) (pieces cuts bytes))) whole "in pieces"

        streamProperty "invariant 2: little is kept for a stranger"
        <| fun (MutatedStream bytes) ->
            let _, keptMax = trace (read passwords) (single (attempts bytes))

            Expect.isLessThanOrEqual
                keptMax
                (ProtocolLimits.lineLengthMax + 1 + Authentication.tokenLengthMax + 2)
                "bytes that are kept"

        streamProperty "invariant 2: what is waited for is bounded"
        <| fun (Noise bytes) ->
            for length in [ 16384; 16385; Int32.MaxValue ] do
                let step = Authentication.step (span (Array.append (latin $"set a 0 0 {length}\r\n") bytes))

                Expect.isLessThan
                    step.WantedBytes
                    (ProtocolLimits.lineLengthMax + Authentication.tokenLengthMax + 4)
                    "bytes that are waited for"

        streamProperty "invariant 3: no answer lets a stranger in"
        <| fun (Stream bytes) ->
            let said, _ = trace { Credentials = [||]; IgnoredCount = 0 } [ attempts bytes ]
            Expect.isFalse (List.contains stored said) "nobody is known"

        testList "answers" (List.map isAnswered answers)

        testCase "each command is answered, and a later attempt counts"
        <| fun () ->
            let said, _ =
                trace (read passwords) [
                    latin "get a\r\nversion\r\nset foo 0 0 7\r\nfoo baz\r\nset foo 0 0 7\r\nfoo bar\r\nget a\r\n"
                ]

            Expect.equal said [ unauthenticated; unauthenticated; failure; stored ] "the answers"

        testCase "a Check counts, and as an error when it fails"
        <| fun () ->
            Expect.equal (Authentication.counters true) Counters.AuthCmds "known"
            Expect.equal (Authentication.counters false) (Counters.AuthCmds ||| Counters.AuthErrors) "unknown"

        testCase "a file of passwords"
        <| fun () ->
            Expect.equal
                (users (read passwords))
                [| "foo", "bar"; "user2", "pass:with colon"; "empty", "" |]
                "the user ends at the first colon"

            Expect.equal (users (read "a:b\r\nc:d")) [| "a", "b"; "c", "d" |] "ends of lines"
            Expect.equal (users (read ":b\na:\n")) [| "", "b"; "a", "" |] "empty parts"
            Expect.equal (users (read $"a:{String('x', 253)}\n")) [| "a", String('x', 253) |] "the longest line"

        testCase "lines behind the eighth do not count"
        <| fun () ->
            let list = read (String.concat "" [ for index in 1..12 -> $"u{index}:p\n" ])
            Expect.equal (Array.map fst (users list)) [| for index in 1..8 -> $"u{index}" |] "the first eight"
            Expect.equal list.IgnoredCount 4 "ignored"

        testCase "a file that is refused"
        <| fun () ->
            refuses "" "it has no line user:password"
            refuses "\n" "line 1 is not user:password"
            refuses "a:b\n\n" "line 2 is not user:password"
            refuses "# users\na:b\n" "line 1 is not user:password"
            refuses $"a:b\na:{String('x', 254)}\n" "line 2 is longer than 255 bytes"
    ]

[<Tests>]
let peerTests =
    testList "Memcached peers" [ peerTestWith "answers before authentication" writePasswords isAnsweredBy ]
