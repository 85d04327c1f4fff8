/// Scripts of requests, run against two servers at once: the same bytes in the same pieces over as many connections, and answers that must be the
/// same. A script that finds a difference is made as short as it can be, and told as lines for a transcript.
module LsmFs.Engine.Tests.Script

open System
open System.Collections.Generic
open System.Diagnostics
open System.Text
open System.Text.RegularExpressions
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Peer
open LsmFs.Engine.Tests.Replies

/// A connection to one of two servers.
type Talk =
    inherit IDisposable
    /// Sends the pieces one by one, ends the sending side if this is the last, and returns the answer, up to one that ends in a VERSION line, or
    /// to the end of the connection; and whether it came to that.
    abstract Exchange: pieces: byte[] list * isLast: bool -> byte[] * bool
    /// Sends bytes that nothing answers yet.
    abstract Send: bytes: byte[] -> unit

/// One of two servers.
type Side =
    abstract Connect: unit -> Talk

let private versionHead = "VERSION "B

/// Whether an answer ends in a whole VERSION line, which the request behind every other was for.
let private endsInVersion (answer: ReadOnlyMemory<byte>) : bool =
    let answer = answer.Span

    answer.EndsWith(ReadOnlySpan<byte> "\r\n"B)
    && (let line = answer.Slice(0, answer.Length - 2)
        line.Slice(line.LastIndexOf 10uy + 1).StartsWith(ReadOnlySpan<byte> versionHead))

/// A program, over sockets.
let programSide (peer: Peer) : Side = {
    new Side with
        member _.Connect() =
            let connection = peer.Connect()

            {
                new Talk with
                    member _.Exchange(pieces, isLast) = connection.Exchange(pieces, isLast, endsInVersion)

                    member _.Send bytes = connection.Exchange([ bytes ], false, (fun _ -> true)) |> ignore

                    member _.Dispose() = (connection :> IDisposable).Dispose()
            }
}

/// The engine's parser, decisions and replies, without sockets and store.
let interpreterSide () : Side =
    let server = Server ProtocolLimits.valueLengthMaxDefault

    {
        new Side with
            member _.Connect() =
                let connection = Connection server
                let mutable told = 0

                {
                    new Talk with
                        member _.Exchange(pieces, isLast) =
                            pieces |> List.iter connection.Receive
                            let answer = latin (connection.Output.Substring told)
                            told <- connection.Output.Length
                            answer, connection.IsClosed || isLast

                        member _.Send bytes = connection.Receive bytes
                        member _.Dispose() = ()
                }
    }

/// One request, or what looks like one.
type Item = {
    /// On which connection.
    Connection: int
    /// A letter a byte, and `casMark` for cas uniques.
    Request: string
    /// It is sent together with those beside it that have the same number here, once all before them are answered.
    Phase: int
    /// Bytes of it that are sent now; the others go with the next request of the connection, other connections in between. All of it usually.
    SentBytes: int
}

type Script = {
    Items: Item list
    /// Decides into which pieces the bytes are cut; none: not cut.
    Cuts: int option
    /// Requests that remove what other scripts left.
    Beginning: string
    /// Sent at the end of each connection: finishes what may be unfinished.
    Ending: string
    /// Whether every request comes to its end: one that does not counts in cmd_set there, and not here.
    IsWhole: bool
}

type Difference = {
    /// Requests up to the answer that differs.
    Requests: string list
    Expected: string
    Actual: string
}

/// The bytes in pieces: mostly whole, often in a few, rarely in many.
let private cut (random: Random) (bytes: byte[]) : byte[] list =
    let count =
        match random.Next 20 with
        | 0 -> 30
        | roll when roll < 8 -> random.Next(1, 4)
        | _ -> 0

    if count = 0 || bytes.Length < 2 then
        [ bytes ]
    else
        let places =
            [ for _ in 1..count -> random.Next(1, bytes.Length) ]
            |> List.append [ 0; bytes.Length ]
            |> List.distinct
            |> List.sort

        places |> List.pairwise |> List.map (fun (start, finish) -> bytes[start .. finish - 1])

