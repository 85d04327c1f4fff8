module LsmFs.Host.Tests.BackupTests

// Invariants 1 to 3 of Engine.FSharp/Store/Backup.fs: the power is lost after every file operation of a backup that is brought up to date again and
// again. Whatever of the unsynced was kept, the backup opens, as the store was at one point that is no earlier than the backup before; and the next
// backup completes it.

open System.Collections.Generic
open Expecto
open LsmFs.Host
open LsmFs.Simulation
open LsmFs.Host.Tests.DiskScript

/// The backup's disk at one moment, and the fewest writes that it must have.
type private Moment = { Image: DiskImage; AtLeast: int }

let private backUp (source: SimulatedDisk) (target: SimulatedDisk) : BackupReport =
    use sourceFolder = DataFolder.LookInto(source.FileSystem, "/source")
    use targetFolder = DataFolder.Open(target.FileSystem, "/target")
    StoreBackup.Run(sourceFolder, targetFolder, verifyAll = true)

let private contentsOf (image: DiskImage) : Contents =
    // A copy, because opening a backup makes it a store of its own.
    use store = openOn (SimulatedDisk image)
    read store

/// Which write of the history the backup is at; the last one with these contents.
let private positionOf (label: string) (history: IReadOnlyList<Contents>) (image: DiskImage) : int =
    let contents =
        try
            contentsOf image
        with error ->
            failtest $"{label}: the backup does not open: {error.Message}"

    match Seq.tryFindIndexBack ((=) contents) history with
    | Some position -> position
    | None -> failtest $"{label}: the store was never like this: {show contents}"

let private losses = [ Everything; NothingUnsynced; NamesOnly; AnyMixture 1; AnyMixture 2 ]

/// Runs the script, with a backup after every few writes, and returns the moments of the backups.
let private life (every: int) : struct (SimulatedDisk * List<Contents> * Moment list) =
    let source = SimulatedDisk()
    let target = SimulatedDisk()
    let history = List [ Map.empty ]
    let moments = List<Moment>()
    let mutable atLeast = -1
    target.Observe(fun image -> moments.Add { Image = image; AtLeast = atLeast })
    let mutable store = openOn source

    for index, step in List.indexed script do
        match step with
        | Write changes ->
            let writes = Writes changes
            store.Submit writes
            writes.Wait() |> Option.iter (fun refusal -> failtest $"refused: {refusal}")
            history.Add(apply history[history.Count - 1] changes)
        | Flush -> store.Flush()
        | Reopen ->
            store.Dispose()
            store <- openOn source

        if index % every = every - 1 then
            backUp source target |> ignore
            Expect.equal (positionOf "a whole backup" history target.Image) (history.Count - 1) "all writes"
            atLeast <- history.Count - 1

    store.Dispose()
    struct (source, history, List.ofSeq moments)

[<Tests>]
let tests =
    testList "Backup" [
        testCase "the power is lost after every operation of a backup" (fun () ->
            let struct (source, history, moments) = life 3
            let mutable count = 0

            for index, moment in List.indexed moments do
                for loss in losses do
                    let image = moment.Image.After loss
                    let label = $"after operation {index}, kept {loss}"

                    // Before the first backup is complete there is nothing to open.
                    if moment.AtLeast >= 0 then
                        count <- count + 1

                        if positionOf label history image < moment.AtLeast then
                            failtest $"{label}: the backup went back in time"

                    if index % 7 = 0 then
                        let again = SimulatedDisk image
                        backUp source again |> ignore
                        Expect.equal (positionOf label history again.Image) (history.Count - 1) label

            Expect.isGreaterThan count 100 "moments were tried")

        testCase "tables are not copied again, and what the store no longer has goes" (fun () ->
            let source = SimulatedDisk()
            let target = SimulatedDisk()
            use store = openOn source

            let write (number: int) =
                let writes = Writes [ Put(number, [| byte number |]) ]
                store.Submit writes
                Expect.isNone (writes.Wait()) "accepted"

            write 1
            store.Flush()
            let first = backUp source target
            Expect.equal (first.CopiedCount, first.KeptCount, first.LogEntryCount) (1, 0, 0L) "one table"
            write 2
            let second = backUp source target
            Expect.equal (second.CopiedCount, second.KeptCount, second.LogEntryCount) (0, 1, 1L) "one entry of a log"
            let third = backUp source target
            Expect.equal (third.CopiedCount, third.KeptCount, third.LogEntryCount) (0, 1, 1L) "nothing new"

            Expect.equal (target.Image.Names |> Seq.filter _.StartsWith("MANIFEST") |> Seq.length) 1 "one manifest")

        testCase "a damaged source does not become a backup, and the one before stays" (fun () ->
            let struct (source, history, moments) = life 9
            let whole = (List.last moments).Image
            let image = source.Image

            let damaged =
                image.WithContents(fun name bytes ->
                    if name.EndsWith ".sst" then
                        bytes |> Array.mapi (fun index byte -> if index = 3 then ~~~byte else byte)
                    else
                        bytes)

            // A new folder needs every table, so that one of them is damaged.
            let target = SimulatedDisk()
            let error = Expect.throwsC (fun () -> backUp (SimulatedDisk damaged) target |> ignore) id
            Expect.stringContains error.Message " is damaged: " "the reason"
            Expect.isFalse (List.contains "CURRENT" target.Image.Names) "no backup"
            Expect.equal (positionOf "the one before" history whole) (positionOf "again" history whole) "whole")
    ]
