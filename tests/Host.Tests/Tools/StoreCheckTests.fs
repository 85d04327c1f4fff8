module LsmFs.Host.Tests.StoreCheckTests

// A file that cannot be opened is a finding like others: the check tells it, and goes on.

open System
open System.Collections.Generic
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Simulation

let private check (disk: SimulatedDisk) : bool * string list =
    let lines = List<string>()
    use folder = DataFolder.OpenReadOnly(disk.FileSystem, "/simulated")
    let check = StoreCheck(folder, 0L, fun line -> lines.Add line)
    check.Run(), List.ofSeq lines

[<Tests>]
let tests =
    testList "StoreCheck" [
        for kind in [ ".wal"; ".sst" ] do
            testCase $"a file that cannot be opened is told, and the others are checked: {kind}" (fun () ->
                let machine = SimulatedMachine()
                let store = machine.OpenStore Durability.Sync

                for key in [ "one"B; "two"B ] do
                    store.Write(WriteBatch().Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> "value"B))

                    if key = "one"B then
                        store.Flush()

                store.Dispose()
                check machine.Disk |> fst |> Expect.isTrue "whole"

                machine.Disk.FailWith(fun operation ->
                    if operation.Kind = "open" && operation.File.EndsWith kind then
                        Some(DiskErrors.inputOutput ())
                    else
                        None)

                let isWhole, lines = check machine.Disk
                isWhole |> Expect.isFalse "not whole"

                lines
                |> List.filter (fun line -> line.StartsWith "damage:" && line.Contains kind)
                |> List.length
                |> Expect.equal "findings" 1

                List.last lines |> Expect.stringContains "the summary" "damaged: 1 finding in 1 file")
    ]
