/// Mutated streams against the parser, the engine behind it and the built program: whatever comes, the invariants of Parser.fs hold, and nobody else notices.
module LsmFs.Engine.Tests.FuzzTests

open System
open System.Collections.Generic
open System.Threading.Tasks
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Mutations
open LsmFs.Engine.Tests.ParserTests
open LsmFs.Engine.Tests.Peer
open LsmFs.Engine.Tests.Streams

let private number (variable: string) (otherwise: unit -> int) : int =
    match Int32.TryParse(string (Environment.GetEnvironmentVariable variable)) with
    | true, number -> number
    | _ -> otherwise ()

let private cutAt (places: int list) (bytes: byte[]) : byte[] list =
    [ 0; bytes.Length ] @ places
    |> List.distinct
    |> List.sort
    |> List.pairwise
    |> List.map (fun (start, finish) -> bytes[start .. finish - 1])

/// Parses all of it, by the parser of its first byte, and says how many bytes that allocated.
let private allocated (bytes: byte[]) : int64 =
    let mutable steps = 0
    let isBinary = bytes.Length > 0 && BindingProtocol.isBinary BindingProtocol.Negotiating bytes[0]

    let parseAll () =
        let mutable state = ParserState()
        let mutable command = Unchecked.defaultof<Command>
        let mutable offset = 0
        let mutable isGoing = true

        while isGoing do
            let rest = ReadOnlySpan<byte>(bytes, offset, bytes.Length - offset)

            let step =
                if isBinary then
                    BinaryParser.parse valueLengthMax &state rest &command
                else
                    Parser.parse valueLengthMax &state rest &command

            offset <- offset + step.ConsumedBytes
            isGoing <- step.ConsumedBytes > 0
            steps <- steps + 1

    let once () =
        let before = GC.GetAllocatedBytesForCurrentThread()
        parseAll ()
        GC.GetAllocatedBytesForCurrentThread() - before

    // The least of several: the runtime allocates on the thread now and then.
    List.min [
        for _ in 1..3 do
            once ()
    ]

/// Invariants 1 to 4 of Parser.fs for one stream, and that the answers do not depend on the cuts either.
let private hold (random: Random) (bytes: byte[]) : unit =
    let whole = trace [ bytes ]
    let answer = answerTo valueLengthMax [ bytes ]

    let sameFor (name: string) (pieces: byte[] list) =
        Expect.equal (trace pieces) whole $"invariant 1 and 2: the steps, {name}"
        Expect.equal (answerTo valueLengthMax pieces) answer $"the answers, {name}"

    if bytes.Length < 3000 then
        sameFor "byte by byte" (single bytes)

    for _ in 1..3 do
        sameFor "in pieces" (cutAt [ for _ in 1..4 -> random.Next(bytes.Length + 1) ] bytes)

    let _, unread, _ = whole

    let longest =
        if bytes.Length > ProtocolLimits.lineLengthMax then
            bytes.Length
        else
            0

    let limit = max longest (ProtocolLimits.lineLengthMax + 1 + valueLengthMax + 2)
    Expect.isLessThanOrEqual unread limit "invariant 3: what is refused is not buffered"
    Expect.equal (allocated bytes) 0L "parsing allocates nothing"

/// What mutations start from: the corpus, every request of the transcripts, and some random scripts.
let private seeds: byte[][] = [|
    for kept in corpus do
        kept.Bytes
    for _, exchanges in Transcript.all do
        for exchange in exchanges do
            if exchange.Request.Length < 5000 then
                latin exchange.Request
    for seed in 1..60 do
        let script = ClassicStreams.script ClassicStreams.request ClassicStreams.beginning false seed

        let text =
            script.Items
            |> List.truncate 12
            |> List.map _.Request
            |> String.concat ""
            |> String.filter (fun letter -> letter < '\u0100')

        if text.Length < 5000 then
            latin text
|]

let private binarySeeds = seeds |> Array.filter (fun bytes -> bytes.Length > 0 && bytes[0] = 0x80uy)

let private mutated (seed: int) : byte[] =
    let random = Random seed
    // One in six is a stream of the binary protocol.
    let seeds = if random.Next 6 = 0 then binarySeeds else seeds
    let pick () = seeds[random.Next seeds.Length]
    let start = Array.append (pick ()) (if random.Next 2 = 0 then pick () else [||])
    mutate random (pick ()) start

