/// Random requests of the classic text protocol, for two servers to be compared by: good ones, ones at the boundaries of what is allowed, and wrong
/// ones. What servers answer differently on purpose (docs/PROTOCOL.md) is not asked, nor, of a release before 1.6.40, what only later ones answer
/// as LsmFs does; each place says so.
module LsmFs.Engine.Tests.ClassicStreams

open System
open System.Collections.Generic
open LsmFs.Engine.Tests.Script
open LsmFs.Engine.Tests.Words

/// Removes every key that a stream may use.
let beginning: string =
    [ yield! keysPlain; yield! keysRare; yield! keysLong ]
    |> List.map (fun key -> $"delete {key} 0 noreply\r\n")
    |> String.concat ""

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
