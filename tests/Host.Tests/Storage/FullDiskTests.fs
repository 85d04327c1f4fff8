module LsmFs.Host.Tests.FullDiskTests

// Promise 4 of the design on a real file system that is really full. Where none can be mounted there is no such test; FaultTests has the same on a simulated one.

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders
open LsmFs.Simulation
open LsmFs.Host.Tests.DiskScript

let private succeeds (program: string) (arguments: string list) : bool =
    try
        let start =
            ProcessStartInfo(program, arguments, RedirectStandardOutput = true, RedirectStandardError = true)

        match Process.Start start with
        | null -> false
        | command ->
            use command = command
            command.WaitForExit()
            command.ExitCode = 0
    with :? ComponentModel.Win32Exception ->
        false

/// Calls `body` with a disk of 1 MiB, where one can be mounted; whether it could.
let withSmallDisk (body: string -> unit) : bool =
    withFolder (fun folder ->
        let isMounted =
            OperatingSystem.IsLinux() && succeeds "mount" [ "-t"; "tmpfs"; "-o"; "size=1m"; "none"; folder ]

        try
            if isMounted then
                body folder

            isMounted
        finally
            if isMounted then
                succeeds "umount" [ folder ] |> ignore)

let private fullDisk (durability: Durability) (disk: string) =
    let filler = Path.Combine(disk, "filler")
    File.WriteAllBytes(filler, Array.zeroCreate 600_000)
    let folder = Path.Combine(disk, "data")
    let mutable expected = Map.empty

    let write (store: Store) (round: int) : string option =
        let change = [ Put(round % keyCount, Array.create (20_000 + round) (byte round)) ]
        let writes = Writes change
        store.Submit writes
        let refusal = writes.Wait()

        if refusal.IsNone then
            expected <- apply expected change

        refusal

    (use store = openWith durability TimeProvider.System folder

     let refusal = Seq.initInfinite id |> Seq.tryPick (write store)
     refusal |> Expect.equal "the reason" (Some "out of disk space")
     read store |> show |> Expect.equal "what is read" (show expected)
     File.Delete filler

     SpinWait.SpinUntil((fun () -> (write store 7).IsNone), TimeSpan.FromSeconds 30.0)
     |> Expect.isTrue "writes come back by themselves")

    use store = openWith durability TimeProvider.System folder
    read store |> show |> Expect.equal "what is read after a restart" (show expected)

/// Submits changes; why they were refused.
let private submit (store: Store) (changes: Change list) : string option =
    let writes = Writes changes
    store.Submit writes
    writes.Wait()

let private expect (label: string) (expected: Contents) (store: Store) =
    let found = read store

    if found <> expected then
        failtest $"{label}: found {show found}; expected {show expected}"

/// Fills a disk of a size until puts are refused; deletes go on then, over a crash and a reopening of the full disk too, and puts come back with space.
/// Returns whether a store could be opened at all.
let private fill (capacityBytes: int64) : bool =
    let label = $"a disk of {capacityBytes} bytes"
    let disk = SimulatedDisk(DiskImage.Empty, CapacityBytes = capacityBytes)
    let mutable expected = Map.empty

    let change (store: Store) (changes: Change list) : string option =
        let refusal = submit store changes

        match refusal with
        | None -> expected <- apply expected changes
        | Some reason -> reason |> Expect.equal $"{label}: the reason" "out of disk space"

        refusal

    let accept (store: Store) (changes: Change list) = change store changes |> Expect.isNone $"{label}: %A{changes}"

    let remove (store: Store) (rounds: int) =
        for round in 1..rounds do
            accept store [ Remove(round % keyCount) ]

    try
        use store = openOn disk
        // With a disk that never held a whole reserve nothing is promised but the truth.
        let isPromised = isNull store.Statistics.WriteRefusal

        let put (round: int) =
            change store [
                Put(round % keyCount, Array.create (300 + round) (byte round))
                Remove((round + 1) % keyCount)
            ]

        let refused = seq { 0..400 } |> Seq.tryFind (fun round -> (put round).IsSome)
        expect label expected store

        if isPromised && refused.IsSome then
            remove store 5
            // Refused whole, unless the deletes have made space.
            change store [ Put(0, "a value"B); Remove 7 ] |> ignore
            expect label expected store
            // The process is killed, and the disk is as full as before.
            let disk = SimulatedDisk(disk.Image.After Everything, CapacityBytes = capacityBytes)
            use store = openOn disk
            expect $"{label}, reopened" expected store
            remove store 300
            accept store [ FlushAll ]
            expect $"{label}, after the deletes" expected store
            disk.CapacityBytes <- capacityBytes + 400_000L

            SpinWait.SpinUntil((fun () -> (change store [ Put(3, "back"B) ]).IsNone), TimeSpan.FromSeconds 30.0)
            |> Expect.isTrue $"{label}: puts come back"

            settle (fun _ -> false) label disk store
            use store = openOn (SimulatedDisk(disk.Image.After NothingUnsynced))
            expect $"{label}, at the end" expected store

        refused.IsSome && isPromised
    with :? StoreException as refusal ->
        refusal.Message |> Expect.stringContains $"{label}: the reason" "out of disk space"
        false

[<Tests>]
let tests =
    testList "FullDisk" [
        testCase "on a disk of any size puts are refused at worst, and deletes never" (fun () ->
            let whole = (DiskSpace.whole tinyOptions).TotalBytes + DiskSpace.slackBytes tinyOptions

            let kept = [ whole - 40_000L .. 613L .. whole + 40_000L ] |> List.filter fill

            Expect.isGreaterThan "sizes at which the promise was put to the test" (kept.Length, 20))

        if withSmallDisk ignore then
            for durability in [ Durability.Sync; Durability.Os ] do
                testCase $"{durability}: writes are refused with the reason, and come back when space does" (fun () ->
                    withSmallDisk (fullDisk durability) |> Expect.isTrue "mounted")
    ]
