/// `lsmfs backup` on the built program, beside servers under load.
module LsmFs.Server.Tests.BackupTests

open System
open System.IO
open System.Text.RegularExpressions
open System.Threading
open System.Threading.Tasks
open Expecto

let private run (arguments: string list) = Executable.run Executable.lsmfs arguments

let private backUp (source: string) (target: string) = run [ "backup"; "--data"; source; "--to"; target ]

let private succeeds (what: string) (result: ExecutableRun) : string =
    Expect.equal (result.ExitCode, result.Errors) (0, []) $"{what}: {result.Output}"
    result.Output

let private fails (what: string) (reason: string) (result: ExecutableRun) =
    Expect.equal (result.ExitCode, result.Output, result.Errors) (1, "", [ "lsmfs: " + reason ]) what

let private itemsOf (folder: string) : Map<string, string> =
    (run [ "dump"; "--data"; folder ] |> succeeds "dump").Split('\n', StringSplitOptions.RemoveEmptyEntries)
    |> Array.filter (fun line -> not (line.StartsWith '#'))
    |> Array.map (fun line -> line[.. line.IndexOf ' ' - 1], line)
    |> Map.ofArray

let private filler = String('x', 2000)

/// One writer's numbered pairs: the left one, and then the right one, with the same number. Each acknowledged before the next is sent.
let private writePairs (port: int) (writer: int) (acknowledged: int[]) (stop: CancellationToken) =
    use client = new TextClient(port)
    let mutable number = 0

    while not stop.IsCancellationRequested do
        number <- number + 1

        for side in [ "left"; "right" ] do
            // A ring of keys, so that compaction has something to drop.
            let answer = client.Store($"set {side}:{writer}:{number % 300} {number} 0", filler)
            Expect.equal answer "STORED" "a pair"

        Volatile.Write(&acknowledged[writer], number)

/// The newest number of a side, and whether the ring behind it is complete.
let private newest (items: Map<string, string>) (side: string) (writer: int) : int =
    let numbers =
        items
        |> Map.toList
        |> List.choose (fun (key, line) ->
            if key.StartsWith $"{side}:{writer}:" then
                Some(int (line.Split(' ')[1]))
            else
                None)
        |> List.sort

    let last = if numbers.IsEmpty then 0 else List.last numbers

    Expect.equal
        numbers
        [ max 1 (last - 299) .. last ]
        $"{side} of writer {writer}: a prefix of what was sent has no hole"

    last

let private underLoad () =
    use source = new TemporaryFolder()
    use target = new TemporaryFolder()
    let backup = target.At "backup"
    use server = ServerProcess.Start(source.Path, "-m", "8", "--durability", "os")
    let acknowledged: int[] = Array.zeroCreate 2
    use stop = new CancellationTokenSource()

    let writers = [ for writer in 0..1 -> Task.Run(fun () -> writePairs server.Port writer acknowledged stop.Token) ]

    try
        for round in 1..5 do
            let goal = round * 200

            SpinWait.SpinUntil((fun () -> Array.forall (fun count -> count >= goal) acknowledged), 30_000)
            |> ignore

            let before = Array.init 2 (fun writer -> Volatile.Read &acknowledged[writer])
            backUp source.Path backup |> succeeds "backup" |> ignore
            let check = run [ "check"; "--data"; backup ] |> succeeds "check"
            Expect.isTrue (Regex.IsMatch(check, @"\Awhole: [^\n]*\n\z")) $"whole, without a note: {check}"
            let items = itemsOf backup

            for writer in 0..1 do
                let left, right = newest items "left" writer, newest items "right" writer
                Expect.isTrue (left = right || left = right + 1) $"in order: {left}, {right}"
                Expect.isGreaterThanOrEqual right before[writer] "everything acknowledged before it began"
    finally
        stop.Cancel()
        Task.WaitAll(Array.ofList writers)

    server.StopCleanly()
    backUp source.Path backup |> succeeds "backup of a stopped store" |> ignore
    Expect.equal (itemsOf backup) (itemsOf source.Path) "all of it"
    // Restore is opening it.
    use restored = ServerProcess.Start backup
    use client = new TextClient(restored.Port)
    Expect.isSome (client.TryGet "left:0:1") "an item"

let private fill (folder: string) (keys: int) =
    use server = ServerProcess.Start(folder, "--durability", "memory")

    do
        use client = new TextClient(server.Port)

        for key in 1..keys do
            Expect.equal (client.Store($"set key:{key} 0 0", filler)) "STORED" "set"

    server.StopCleanly()

let private linked () =
    use folder = new TemporaryFolder()
    let source, backup = folder.At "source", folder.At "backup"
    fill source 10
    let first = backUp source backup |> succeeds "backup"

    Expect.stringStarts
        first
        $"backed up {source} to {backup}: 1 table linked, 0 copied, 0 kept, "
        "tables of one file system are linked"

    Expect.stringEnds first " new and verified; 0 log entries\n" "no logs without durability"
    let again = run [ "backup"; "--data"; source; "--to"; backup; "--verify-all" ] |> succeeds "again"
    Expect.stringContains again ": 0 tables linked, 0 copied, 1 kept, 0 B new and verified; " "nothing new"
    let items = itemsOf backup
    Directory.Delete(source, recursive = true)
    Expect.equal (itemsOf backup) items "the backup does not need the store"

let private refused () =
    use folder = new TemporaryFolder()
    let at (name: string) = folder.At name
    fill (at "a") 10
    fill (at "b") 12

    fails
        "no store"
        $"there is no store in {folder.Path}; choose another folder with --data"
        (backUp folder.Path (at "new"))

    Expect.isFalse (Directory.Exists(at "new")) "nothing was created"

    fails
        "itself"
        $"""the folder {at "a"} is the store itself; choose another folder with --to"""
        (backUp (at "a") (at "a"))

    Directory.CreateSymbolicLink(at "link", at "a") |> ignore

    fails
        "by a link"
        $"""the folder {at "a"} is the store itself; choose another folder with --to"""
        (backUp (at "a") (at "link"))

    let cannot (name: string) = $"the folder {at name} cannot take this backup: "

    fails
        "a store"
        (cannot "b" + "it holds a store that is not a backup; choose another folder with --to")
        (backUp (at "a") (at "b"))

    backUp (at "a") (at "backup") |> succeeds "backup" |> ignore

    fails
        "another store"
        (cannot "backup" + $"""it is a backup of the store in {at "a"}; choose another folder with --to""")
        (backUp (at "b") (at "backup"))

    do
        use server = ServerProcess.Start(at "backup")

        fails
            "in use"
            $"""the data folder {at "backup"} is in use by another process; stop it or choose another folder with --to"""
            (backUp (at "a") (at "backup"))

        server.StopCleanly()

    fails
        "served"
        (cannot "backup"
         + "a server has had it open since, so that it is a store of its own now; choose another folder with --to")
        (backUp (at "a") (at "backup"))

    backUp (at "a") (at "second") |> succeeds "backup" |> ignore
    Directory.Delete(at "a", recursive = true)
    fill (at "a") 3
    let other = backUp (at "a") (at "second")
    Expect.equal other.ExitCode 1 "a new store in the same place"
    Expect.stringContains other.Errors.Head "it is a backup of another store that was in " "the reason"
    Expect.equal (itemsOf (at "second")).Count 10 "the backup is as it was"

[<Tests>]
let tests =
    testList "Backup" [
        testCase "beside a server under load, every backup is whole and a prefix" underLoad
        testCase "tables are linked, and kept the next time" linked
        testCase "what cannot take a backup is refused in one line" refused
    ]
