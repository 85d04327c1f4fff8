/// Random requests of the classic text protocol, for two servers to be compared by: good ones, ones at the boundaries of what is allowed, and wrong
/// ones. What servers answer differently on purpose (docs/PROTOCOL.md) is not asked, nor, of a release before 1.6.40, what only later ones answer
/// as LsmFs does; each place says so.
module LsmFs.Engine.Tests.ClassicStreams

open System
open System.Collections.Generic
open LsmFs.Engine.Tests.Replies
open LsmFs.Engine.Tests.Script

/// The source of all choices. `IsOld`: the peer is older than 1.6.40.
type Choices = {
    Random: Random
    IsOld: bool
    Keys: string[]
    /// Whether a request may leave the connection out of step, or closed.
    IsWild: bool
    /// Keys whose values are asked for by requests that nothing awaited yet. memcached holds such a value until it is sent, and a number that
    /// is counted meanwhile does not get the blanks that keep its length, as it does otherwise.
    Retrieved: HashSet<string>
}

let pick (choices: Choices) (from: 'choice[]) : 'choice = from[choices.Random.Next from.Length]

/// Once in so many times.
let once (choices: Choices) (times: int) : bool = choices.Random.Next times = 0

let keysPlain = [| "a"; "b"; "c"; "d"; "e" |]

/// Keys that a server might stumble over; the last is too long.
let private keysRare = [|
    String('k', 249)
    String('k', 250)
    "\001\127\255"
    "noreply"
    "a\rb"
    "set"
    "0"
    "%20"
    "\u00C3\u00A9"
|]

/// Keys of long values. No number is counted there: in place of a long value it leaves blanks of any length in memcached, here of up to 4,096.
let private keysLong = [| "long"; "longer" |]

/// Removes every key that a stream may use.
let beginning: string =
    [ yield! keysPlain; yield! keysRare; yield! keysLong ]
    |> List.map (fun key -> $"delete {key} 0 noreply\r\n")
    |> String.concat ""

let private keyTooLong = String('k', 251)

let private keyOfNumber (choices: Choices) =
    if once choices 12 then
        pick choices keysRare
    else
        pick choices choices.Keys

let private key (choices: Choices) =
    if once choices 15 then
        pick choices keysLong
    else
        keyOfNumber choices

let private flagsAll = [| "0"; "0"; "0"; "1"; "65535"; "65536"; "4294967295"; "007" |]

/// Times that are far away or past: whether one has come does not depend on the moment.
let private exptimesAll = [|
    "0"
    "0"
    "0"
    "0"
    "0"
    "1000"
    "100000"
    "2592000"
    "2592001"
    "2147483647"
    "-1"
    "-2147483648"
    "0000000000"
|]

// Out of step any word may be read as a length, and a long one would swallow the rest of the stream.
let private flags (choices: Choices) = pick choices (if choices.IsWild then [| "0"; "1" |] else flagsAll)

let private exptime (choices: Choices) =
    pick
        choices
        (if choices.IsWild then
             [| "0"; "0"; "1000"; "-1"; "-2147483648" |]
         else
             exptimesAll)

// No plus and no white space, which strtoul reads and LsmFs refuses; nothing of more than 32 bits, which memcached cuts; no lone minus, which is a 0 to it.
let private numbersBad = [| "x"; "1x"; "--1"; "0x10"; "1.5"; "1\0011" |]

let private deltas = [|
    "0"
    "1"
    "1"
    "7"
    "10"
    "4294967296"
    "18446744073709551616"
    "99999999999999999999"
    "-1"
    "x"
    "1x"
    "01"
|]

/// An old peer refuses to count on from 2^63 when it finds a minus behind the number, be it in what another item left in memory.
let private deltasNew = [| "9223372036854775807"; "9223372036854775808"; "18446744073709551615" |]

let private delta (choices: Choices) =
    pick
        choices
        (if not choices.IsOld && once choices 4 then
             deltasNew
         else
             deltas)

// None has a minus: memcached reads values with strtoull, which comes round to a small number far below zero. None is all blank: memcached reads past its
// end. Whatever two of them become when they are joined, an old peer does not meet a number of 2^63 or more.
let private numericValues = [|
    ""
    "0"
    "5"
    "9"
    "10"
    "99"
    "100"
    "007"
    " 3"
    "\t3"
    "+4"
    "5 x"
    "5x"
    "abc"
    "1e3"
    "0x10"
    "18446744073709551616"
    "8611686018427387904"
    "1\000"
    "1                                                              2"
|]

let private numericValuesNew = [| "18446744073709551615"; "9223372036854775807"; "9223372036854775808" |]

let private letters = [| 'x'; 'y'; '1'; ' '; '\r'; '\n'; '\000'; '\255' |]

let private telling = [| "END\r\n"; "VALUE a 0 1\r\nx\r\n"; "x\r\n"; "STORED\r\n"; "get a\r\n"; "HD c1\r\n" |]

let value (choices: Choices) : string =
    let random = choices.Random

    match random.Next 100 with
    | roll when roll < 6 && not choices.IsOld -> pick choices numericValuesNew
    | roll when roll < 50 -> pick choices numericValues
    | roll when roll < 90 -> "v" + String(Array.init (random.Next 40) (fun _ -> pick choices letters))
    | roll when roll < 93 -> pick choices telling
    | roll when roll < 97 -> String('v', random.Next(40, 300))
    | 97 -> String('9', random.Next((if choices.IsOld then 20 else 15), 40))
    // Out of step a value is a line, and one of more than 2,048 bytes may close the connection there, and always does here.
    | _ when choices.IsWild -> String('v', random.Next(20, 1000))
    | 98 -> String('v', random.Next(300, 5000))
    | _ when once choices 10 -> String('w', random.Next(10_000, 90_000))
    | _ -> String('v', random.Next(20, 100))

let private spaced (choices: Choices) (words: string list) : string =
    if once choices 12 then
        words |> List.map (fun word -> word + String(' ', choices.Random.Next(1, 4))) |> String.concat ""
    else
        String.concat " " words

let private lineEnd (choices: Choices) : string = if once choices 15 then "\n" else "\r\n"

/// The words as a line.
let line (choices: Choices) (words: string list) : string = spaced choices words + lineEnd choices

let private noreply (choices: Choices) : string list =
    match choices.Random.Next 40 with
    | roll when roll < 6 -> [ "noreply" ]
    | 6 -> [ "NOREPLY" ]
    | 7 -> [ "noreplyx" ]
    // An old peer counts the words.
    | 8 when not choices.IsOld -> [ "x"; "noreply" ]
    | 9 when not choices.IsOld -> [ "noreply"; "x" ]
    | _ -> []

/// Behind the words of a storage command; old peers count them.
let private afterStorage (choices: Choices) : string list =
    if choices.IsOld then
        (if once choices 6 then [ "noreply" ] else [])
    else
        noreply choices

let private unique (choices: Choices) : string =
    match choices.Random.Next 12 with
    | 0 -> "0"
    | 1 -> "1"
    | 2 -> "18446744073709551615"
    | 3 when not choices.IsOld -> pick choices [| "x"; "-1"; "18446744073709551616"; "1x"; "" |]
    | roll when roll < 9 -> casMark (choices.Random.Next 3)
    | _ -> casMark (choices.Random.Next 20)

/// Bytes that are not the end of a value, and a line that is read as a command behind them.
let private wrongEnds = [| "zz"; "\n\n"; "\rx"; "x\n"; "\r\r" |]

/// What is read as a command where nothing says how long data is.
let private dataAsCommand (choices: Choices) : string =
    choices.Retrieved.Add "a" |> ignore
    "get a\r\n"

let private storage (choices: Choices) : string =
    let random = choices.Random
    let verb = pick choices [| "set"; "set"; "set"; "add"; "replace"; "append"; "prepend"; "cas" |]
    let isCas = verb = "cas"
    let value = value choices
    let uniques = if isCas then [ unique choices ] else []

    let key =
        if value.Length > 200 then
            pick choices keysLong
        else
            key choices

    let good = [ verb; key; flags choices; exptime choices; string value.Length ] @ uniques

    match random.Next 200 with
    | roll when roll < 4 -> line choices (good @ afterStorage choices) + value + pick choices wrongEnds + "nonsense\r\n"
    | roll when roll < 8 ->
        // Nothing says how long the data is; the line of data is a command.
        // A length of more than 32 bits was wrapped by old peers, which also heeded noreply here.
        let length = pick choices [| "x"; "-1"; "2147483646"; "2147483647"; "1x"; "-2147483648" |]

        line choices ([ verb; key; "0"; "0"; length ] @ uniques @ (if choices.IsOld then [] else noreply choices))
        + dataAsCommand choices
    | roll when roll < 16 && not choices.IsOld ->
        // The data of a line with something wrong in it is dropped; old peers read it as a command.
        let key, flags, exptime =
            match random.Next 3 with
            | 0 -> keyTooLong, "0", "0"
            | 1 -> key, pick choices numbersBad, "0"
            | _ -> key, "0", pick choices numbersBad

        line choices ([ verb; key; flags; exptime; string value.Length ] @ uniques @ noreply choices)
        + value
        + "\r\n"
    | roll when roll < 18 && not choices.IsOld ->
        // Too few words, which old peers call ERROR.
        line choices (List.truncate (random.Next(1, 5)) good) + dataAsCommand choices
    | 18 when once choices 20 && not choices.IsWild ->
        // Too large: the data is dropped as it comes.
        let value = String('x', 1_048_577)

        line choices ([ verb; key; "0"; "0"; string value.Length ] @ uniques @ afterStorage choices)
        + value
        + "\r\n"
    | 19 when choices.IsWild ->
        // Announced, and never sent.
        line choices ([ verb; key; "0"; "0"; string (value.Length + random.Next(1, 3000)) ] @ uniques)
        + value
        + "\r\n"
    | _ -> line choices (good @ afterStorage choices) + value + "\r\n"

let private retrieval (choices: Choices) : string =
    let random = choices.Random

    let count =
        match random.Next 40 with
        | 0 when not choices.IsOld -> 0
        | _ when choices.IsWild -> random.Next(1, 5)
        | 1 -> random.Next(5, 30)
        | 2 when once choices 10 -> 3000
        | _ -> random.Next(1, 5)

    // Old peers take gat with its time for a good line without keys.
    let keys = [ for _ in 1..count -> key choices ]
    choices.Retrieved.UnionWith keys
    let verb = pick choices [| "get"; "get"; "gets"; "gets"; "gat"; "gats" |]

    if verb.StartsWith "gat" then
        // A long line is for get and gets alone.
        let keys = List.truncate 7 keys

        let exptime =
            if once choices 20 then
                pick choices numbersBad
            else
                exptime choices

        line choices (verb :: exptime :: keys)
    else
        line choices (verb :: keys)

let private arithmetic (choices: Choices) (key: string) : string =
    let words = [ pick choices [| "incr"; "decr" |]; key; delta choices ]

    if once choices 60 && not choices.IsOld then
        line choices (List.truncate (choices.Random.Next(1, 3)) words)
    else
        line choices (words @ noreply choices)

let private touch (choices: Choices) (key: string) : string =
    let exptime =
        if once choices 15 then
            pick choices numbersBad
        else
            exptime choices

    let words = [ "touch"; key; exptime ]

    if once choices 60 && not choices.IsOld then
        line choices (List.truncate (choices.Random.Next(1, 3)) words)
    else
        line choices (words @ noreply choices)

let private delete (choices: Choices) : string =
    // A key that is noreply is deleted in silence there, and with an answer here; a delay that is no number is ignored there.
    let key =
        match key choices with
        | "noreply" -> "a"
        | key -> key

    let delay =
        match choices.Random.Next 8 with
        | 0 -> [ "0" ]
        | 1 when not choices.IsOld -> [ "10" ]
        | _ -> []

    line choices ([ "delete"; key ] @ delay @ (if once choices 6 then [ "noreply" ] else []))

/// Lines whose answer is fixed, whatever has been stored.
let private fixedLines = [|
    "verbosity 0"
    "verbosity 0 noreply"
    "verbosity x"
    "stats nosuchstats"
    "stats detail"
    "stats detail x"
    "stats cachedump"
    "stats cachedump x 0"
    "stats cachedump 64 0"
    "lru_crawler bogus"
    "lru_crawler"
    "lru_crawler crawl 64"
    "lru_crawler sleep 1000001"
    "lru_crawler tocrawl x"
    "nonsense"
    "nonsense and more"
    "GET a"
    "versionx"
    "flush_allx"
    "touchx a 0"
    "getsa a"
    "statsx"
    "quitx"
    "flush_all x"
    "flush_all x noreply"
    "flush_all"
    "flush_all 0"
    "flush_all -1"
    "flush_all 0 noreply"
    "flush_all noreply"
|]

/// Of releases from 1.6.40 on.
let private fixedLinesNew = [|
    ""
    "a"
    "ab"
    " get a"
    " "
    "verbosity"
    "verbosity -1"
    "verbosity 1x noreply"
    "nonsense noreply"
    "noreply"
    "  noreply"
    "nonsense\000"
    "get\000 a"
    "shutdown"
    "shutdown graceful"
    "delete"
    "incr a +1"
|]

let private fixedLine (choices: Choices) : string =
    let from =
        if choices.IsOld || once choices 2 then
            fixedLines
        else
            fixedLinesNew

    pick choices from + lineEnd choices

let private wild (choices: Choices) : string =
    let random = choices.Random

    match random.Next 5 with
    | 0
    | 1 -> String('y', random.Next(2, 1500)) + "\r\nyyyy"
    | 2 -> String(Array.init (random.Next 40) (fun _ -> char (random.Next 256))) + "\r\n"
    | 3 -> "version\r\n"
    | _ ->
        // The first bytes of a request, which the next one finishes.
        let whole = storage choices

        if whole.Length > 3000 then
            "set a 0 0 10"
        else
            whole.Substring(0, random.Next whole.Length)

/// What finishes whatever a wild stream left unfinished: memcached loses its last answers when a connection ends inside a value.
let private wildEnd = String.replicate 400 "nonsense\r\n"

/// One request, and whether those before it must be answered first.
type Request = { Text: string; IsFirst: bool }

let private alone (text: string) : Request = { Text = text; IsFirst = false }

/// One request.
let request (choices: Choices) : Request =
    match choices.Random.Next 100 with
    | roll when roll < 42 -> alone (storage choices)
    | roll when roll < 66 -> alone (retrieval choices)
    | roll when roll < 78 ->
        let key = keyOfNumber choices

        if not (choices.Retrieved.Contains key) then
            alone (arithmetic choices key)
        elif choices.IsWild || once choices 2 then
            alone (touch choices key)
        else
            { Text = arithmetic choices key; IsFirst = true }
    | roll when roll < 85 -> alone (touch choices (key choices))
    | roll when roll < 92 -> alone (delete choices)
    | 98
    | 99 when choices.IsWild -> alone (wild choices)
    | _ -> alone (fixedLine choices)

/// Several connections in turn, each answered before the next goes on, requests held back half sent among them; or one connection that may get out of step.
let script (request: Choices -> Request) (beginning: string) (isOld: bool) (seed: int) : Script =
    let random = Random seed
    // Out of step an old peer meets lines that it answers in its own way.
    let isWild = not isOld && random.Next 5 = 0
    let items = List<Item>()
    let held = HashSet<int>()
    let mutable phase = 0

    let choices = {
        Random = random
        IsOld = isOld
        Keys = Array.truncate (random.Next(1, keysPlain.Length + 1)) keysPlain
        IsWild = isWild
        Retrieved = HashSet()
    }

    let add (connection: int) (text: string) =
        items.Add {
            Connection = connection
            Request = text
            Phase = phase
            SentBytes = text.Length
        }

    let awaitLast () = phase <- phase + 1

    let addRequest (connection: int) =
        let request = request choices

        if request.IsFirst then
            awaitLast ()
            choices.Retrieved.Clear()

        add connection request.Text

    if isWild then
        let count = random.Next(1, 400)

        for _ in 1..count do
            addRequest 0
    else
        let connections = random.Next(1, 4)

        for _ in 1 .. random.Next(1, 20) do
            let connection = random.Next connections

            for _ in 1 .. random.Next(1, 80) do
                addRequest connection

            let last = items[items.Count - 1]

            // Sometimes only the first bytes of a request come before another connection's turn.
            // A retrieval is not held back: it would come between others, and keep what it asks for (`Retrieved`). Nor is an ms, whose item has its cas
            // unique there from its line on.
            let isHeld =
                random.Next 4 = 0
                && not (last.Request.Contains "get")
                && not (last.Request.Contains "gat")
                && not (last.Request.StartsWith "mg")
                && not (last.Request.StartsWith "ms")

            if isHeld then
                held.Add connection |> ignore

            if isHeld then
                items[items.Count - 1] <- { last with SentBytes = random.Next(1, last.Request.Length + 1) }

            awaitLast ()
            choices.Retrieved.Clear()

        // What was held back is sent.
        for connection in 0 .. connections - 1 do
            if held.Contains connection then
                add connection "get a\r\n"
                awaitLast ()

            // Nothing stands behind or, where memcached forgets to send it, before what closes.
            let closing =
                if held.Contains connection then
                    [| "get a\r\n"; "quit\r\n" |]
                else
                    [| "quit\r\n"; "quit now\r\n"; "GET / HTTP/1.1\r\n" |]

            add connection (pick choices closing)

    {
        Items = List.ofSeq items
        Cuts = Some(random.Next())
        Beginning = beginning
        Ending = if isWild then wildEnd else ""
        IsWhole = not isWild
    }
