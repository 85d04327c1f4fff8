/// What depends on time, on memcached and LsmFs in the same moments. Each has a clock of its own that turns when it likes, so an answer is compared only
/// while both must still give it, or after both have come to the other one; a machine that is too slow for a moment is given another try.
module LsmFs.Engine.Tests.TimeTests

open System
open System.Diagnostics
open System.Threading
open Expecto
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Peer
open LsmFs.Engine.Tests.Replies
open LsmFs.Engine.Tests.Script

/// What memcached is asked, LsmFs is asked right behind it.
type private Both(expected: Talk, actual: Talk) =
    let ask (talk: Talk) (request: string) =
        let answer, _ = talk.Exchange([ latin (request + "version\r\n") ], false)
        (normalise (CasNumbers()) answer).Replace("VERSION n.n.n\r\n", "")

    /// The two answers.
    member _.Answers(request: string) : string * string = ask expected request, ask actual request

    /// The answer, which must be that of both.
    member both.Ask(request: string) : string =
        let expected, actual = both.Answers request
        Expect.equal actual expected request
        expected

    /// Asks until both give the answer. Each may take a second more than the time it was given, and a machine that is busy some more.
    member both.Await(request: string, answer: string) : unit =
        let watch = Stopwatch.StartNew()

        while both.Answers request <> (answer, answer) do
            if watch.Elapsed > TimeSpan.FromSeconds 20.0 then
                let expected, actual = both.Answers request
                failtestf "%s: never %A, but %A from memcached and %A from LsmFs" request answer expected actual

            Thread.Sleep 50

    /// Goes through `steps`, which must be over before a time of three seconds can come; again with other keys when they were not.
    member _.Within(steps: string -> unit) : string =
        let rec attempt (number: int) =
            let watch = Stopwatch.StartNew()
            let prefix = $"time{number}-"

            let outcome =
                try
                    steps prefix
                    None
                with error ->
                    Some error

            match outcome with
            // Clocks that turn once a second may be one late, and one early.
            | _ when watch.ElapsedMilliseconds >= 1000L && number < 20 -> attempt (number + 1)
            | Some error -> raise error
            | None -> prefix

        attempt 1

let private nowSeconds () = DateTimeOffset.UtcNow.ToUnixTimeSeconds()

let private value (key: string) (text: string) = $"VALUE {key} 0 {text.Length}\r\n{text}\r\n"

let private expiry (both: Both) : unit =
    let prefix =
        both.Within(fun prefix ->
            let set (name: string) (exptime: int64) =
                Expect.equal (both.Ask $"set {prefix}{name} 0 {exptime} 1\r\n1\r\n") "STORED\r\n" name

            set "relative" 3L
            set "absolute" (nowSeconds () + 3L)
            set "joined" 3L
            set "counted" 3L
            set "touched" 3L
            set "got" 3L
            set "shortened" 0L
            set "past" (nowSeconds () - 10L)
            set "negative" -1L

            Expect.equal (both.Ask $"append {prefix}joined 0 0 1\r\n2\r\n") "STORED\r\n" "append"
            Expect.equal (both.Ask $"incr {prefix}counted 6\r\n") "7\r\n" "incr"
            Expect.equal (both.Ask $"touch {prefix}touched 1000\r\n") "TOUCHED\r\n" "touch"
            Expect.equal (both.Ask $"gat 1000 {prefix}got\r\n") (value $"{prefix}got" "1" + "END\r\n") "gat"
            Expect.equal (both.Ask $"touch {prefix}shortened 3\r\n") "TOUCHED\r\n" "touch"

            for name in [ "relative"; "absolute"; "joined"; "counted"; "touched"; "got"; "shortened" ] do
                Expect.isTrue ((both.Ask $"get {prefix}{name}\r\n").StartsWith "VALUE ") $"{name} is there yet"

            for name in [ "past"; "negative" ] do
                Expect.equal (both.Ask $"get {prefix}{name}\r\n") "END\r\n" name)

    for name in [ "relative"; "absolute"; "joined"; "counted"; "shortened" ] do
        both.Await($"get {prefix}{name}\r\n", "END\r\n")

    for name in [ "touched"; "got" ] do
        Expect.equal (both.Ask $"get {prefix}{name}\r\n") (value $"{prefix}{name}" "1" + "END\r\n") name

    // What has expired is not there for anybody.
    Expect.equal (both.Ask $"replace {prefix}relative 0 0 1\r\n2\r\n") "NOT_STORED\r\n" "replace"
    Expect.equal (both.Ask $"append {prefix}relative 0 0 1\r\n2\r\n") "NOT_STORED\r\n" "append"
    Expect.equal (both.Ask $"cas {prefix}relative 0 0 1 1\r\n2\r\n") "NOT_FOUND\r\n" "cas"
    Expect.equal (both.Ask $"incr {prefix}counted 1\r\n") "NOT_FOUND\r\n" "incr"
    Expect.equal (both.Ask $"touch {prefix}absolute 0\r\n") "NOT_FOUND\r\n" "touch"
    Expect.equal (both.Ask $"gat 0 {prefix}joined\r\n") "END\r\n" "gat"
    Expect.equal (both.Ask $"delete {prefix}joined\r\n") "NOT_FOUND\r\n" "delete"
    Expect.equal (both.Ask $"add {prefix}relative 0 0 1\r\n3\r\n") "STORED\r\n" "add"
    Expect.equal (both.Ask $"get {prefix}relative\r\n") (value $"{prefix}relative" "3" + "END\r\n") "what was added"

