/// Mixed load for a long time, through restarts, kills and flushes: every answer right, and nothing that grows.
module LsmFs.Server.Tests.SoakTests

// The first third of the time goes through restarts, the rest is the life of one server, since what leaks leaks within a process. `dotnet fsi
// build.fsx soak -- --minutes N` sets LSMFS_SOAK_MINUTES; an ordinary test run takes 20 seconds.

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Threading
open System.Threading.Tasks
open Expecto

let private workerCount = 6
let private memoryBudgetMebibytes = 16

let private minutes =
    match Environment.GetEnvironmentVariable "LSMFS_SOAK_MINUTES" with
    | null
    | "" -> 20. / 60.
    | text -> Double.Parse(text, CultureInfo.InvariantCulture)

let private duration = TimeSpan.FromMinutes minutes

let private seed =
    match Int32.TryParse(Environment.GetEnvironmentVariable "LSMFS_SOAK_SEED") with
    | true, value -> value
    | _ -> Random.Shared.Next 1_000_000

// Budgets, from the end of the warm-up to the end. A leak of one object in a thousand requests exceeds any of them in half an hour.

/// The block cache and its pool fill up to a share of -m, memtables come and go, and the collector gives back when it likes.
let private residentGrowthMax = 48L <<< 20

/// Each table is a descriptor, and compaction holds some twice.
let private descriptorGrowthMax = 40

/// Threads of the pool come and go.
let private threadGrowthMax = 12

/// Besides what is live: what compaction has not merged yet (twice the live bytes), and logs of three memtables, the reserve and a compaction's output.
let private diskBytesMax (liveBytes: int64) = 3L * liveBytes + (96L <<< 20)

/// What a server uses at one moment.
type private Usage = {
    ResidentBytes: int64
    Descriptors: int
    Threads: int
    Files: int
    DiskBytes: int64
}

let private usageOf (server: ServerProcess) (folder: string) : Usage =
    let files = DirectoryInfo(folder).GetFiles()

    // A file may be deleted while it is looked at.
    let length (file: FileInfo) =
        try
            file.Length
        with :? FileNotFoundException ->
            0L

    {
        ResidentBytes = server.ResidentBytes
        Descriptors = Directory.GetFileSystemEntries($"/proc/{server.Id}/fd").Length
        Threads = Directory.GetDirectories($"/proc/{server.Id}/task").Length
        Files = files.Length
        DiskBytes = files |> Array.sumBy length
    }

let private start (folder: string) =
    ServerProcess.Start(folder, "-m", string memoryBudgetMebibytes, "-t", "2", "--durability", "os")

/// Lets all workers work for a while, or until the server is ended; a wrong answer is raised.
let private work
    (workers: SoakWorker[])
    (server: ServerProcess)
    (time: TimeSpan)
    (ending: (unit -> unit) option)
    : unit =
    let clients = workers |> Array.map (fun _ -> new TextClient(server.Port))
    use ended = new CancellationTokenSource()

    let run (worker: SoakWorker) (client: TextClient) () =
        try
            worker.Run client
        with :? IOException when ended.IsCancellationRequested ->
            ()

    try
        let tasks =
            Array.map2
                (fun worker client -> Task.Factory.StartNew(run worker client, TaskCreationOptions.LongRunning))
                workers
                clients

        // A failure ends it early.
        Task.WaitAny(tasks, time) |> ignore

        match ending with
        | Some ending ->
            ended.Cancel()
            ending ()
        | None -> workers |> Array.iter _.Pause()

        Task.WhenAll(tasks).GetAwaiter().GetResult()
    finally
        clients |> Array.iter (fun client -> (client :> IDisposable).Dispose())

let private verify (workers: SoakWorker[]) (server: ServerProcess) : unit =
    use client = new TextClient(server.Port)
    workers |> Array.iter (fun worker -> worker.Verify client)

let private flush (workers: SoakWorker[]) (server: ServerProcess) : unit =
    use client = new TextClient(server.Port)
    Expect.equal (client.Ask "flush_all") "OK" "flush_all"
    workers |> Array.iter _.Forget()

let private soak () : unit =
    printfn $"soak, {minutes:F1} minutes: LSMFS_SOAK_SEED={seed}"
    printfn "    time   requests  resident  descriptors  threads  files    disk  restarts  kills  flushes"
    let random = Random seed
    use folder = new TemporaryFolder()
    let workers = Array.init workerCount (fun index -> SoakWorker(index, seed))
    let watch = Stopwatch.StartNew()
    let mutable restarts = 0
    let mutable kills = 0
    let mutable flushes = 0
    let mutable server = start folder.Path
    let rowTime = TimeSpan.FromMinutes(min 1. (minutes / 6.))
    let mutable nextRow = rowTime

    let usage () =
        let usage = usageOf server folder.Path
        let requests = workers |> Array.sumBy _.OperationCount

        printfn
            "%8s %10d %5d MiB %12d %8d %6d %3d MiB %9d %6d %8d"
            (watch.Elapsed.ToString @"hh\:mm\:ss")
            requests
            (usage.ResidentBytes >>> 20)
            usage.Descriptors
            usage.Threads
            usage.Files
            (usage.DiskBytes >>> 20)
            restarts
            kills
            flushes

        usage

    let row () =
        if watch.Elapsed >= nextRow then
            nextRow <- nextRow + rowTime
            usage () |> ignore

    try
        let slice = TimeSpan.FromSeconds(max 1. (min 10. (duration.TotalSeconds / 30.)))

        while watch.Elapsed < duration / 3. do
            let isKill = kills <= restarts

            work workers server slice (Some(fun () -> if isKill then server.Kill() else server.StopCleanly()))
            (server :> IDisposable).Dispose()
            server <- start folder.Path
            verify workers server

            if isKill then
                kills <- kills + 1
            else
                restarts <- restarts + 1

            row ()

        let mutable warm = None

        while watch.Elapsed < duration do
            work workers server slice None

            // Neither the first slices nor the last, so that the end looks like the moment after the warm-up.
            if random.Next 5 = 0 && watch.Elapsed < duration * 0.8 then
                flush workers server
                flushes <- flushes + 1

            if warm.IsNone && watch.Elapsed > duration / 2. then
                warm <- Some(usage ())

            row ()

        let last = usage ()
        let warm = Option.defaultWith (fun () -> failtest "the warm-up took all the time") warm
        verify workers server
        Expect.isLessThan (last.ResidentBytes - warm.ResidentBytes) residentGrowthMax "growth of memory in bytes"
        Expect.isLessThan (last.Descriptors - warm.Descriptors) descriptorGrowthMax "growth of descriptors"
        Expect.isLessThan (last.Threads - warm.Threads) threadGrowthMax "growth of threads"
        DataFiles.expectNoLeftovers folder.Path
        let liveBytes = workers |> Array.sumBy _.LiveBytes
        Expect.isLessThan last.DiskBytes (diskBytesMax liveBytes) $"bytes on disk, with {liveBytes} live"

        Expect.isFalse
            (server.Errors |> List.exists (fun line -> line.Contains " error: "))
            $"no internal error: {server.Errors}"

        server.StopCleanly()
        Expect.isGreaterThan (restarts + kills) 0 "restarts and kills"
    finally
        (server :> IDisposable).Dispose()

[<Tests>]
let tests =
    testSequenced
    <| testList "Soak" [
        if OperatingSystem.IsLinux() then
            testCase "mixed load through restarts, kills and flushes: answers are right, and nothing grows" soak
        else
            ptestCase "mixed load through restarts, kills and flushes (its figures are those of /proc)" soak
    ]
