/// Promise 4 of the design with the built program on real file systems that are really full: tmpfs, and ext4 on a loop device. Both need root; without it
/// the tests are skipped, and counted.
module LsmFs.Server.Tests.FullDiskTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto

type private Disk =
    | Tmpfs
    | Ext4

let private isDone (program: string) (arguments: string list) : bool =
    match Executable.tryFind program with
    | Some path -> (Executable.run path arguments).ExitCode = 0
    | None -> false

/// Mounts a small file system and calls `body` with its folder.
let private onDisk (kind: Disk) (body: string -> unit) : unit =
    use folder = new TemporaryFolder()
    let mount = folder.At "disk"
    let image = folder.At "image"
    Directory.CreateDirectory mount |> ignore

    let isMounted =
        OperatingSystem.IsLinux()
        && match kind with
           | Tmpfs -> isDone "mount" [ "-t"; "tmpfs"; "-o"; "size=32m"; "none"; mount ]
           | Ext4 ->
               using (File.Create image) (fun file -> file.SetLength(40L <<< 20))

               isDone "mkfs.ext4" [ "-q"; "-F"; "-m"; "0"; image ]
               && isDone "mount" [ "-o"; "loop,errors=remount-ro"; image; mount ]

    if not isMounted then
        skiptest $"no {kind} can be mounted here: that takes root, mount and mkfs.ext4"

    try
        body mount
    finally
        isDone "umount" [ mount ] |> ignore

/// Writes a file until there is no space left.
let private fillUp (path: string) : unit =
    use file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.None, 0)

    for length in [ 65536; 512 ] do
        try
            while true do
                file.Write(Array.zeroCreate length, 0, length)
        with :? IOException ->
            ()

let private refusal = "SERVER_ERROR out of disk space"

let private eventually (what: string) (condition: unit -> bool) : unit =
    let watch = Stopwatch.StartNew()

    while not (condition ()) do
        if watch.Elapsed.TotalSeconds > 30. then
            failtest $"not within half a minute: {what}"

        Thread.Sleep 50

let private fullDisk (durability: string) (disk: string) : unit =
    let data = Path.Combine(disk, "data")
    let filler = Path.Combine(disk, "filler")
    let random = Random 7
    let value = Array.init 20_000 (fun _ -> byte (random.Next 256))
    let flags = [| "-m"; "8"; "--durability"; durability; "-v" |]
    let start () = ServerProcess.Start(data, flags)
    use server = start ()
    use client = new TextClient(server.Port)

    let stored =
        Seq.initInfinite id
        |> Seq.takeWhile (fun number ->
            let reply = client.Store($"set key{number} 0 0", value)

            if reply <> "STORED" then
                Expect.equal reply refusal "the reason"

            reply = "STORED")
        |> List.ofSeq

    Expect.isGreaterThan stored.Length 400 "values that fit"
    fillUp filler

    // Values and deletes in one group: each is answered for itself.
    client.Send "delete key0\r\nset small 0 0 1\r\nx\r\ndelete key1\r\n"
    Expect.equal (client.ReadLine()) "DELETED" "before a value"
    let small = client.ReadLine()
    Expect.isTrue (small = refusal || small = "STORED") $"a value: {small}"
    Expect.equal (client.ReadLine()) "DELETED" "after a value"
    let deleted = [ 2 .. stored.Length / 2 ]

    for number in deleted do
        let answer = client.Ask $"delete key{number}"
        let log = String.Join(Environment.NewLine, server.Errors)
        Expect.equal answer "DELETED" $"key{number}, and the server said: {log}"

    let check (client: TextClient) =
        for number in stored do
            match client.TryGet $"key{number}" with
            | Some item when number > stored.Length / 2 ->
                Expect.isTrue (item.Value.AsSpan().SequenceEqual value) $"key{number}"
            | None when number <= stored.Length / 2 -> ()
            | found -> failtest $"key{number} is there: {found.IsSome}"

        Expect.equal (client.TryGet "small").IsSome (small = "STORED") "what was answered"

    check client
    server.Kill()
    fillUp filler
    use again = start ()
    use client = new TextClient(again.Port)
    check client
    Expect.equal (client.Ask $"delete key{stored.Length - 1}") "DELETED" "on the reopened store"
    Expect.equal (client.Ask "flush_all") "OK" "flush_all"
    Expect.isNone (client.TryGet $"key{stored.Length - 2}") "flushed"
    File.Delete filler
    eventually "values are accepted again" (fun () -> client.Store("set back 0 0", value) = "STORED")
    Expect.isTrue (client.TryGet "back").IsSome "a new value"
    again.StopCleanly()

/// Makes the kernel find an error in an ext4 file system, upon which it lets nobody write to it any more.
let private makeReadOnly (disk: string) : unit =
    let device =
        File.ReadAllLines "/proc/mounts"
        |> Array.map _.Split(' ')
        |> Array.find (fun words -> words[1] = disk)
        |> Array.head

    let trigger = $"/sys/fs/ext4/{Path.GetFileName device}/trigger_fs_error"

    if not (File.Exists trigger) then
        skiptest $"the kernel has no {trigger}"

    File.WriteAllText(trigger, "a test")

let private readOnlyDisk (disk: string) : unit =
    let data = Path.Combine(disk, "data")
    use server = ServerProcess.Start data
    use client = new TextClient(server.Port)
    Expect.equal (client.Store("set kept 0 0", "value"B)) "STORED" "before"
    makeReadOnly disk

    for request in [ "delete kept"; "flush_all"; "delete kept" ] do
        Expect.equal (client.Ask request) "SERVER_ERROR the disk is read-only" request

    Expect.equal (client.Store("set new 0 0", "value"B)) "SERVER_ERROR the disk is read-only" "a value"
    Expect.equal (client.TryGetText "kept") (Some "value") "reads go on"
    server.AwaitError("writes are refused: Read-only")
    let told = server.Errors |> List.filter _.Contains("writes are refused: Read-only")
    Expect.equal told.Length 1 $"told once: {server.Errors}"
    server.Kill()
    let again = Executable.run Executable.lsmfs [ "-p"; "0"; "--data"; data ]
    Expect.equal again.ExitCode 1 "a start on a read-only disk"
    Expect.all again.Errors _.Contains("Read-only file system") $"{again.Errors}"

[<Tests>]
let tests =
    testSequenced
    <| testList "FullDisk" [
        for disk, durability in [ Tmpfs, "sync"; Tmpfs, "os"; Ext4, "sync"; Ext4, "os" ] do
            testCase $"deletes go on, the store opens, values come back: {disk}, {durability}" (fun () ->
                onDisk disk (fullDisk durability))

        testCase "on a disk that became read-only writes are refused with the reason, and reads go on" (fun () ->
            onDisk Ext4 readOnlyDisk)
    ]