let private delayedFlush (both: Both) : unit =
    let prefix =
        both.Within(fun prefix ->
            Expect.equal (both.Ask $"set {prefix}before 0 0 1\r\n1\r\n") "STORED\r\n" "before"
            Expect.equal (both.Ask "flush_all 4\r\n") "OK\r\n" "in four seconds"
            Expect.equal (both.Ask $"set {prefix}between 0 0 1\r\n2\r\n") "STORED\r\n" "between"

            Expect.equal
                (both.Ask $"get {prefix}before {prefix}between\r\n")
                (value $"{prefix}before" "1" + value $"{prefix}between" "2" + "END\r\n")
                "not yet")

    both.Await($"get {prefix}before {prefix}between\r\n", "END\r\n")
    // memcached flushes by the second: what is stored in the same one may go too.
    Thread.Sleep 2100
    Expect.equal (both.Ask $"set {prefix}after 0 0 1\r\n3\r\n") "STORED\r\n" "after"
    Thread.Sleep 1100

    Expect.equal
        (both.Ask $"get {prefix}after {prefix}before\r\n")
        (value $"{prefix}after" "3" + "END\r\n")
        "the flush was once"

    // A later order takes the place of an earlier one.
    Expect.equal (both.Ask "flush_all 1000\r\n") "OK\r\n" "in a long time"
    Expect.equal (both.Ask $"get {prefix}after\r\n") (value $"{prefix}after" "3" + "END\r\n") "not yet"
    Expect.equal (both.Ask "flush_all\r\n") "OK\r\n" "now"
    Expect.equal (both.Ask $"get {prefix}after\r\n") "END\r\n" "flushed"

/// What is left of a life, which may be a second apart on two servers.
let private secondsLeft (both: Both) (key: string) : unit =
    let left (answer: string) =
        if answer.StartsWith "HD t" then
            int (answer.Substring(4).TrimEnd())
        else
            failtestf "mg %s t: %A" key answer

    let expected, actual = both.Answers $"mg {key} t\r\n"
    Expect.isLessThanOrEqual (abs (left expected - left actual)) 1 $"the time left of {key}, {expected} and {actual}"

let private metaTimes (both: Both) : unit =
    let prefix =
        both.Within(fun prefix ->
            let ask (request: string) (answer: string) = Expect.equal (both.Ask request) answer request
            ask $"ms {prefix}short 1 T3\r\n1\r\n" "HD\r\n"
            ask $"ms {prefix}touched 1 T3\r\n1\r\n" "HD\r\n"
            ask $"ms {prefix}long 1 T1000\r\n1\r\n" "HD\r\n"
            ask $"ms {prefix}stale 1\r\n1\r\n" "HD\r\n"
            ask $"mg {prefix}short v\r\n" "VA 1\r\n1\r\n"
            secondsLeft both $"{prefix}short"
            ask $"mg {prefix}touched T1000\r\n" "HD\r\n"
            // Who asks first when little is left wins.
            ask $"mg {prefix}long R30\r\n" "HD\r\n"
            ask $"mg {prefix}long R1500\r\n" "HD W\r\n"
            ask $"mg {prefix}long R1500\r\n" "HD Z\r\n"
            ask $"mg {prefix}made N3\r\n" "HD W\r\n"
            ask $"mg {prefix}made\r\n" "HD Z\r\n"
            ask $"ma {prefix}counted N3 J5 v\r\n" "VA 1\r\n5\r\n"
            ask $"md {prefix}stale I T3\r\n" "HD\r\n"
            ask $"mg {prefix}stale v\r\n" "VA 1 X W\r\n1\r\n")

    for name in [ "short"; "made"; "counted"; "stale" ] do
        both.Await($"mg {prefix}{name}\r\n", "EN\r\n")

    secondsLeft both $"{prefix}touched"

    // Nobody has what has expired: the next one wins again.
    Expect.equal (both.Ask $"mg {prefix}made N1000\r\n") "HD W\r\n" "made again"
    Expect.equal (both.Ask $"ma {prefix}counted\r\n") "NF\r\n" "counted"

let private timed (name: string) (body: Both -> unit) =
    pairTest name (fun peer program ->
        use expected = (programSide peer).Connect()
        use actual = (programSide program).Connect()
        body (Both(expected, actual)))

[<Tests>]
let programTests =
    testList "Program, time" [
        yield! timed "expiry, relative, absolute and past" expiry
        yield! timed "a delayed flush" delayedFlush
        yield! timed "meta commands" metaTimes
    ]