/// The script as requests that go together.
let private phases (items: Item list) : Item list list =
    let folder (item: Item) (done': Item list list) =
        match done' with
        | (next :: _ as phase) :: rest when
            next.Connection = item.Connection
            && next.Phase = item.Phase
            && item.SentBytes >= item.Request.Length
            ->
            (item :: phase) :: rest
        | _ -> [ item ] :: done'

    List.foldBack folder items []

let private versionRequest = "version\r\n"B

/// The counters that both servers move by the same commands. Not get_expired and get_flushed: memcached forgets such an item with the first command that
/// meets it, here it counts again until compaction drops it. Nor total_items, to which a number written over the old one adds nothing there.
let private comparedCounters: string list = List.ofArray Counter.names

let private counters (statistics: string) : Map<string, string> =
    Map [
        for line in statistics.Split "\r\n" do
            match line.Split ' ' with
            | [| "STAT"; name; value |] -> name, value
            | _ -> ()
    ]

/// The state that each run of a script begins with.
let private prepare (side: Side) (script: Script) : unit =
    use talk = side.Connect()
    // The memcached of these tests starts without its crawler.
    talk.Exchange([ latin (script.Beginning + "lru_crawler enable\r\nstats reset\r\n") ], true)
    |> ignore

let private statistics (side: Side) : Map<string, string> =
    use talk = side.Connect()
    let answer, _ = talk.Exchange([ "stats\r\n"B ], true)
    counters (ofLatin (ReadOnlySpan<byte> answer))

/// Runs a script on both servers; the first answer that differs, or counters that do.
let run (expected: Side) (actual: Side) (script: Script) : Difference option =
    prepare expected script
    prepare actual script
    let expectedCas = CasNumbers()
    let actualCas = CasNumbers()
    let talks = Dictionary<int, Talk * Talk>()
    let held = Dictionary<int, string>()
    let closed = HashSet<int>()
    let random = script.Cuts |> Option.map Random
    let mutable difference: Difference option = None
    let mutable remaining = phases script.Items

    let lastPhase = Dictionary<int, int>()
    remaining |> List.iteri (fun index phase -> lastPhase[phase.Head.Connection] <- index)
    let mutable index = 0

    while difference.IsNone && not remaining.IsEmpty do
        let phase = remaining.Head
        let connection = phase.Head.Connection

        if not (closed.Contains connection) then
            if not (talks.ContainsKey connection) then
                talks[connection] <- (expected.Connect(), actual.Connect())

            let expectedTalk, actualTalk = talks[connection]
            let last = List.last phase
            let isHeld = last.SentBytes < last.Request.Length
            let isLast = lastPhase[connection] = index && not isHeld

            let text =
                String.concat "" [
                    match held.TryGetValue connection with
                    | true, rest -> rest
                    | _ -> ()
                    for item in phase do
                        if item.SentBytes >= item.Request.Length then
                            item.Request
                    if isLast then
                        script.Ending
                ]

            held.Remove connection |> ignore

            let seed =
                match random with
                | Some random -> random.Next()
                | None -> 0

            let ask (talk: Talk) (casNumbers: CasNumbers) =
                let bytes = fill casNumbers text
                let bytes = if isLast then bytes else Array.append bytes versionRequest
                let pieces = if random.IsSome then cut (Random seed) bytes else [ bytes ]
                let answer, isClosed = talk.Exchange(pieces, isLast)
                normalise casNumbers answer, isClosed

            let expectedAnswer, expectedClosed = ask expectedTalk expectedCas
            let actualAnswer, actualClosed = ask actualTalk actualCas

            if expectedAnswer <> actualAnswer || expectedClosed <> actualClosed then
                let told (answer: string) (isClosed: bool) =
                    if isClosed && not isLast then
                        answer + "(closed)"
                    else
                        answer

                difference <-
                    Some {
                        Requests = phase |> List.map _.Request
                        Expected = told expectedAnswer expectedClosed
                        Actual = told actualAnswer actualClosed
                    }
            elif expectedClosed then
                closed.Add connection |> ignore
            elif isHeld then
                expectedTalk.Send(fill expectedCas (last.Request.Substring(0, last.SentBytes)))
                actualTalk.Send(fill actualCas (last.Request.Substring(0, last.SentBytes)))
                held[connection] <- last.Request.Substring last.SentBytes

        remaining <- remaining.Tail
        index <- index + 1

    // What is held back is sent even if what came behind it was taken out of the script.
    for connection in held.Keys do
        let expectedTalk, actualTalk = talks[connection]
        expectedTalk.Exchange([ fill expectedCas held[connection] ], true) |> ignore
        actualTalk.Exchange([ fill actualCas held[connection] ], true) |> ignore

    for expectedTalk, actualTalk in talks.Values do
        expectedTalk.Dispose()
        actualTalk.Dispose()

    if difference.IsSome then
        difference
    else
        let expectedCounters = statistics expected
        let actualCounters = statistics actual

        let told (counters: Map<string, string>) =
            comparedCounters
            |> List.filter (fun name -> script.IsWhole || name <> "cmd_set")
            |> List.filter (fun name -> expectedCounters.ContainsKey name && actualCounters.ContainsKey name)
            |> List.map (fun name -> $"{name} {counters[name]}")

        let different =
            List.zip (told expectedCounters) (told actualCounters)
            |> List.filter (fun (left, right) -> left <> right)

        if different.IsEmpty then
            None
        else
            Some {
                Requests = []
                Expected = different |> List.map fst |> String.concat ", "
                Actual = different |> List.map snd |> String.concat ", "
            }

/// Leaves out of a list what is not needed for `fails` to hold: halves first, then smaller pieces, down to single items.
let private without (fails: 'item list -> bool) (items: 'item list) : 'item list =
    let rec go (size: int) (items: 'item list) =
        let rec sweep (before: 'item list) (after: 'item list) =
            if after.IsEmpty then
                before
            else
                let rest = List.skip (min size after.Length) after

                if fails (before @ rest) then
                    sweep before rest
                else
                    sweep (before @ List.truncate size after) rest

        let less = sweep [] items

        if size > 1 then go (max 1 (size / 2)) less
        elif less.Length < items.Length then go 1 less
        else less

    go (max 1 (items.Length / 2)) items

/// The shortest script found that still differs, and how; gives up looking for a shorter one after a minute.
let shrink (expected: Side) (actual: Side) (script: Script) : Script * Difference option =
    let watch = Stopwatch.StartNew()

    let differs (script: Script) = watch.Elapsed < TimeSpan.FromMinutes 1.0 && (run expected actual script).IsSome

    let simplify (script: Script) (simpler: Script) = if differs simpler then simpler else script

    let less (script: Script) = {
        script with
            Items = without (fun items -> differs { script with Items = items }) script.Items
    }

    let script = simplify script { script with Cuts = None }
    let script = less script

    let script =
        simplify script {
            script with
                Items = script.Items |> List.map (fun item -> { item with SentBytes = item.Request.Length })
        }

    let script =
        simplify script {
            script with
                Items = script.Items |> List.map (fun item -> { item with Connection = 0 })
        }

    let script = less script
    script, run expected actual script

/// Bytes as a transcript spells them.
let spell (request: string) : string =
    let text = StringBuilder()

    for letter in request do
        match letter with
        | '\r' -> text.Append @"\r"
        | '\n' -> text.Append @"\n"
        | '\\' -> text.Append @"\\"
        | '\000' -> text.Append @"\0"
        | letter when isCasMark letter -> text.Append $"<cas unique seen {casMarkBack letter} before the last>"
        | letter when letter < ' ' || letter > '~' -> text.Append $@"\x{int letter:X2}"
        | letter -> text.Append letter
        |> ignore

    Regex.Replace(text.ToString(), @"([^\\])\1{19,}", (fun found -> $"{{{found.Groups[1].Value}*{found.Length}}}"))

/// A request as lines of a transcript.
let private requestLines (request: string) : string list =
    let whole = request.EndsWith "\r\n"

    let lines =
        (if whole then
             request.Substring(0, request.Length - 2)
         else
             request)
            .Split
            "\r\n"

    if whole && lines |> Array.forall (fun line -> not (line.Contains '\n')) then
        [ for line in lines -> $"> {spell line}" ]
    else
        [ $">> {spell request}" ]

/// Two answers from the first place where they differ, a line before it included.
let private apart (expected: string) (actual: string) : string * string =
    let mutable same = 0

    while same < expected.Length && same < actual.Length && expected[same] = actual[same] do
        same <- same + 1

    let lineStart = expected.Substring(0, same).LastIndexOf '\n' + 1
    let cut (answer: string) = spell (answer.Substring(lineStart, min 300 (answer.Length - lineStart)))
    cut expected, cut actual

/// The script and its difference as text.
let tell (script: Script) (difference: Difference) : string =
    let text = StringBuilder()

    for index, phase in List.indexed (phases script.Items) do
        text.AppendLine(if index = 0 then "" else "# the answer is awaited") |> ignore

        for item in phase do
            if item.Connection > 0 then
                text.AppendLine $"# on connection {item.Connection}" |> ignore

            if item.SentBytes < item.Request.Length then
                text.AppendLine $"# of this, {item.SentBytes} bytes, the others with the connection's next request"
                |> ignore

            for line in requestLines item.Request do
                text.AppendLine line |> ignore

    if script.Cuts.IsSome then
        text.AppendLine "# sent in pieces" |> ignore

    let expected, actual = apart difference.Expected difference.Actual

    let where =
        if difference.Requests.IsEmpty then
            "counters"
        else
            $"from {spell (List.last difference.Requests).[..60]} or before it"

    text.AppendLine($"differs in {where}").AppendLine($"memcached: {expected}").AppendLine($"LsmFs:     {actual}")
    |> ignore

    text.ToString()
