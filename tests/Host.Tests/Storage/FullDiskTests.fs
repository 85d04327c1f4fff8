module LsmFs.Host.Tests.FullDiskTests

// Promise 4 of the design on a real file system that is really full. Where none can be mounted there is no such test; FaultTests has the same on a simulated one.

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open Expecto.Flip
open LsmFs.Host
open LsmFs.Host.Tests.Folders
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

let private withSmallDisk (body: string -> unit) : bool =
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

let private fullDisk (disk: string) =
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

    (use store = openWith LsmFs.Engine.Durability.Sync TimeProvider.System folder

     let refusal = Seq.initInfinite id |> Seq.tryPick (write store)
     refusal |> Expect.equal "the reason" (Some "out of disk space")
     read store |> show |> Expect.equal "what is read" (show expected)
     File.Delete filler

     SpinWait.SpinUntil((fun () -> (write store 7).IsNone), TimeSpan.FromSeconds 10.0)
     |> Expect.isTrue "writes come back by themselves")

    use store = openWith LsmFs.Engine.Durability.Sync TimeProvider.System folder
    read store |> show |> Expect.equal "what is read after a restart" (show expected)

[<Tests>]
let tests =
    testList "FullDisk" [
        if withSmallDisk ignore then
            testCase "writes are refused with the reason, and come back when space does" (fun () ->
                withSmallDisk fullDisk |> Expect.isTrue "mounted")
    ]