/// The stream as lines for a file of the corpus.
let private kept (bytes: byte[]) : string = ">> " + Script.spell (ofLatin (span bytes))

let private fuzz (count: int) () =
    let first = number "LSMFS_FUZZ_SEED" (fun () -> Random.Shared.Next 1_000_000_000)
    let count = number "LSMFS_FUZZ_INPUTS" (fun () -> count)

    for seed in first .. first + count - 1 do
        let bytes = mutated seed

        try
            hold (Random seed) bytes
        with error ->
            let rec shorter (bytes: byte[]) (size: int) =
                let fails (bytes: byte[]) =
                    try
                        hold (Random seed) bytes
                        false
                    with _ ->
                        true

                let cut =
                    seq { 0..size .. bytes.Length - 1 }
                    |> Seq.map (fun at -> Array.removeManyAt at (min size (bytes.Length - at)) bytes)
                    |> Seq.tryFind fails

                match cut with
                | Some less -> shorter less size
                | None when size > 1 -> shorter bytes (size / 2)
                | None -> bytes

            let short = shorter bytes (max 1 (bytes.Length / 2))
            failtestf "seed %d, LSMFS_FUZZ_SEED=%d repeats it: %s\n%s" seed seed error.Message (kept short)

    printfn $"{count} mutated streams of seeds {first} to {first + count - 1}"

[<Tests>]
let tests =
    testList "Fuzz" [
        testList "corpus" [
            for kept in corpus do
                testCase kept.Name
                <| fun () ->
                    hold (Random 1) kept.Bytes

                    if kept.Bytes.Length < 1000 then
                        let whole = trace [ kept.Bytes ]

                        for place in 1 .. kept.Bytes.Length - 1 do
                            Expect.equal (trace (cutAt [ place ] kept.Bytes)) whole $"cut at {place}"
        ]

        testCase "mutated streams" (fuzz 4000)
    ]

/// Connections that send rubbish side by side, and one that works, on which nothing may be wrong.
let private disturb (peer: Peer) : unit =
    let first = number "LSMFS_FUZZ_SEED" (fun () -> Random.Shared.Next 1_000_000_000)
    let rounds = 150
    let connections = 8
    use worker = peer.Connect()

    let work (number: int) =
        let key = $"of-the-worker-{number % 50}"
        let value = String('v', number % 3000)
        let request = $"set {key} {number} 0 {value.Length}\r\n{value}\r\nget {key}\r\nversion\r\n"

        let answer, isClosed =
            worker.Exchange([ latin request ], false, (fun answer -> (ofLatin answer.Span).Contains "VERSION "))

        let text = ofLatin (span answer)
        let expected = $"STORED\r\nVALUE {key} {number} {value.Length}\r\n{value}\r\nEND\r\nVERSION "
        Expect.isTrue (text.StartsWith expected && not isClosed) $"the worker, seed {first}, {number}"

    for number in 1..500 do
        work number

    let residentBytes = peer.ResidentBytes

    // flush_all is everybody's, and so are the worker's keys; shutdown is not enabled.
    let harmless (bytes: byte[]) =
        let text = ofLatin (span bytes)

        // The opcodes of the binary protocol's flush, loud and quiet.
        not (
            text.Contains "flush"
            || text.Contains "worker"
            || text.Contains "\128\008"
            || text.Contains "\128\024"
        )

    let rubbish =
        Task.Run(fun () ->
            for round in 0 .. rounds - 1 do
                let talks = [ for _ in 1..connections -> peer.Connect() ]

                for index, talk in List.indexed talks do
                    let bytes = mutated (first + round * connections + index)

                    if harmless bytes then
                        talk.Exchange([ bytes ], false, (fun _ -> true)) |> ignore

                for talk in talks do
                    (talk :> IDisposable).Dispose())

    let mutable number = 0

    while not rubbish.IsCompleted do
        number <- number + 1
        work number

    rubbish.Wait()
    work 1

    // Above the memory of a server that works: buffers, garbage of a collection that has not run yet.
    Expect.isLessThan (peer.ResidentBytes - residentBytes) (96L <<< 20) "growth in bytes"

[<Tests>]
let programTests =
    testList "Program, fuzz" [ yield! programTest "rubbish on other connections disturbs nobody" disturb ]
