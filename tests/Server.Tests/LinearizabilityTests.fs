/// Many connections on few keys of the built program, through kills and stops: what all of them saw must be linearizable, key by key.
module LsmFs.Server.Tests.LinearizabilityTests

// What the kill test cannot see, since there every key has one writer: two increments that both found the old value, two cas of which both
// won, a read that is older than one before it on another connection. Times are of this process, so a call is timed before its bytes are sent and a
// return after its answer is read: the intervals are never shorter than the real ones, and no right server is refused.

open System
open System.Collections.Concurrent
open System.Diagnostics
open System.IO
open System.Threading
open System.Threading.Tasks
open Expecto
open LsmFs.Server.Tests.Linearizability

let private keyCount = 6
let private connectionCount = 10
let private pipelineLengthMax = 4
let private loadTime = TimeSpan.FromMilliseconds 300.

let private setting (name: string) : int option =
    match Int32.TryParse(Environment.GetEnvironmentVariable name) with
    | true, value -> Some value
    | _ -> None

let private seed =
    setting "LSMFS_LINEARIZABILITY_SEED" |> Option.defaultWith (fun () -> Random.Shared.Next 1_000_000)

let private name (key: int) = $"register-{key}"

/// What all connections have recorded, and the last unique that anybody was told for each key.
type private Recording() =
    let histories = Array.init keyCount (fun _ -> ConcurrentQueue<Operation>())
    let uniques: uint64[] = Array.zeroCreate keyCount
    member _.Histories = histories |> Array.map List.ofSeq
    member _.Add(key: int, operation: Operation) = histories[key].Enqueue operation
    member _.Unique(key: int) = Volatile.Read &uniques[key]
    member _.Tell(key: int, unique: uint64) = Volatile.Write(&uniques[key], unique)

let private encode (key: int) (request: Request) : string =
    let store verb (value: string) tail = $"{verb} {name key} 0 0 {value.Length}{tail}\r\n{value}\r\n"

    match request with
    | Gets -> $"gets {name key}\r\n"
    | Set value -> store "set" value ""
    | Add value -> store "add" value ""
    | Replace value -> store "replace" value ""
    | Append value -> store "append" value ""
    | Cas(unique, value) -> store "cas" value $" {unique}"
    | Incr delta -> $"incr {name key} {delta}\r\n"
    | Delete -> $"delete {name key}\r\n"

let private readOutcome (client: TextClient) (request: Request) : Outcome =
    match request with
    | Gets ->
        match client.ReadItems() with
        | [] -> Missing
        | [ item ] -> Found(Text.Encoding.Latin1.GetString item.Value, item.Cas)
        | items -> raise (InvalidDataException $"one item was asked for: {items}")
    | _ ->
        match client.ReadLine() with
        | "STORED" -> Stored
        | "NOT_STORED" -> NotStored
        | "EXISTS" -> Exists
        | "NOT_FOUND" -> NotFound
        | "DELETED" -> Deleted
        | "CLIENT_ERROR cannot increment or decrement non-numeric value" -> NotNumeric
        | line ->
            match UInt64.TryParse line with
            | true, number -> Number number
            | _ -> raise (InvalidDataException $"the answer to {request} is {line}")

/// A connection's requests and answers until it breaks; those without an answer are returned, for the time of the server's end is theirs.
let private record
    (recording: Recording)
    (session: int)
    (random: Random)
    (client: TextClient)
    : struct (int * Operation) list =
    let mutable position = 0
    let mutable waiting: struct (int * Operation) list = []

    let value () =
        position <- position + 1
        // A number, or text that nothing makes a number; either way written once only.
        if random.Next 2 = 0 then
            $"{session}s{position}."
        else
            string (uint64 session * 1_000_000_000UL + uint64 position * 1000UL)

    let request (key: int) : Request =
        match random.Next 16 with
        | 0
        | 1 -> Set(value ())
        | 2 -> Add(value ())
        | 3 -> Replace(value ())
        | 4
        | 5 -> Append(value ())
        | 6
        | 7
        | 8 ->
            // Before anybody was told one: none that a guess could hit.
            let unique = recording.Unique key
            Cas((if unique = 0UL then UInt64.MaxValue else unique), value ())
        | 9
        | 10
        | 11 -> Incr(uint64 (random.Next 10))
        | 12 -> Delete
        | _ -> Gets

    try
        while true do
            let batch = [
                for _ in 0 .. random.Next pipelineLengthMax do
                    let key = random.Next keyCount
                    let request = request key
                    position <- position + 1

                    struct (key,
                            {
                                Session = session
                                Position = position
                                Called = Stopwatch.GetTimestamp()
                                Returned = Int64.MaxValue
                                Request = request
                                Outcome = Unanswered
                            })
            ]

            waiting <- batch
            let text = batch |> List.map (fun struct (key, operation) -> encode key operation.Request)
            client.Send(String.Concat text)

            for struct (key, operation) in batch do
                let outcome = readOutcome client operation.Request

                match outcome with
                | Found(_, unique) -> recording.Tell(key, unique)
                | _ -> ()

                recording.Add(key, { operation with Returned = Stopwatch.GetTimestamp(); Outcome = outcome })

                waiting <- waiting.Tail
    with
    | :? InvalidDataException -> reraise ()
    | :? IOException -> ()

    waiting

