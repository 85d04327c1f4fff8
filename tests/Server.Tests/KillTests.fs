/// Kills a server under load, starts it again on the same folder, and holds every key against what was acknowledged. Keys and models
/// live through all rounds, so that an old value that comes back late is noticed as well.
module LsmFs.Server.Tests.KillTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open System.Threading.Tasks
open Expecto

let private workerCount = 6

// On a machine that does other things too: an order of magnitude above what is usual.
let private restartTimeMax = TimeSpan.FromSeconds 10.

let private stopTimeMax = TimeSpan.FromSeconds 5.

let private setting (name: string) : int option =
    match Int32.TryParse(Environment.GetEnvironmentVariable name) with
    | true, value -> Some value
    | _ -> None

let private seed =
    setting "LSMFS_KILL_SEED" |> Option.defaultWith (fun () -> Random.Shared.Next 1_000_000)

/// What happens to a connection when its server is killed is no failure; what happens before is.
let private untilKilled (killed: CancellationToken) (work: unit -> unit) : Task<exn option> =
    Task.Factory.StartNew(
        (fun () ->
            try
                work ()
                None
            with
            | :? InvalidDataException as wrong -> Some(wrong :> exn)
            | _ when killed.IsCancellationRequested -> None
            | unexpected -> Some unexpected),
        TaskCreationOptions.LongRunning
    )

type private Totals = {
    mutable Kills: int
    mutable Stops: int
    mutable KillsWhileOpening: int
    mutable Recovered: int
    mutable SlowestRestart: TimeSpan
}

/// Reads what the workers write, as another client, until the connection breaks.
let private observe (workers: KillWorker[]) (client: TextClient) : unit =
    while true do
        for worker in workers do
            client.TryGetText worker.ProgressKey
            |> Option.iter (fun text -> worker.SeeProgress(UInt64.Parse text))

let private loadAndEnd
    (random: Random)
    (workers: KillWorker[])
    (shared: SharedCounter)
    (totals: Totals)
    (server: ServerProcess)
    : unit =
    use killed = new CancellationTokenSource()
    let clients = Array.init (workers.Length + 1) (fun _ -> new TextClient(server.Port))

    try
        clients[0].Store($"add {shared.Name} 0 0", "0") |> ignore

        let work =
            Array.append
                (workers
                 |> Array.mapi (fun index worker -> untilKilled killed.Token (fun () -> worker.Run clients[index])))
                [| untilKilled killed.Token (fun () -> observe workers clients[workers.Length]) |]

        // A failure ends the round early.
        Task.WaitAny(Array.map (fun task -> task :> Task) work, random.Next(20, 1500)) |> ignore
        killed.Cancel()

        // A stop under load is held against the same model.
        if random.Next 6 = 0 then
            let struct (exitCode, elapsed) = server.Stop Signal.Terminate
            Expect.equal exitCode 0 $"the exit code of a stop under load: {server.Errors}"
            Expect.isLessThan elapsed stopTimeMax "the time to stop under load"
            totals.Stops <- totals.Stops + 1
        else
            server.Kill()
            totals.Kills <- totals.Kills + 1

        Task.WaitAll(work |> Array.map (fun task -> task :> Task))

        for failure in work |> Array.choose _.Result do
            failtest $"while the server was running: {failure}"
    finally
        clients |> Array.iter (fun client -> (client :> IDisposable).Dispose())

let private verify (workers: KillWorker[]) (shared: SharedCounter) (server: ServerProcess) : int =
    use client = new TextClient(server.Port)

    let happened =
        workers
        |> Array.sumBy (fun worker ->
            match worker.Verify client with
            | Ok happened -> happened
            | Error reason -> failtest reason)

    match client.TryGetText shared.Name with
    | None -> failtest "the shared counter is gone"
    | Some text ->
        match shared.Recover(UInt64.Parse text) with
        | Ok() -> happened
        | Error reason -> failtest reason

/// Opening a folder is interrupted as well, now and then more than once.
let private killWhileOpening (random: Random) (start: unit -> ServerProcess) (totals: Totals) : unit =
    while random.Next 3 = 0 do
        use server = start ()
        Thread.Sleep(random.Next(30, 400))
        server.Kill()
        totals.KillsWhileOpening <- totals.KillsWhileOpening + 1

let private rounds (durability: string) (count: int) : unit =
    printfn $"kill test, durability {durability}: LSMFS_KILL_SEED={seed}"
    let random = Random seed
    use folder = new TemporaryFolder()
    let shared = SharedCounter()
    let workers = Array.init workerCount (fun index -> KillWorker(index, seed, shared))
    let start () = ServerProcess.Launch(folder.Path, "-m", "8", "-t", "2", "--durability", durability)

    let totals = {
        Kills = 0
        Stops = 0
        KillsWhileOpening = 0
        Recovered = 0
        SlowestRestart = TimeSpan.Zero
    }

    let mutable server = start ()

    try
        server.WaitUntilServing()

        for _ in 1..count do
            loadAndEnd random workers shared totals server
            (server :> IDisposable).Dispose()
            killWhileOpening random start totals
            let watch = Stopwatch.StartNew()
            server <- start ()
            server.WaitUntilServing()
            totals.SlowestRestart <- max totals.SlowestRestart watch.Elapsed
            totals.Recovered <- totals.Recovered + verify workers shared server
            DataFiles.expectNoLeftovers folder.Path

        server.StopCleanly()
        let acknowledged = workers |> Array.sumBy _.Model.AcknowledgedWriteCount

        printfn
            $"kill test, durability {durability}: {totals.Kills} kills and {totals.Stops} stops under load, {totals.KillsWhileOpening} while opening, \
{acknowledged} acknowledged writes checked, {totals.Recovered} unacknowledged ones had happened, \
slowest restart {totals.SlowestRestart.TotalMilliseconds:F0} ms, tables by level %A{DataFiles.tableCounts folder.Path}"

        Expect.isGreaterThan acknowledged 0L "writes were acknowledged"
        Expect.isLessThan totals.SlowestRestart restartTimeMax "the slowest restart"
    finally
        (server :> IDisposable).Dispose()

[<Tests>]
let tests =
    let count = setting "LSMFS_KILL_ROUNDS"

    testSequenced
    <| testList "Kill" [
        testCase "sync: no acknowledged write is lost" <| fun () -> rounds "sync" (defaultArg count 12)
        testCase "os: no acknowledged write is lost with the process"
        <| fun () -> rounds "os" (defaultArg count 6)
        testCase "a server that keeps nothing is found out" (fun () ->
            Expect.throwsT<AssertException>
                (fun () -> rounds "memory" 12)
                "durability memory loses writes when it is killed")
    ]