/// Values that fill memtables, so that flushes and compactions take the keys with them.
let private fill (random: Random) (client: TextClient) : struct (int * Operation) list =
    let value: byte[] = Array.zeroCreate 30_000
    random.NextBytes value

    try
        while true do
            client.Store($"set filler-{random.Next 100} 0 0", value) |> ignore
    with :? IOException ->
        ()

    []

/// One life of a server, under load from its start to its end.
let private life (recording: Recording) (random: Random) (number: int) (isKilled: bool) (server: ServerProcess) : unit =
    let clients = Array.init (connectionCount + 1) (fun _ -> new TextClient(server.Port))

    try
        let work =
            clients
            |> Array.mapi (fun index client ->
                let random = Random(random.Next())

                Task.Factory.StartNew(
                    (fun () ->
                        if index = connectionCount then
                            fill random client
                        else
                            record recording (number * connectionCount + index) random client),
                    TaskCreationOptions.LongRunning
                ))

        // Only a failure ends the load early.
        Task.WaitAny(work |> Array.map (fun task -> task :> Task), loadTime) |> ignore
        Expect.isFalse server.HasExited $"the server runs: {server.Errors}"

        if isKilled then
            server.Kill()
        else
            server.Stop Signal.Terminate |> ignore

        let ended = Stopwatch.GetTimestamp()

        for struct (key, operation) in work |> Seq.collect _.Result do
            recording.Add(key, { operation with Returned = ended })
    finally
        clients |> Array.iter (fun client -> (client :> IDisposable).Dispose())

let private histories (durability: string) (lives: int) : Operation list[] =
    let random = Random seed
    let recording = Recording()
    use folder = new TemporaryFolder()

    for number in 1..lives do
        use server = ServerProcess.Start(folder.Path, "-m", "8", "-t", "2", "--durability", durability)

        life recording random number (number = 1 || random.Next 4 > 0) server

    recording.Histories

let private expectLinearizable (durability: string) (histories: Operation list[]) : unit =
    let watch = Stopwatch.StartNew()

    for key, history in Array.indexed histories do
        match check history with
        | Linearizable -> ()
        | NotLinearizable story -> failtest $"{name key} (LSMFS_LINEARIZABILITY_SEED={seed}): {story}"

    let count = histories |> Array.sumBy List.length

    let having (condition: Operation -> bool) =
        histories |> Array.sumBy (fun history -> history |> List.filter condition |> List.length)

    let unanswered = having _.Outcome.IsUnanswered

    let casWins = having (fun operation -> operation.Request.IsCas && operation.Outcome.IsStored)

    let casLosses = having (fun operation -> operation.Request.IsCas && operation.Outcome.IsExists)

    printfn
        $"linearizability, durability {durability}: LSMFS_LINEARIZABILITY_SEED={seed}, {count} operations on {keyCount} keys, {unanswered} without an answer, \
{casWins} cas won and {casLosses} lost, checked in {watch.Elapsed.TotalSeconds:F1} s"

    // Enough happened for the check to mean something.
    Expect.isGreaterThan count 1000 "operations"
    Expect.isGreaterThan casWins 0 "cas that won"
    Expect.isGreaterThan casLosses 0 "cas that lost"

[<Tests>]
let tests =
    // LSMFS_LINEARIZABILITY_LIVES=N asks for more.
    let lives = defaultArg (setting "LSMFS_LINEARIZABILITY_LIVES") 5

    testSequenced
    <| testList "Linearizability" [
        for durability in [ "sync"; "os" ] do
            testCase $"{durability}: what many connections see of a key has an order, through kills too" (fun () ->
                histories durability lives |> expectLinearizable durability)

        testCase "a server that forgets when it is killed is found out" (fun () ->
            let verdicts = histories "memory" 2 |> Array.map check

            Expect.exists
                verdicts
                (fun verdict -> not verdict.IsLinearizable)
                "durability memory loses acknowledged writes")
    ]
