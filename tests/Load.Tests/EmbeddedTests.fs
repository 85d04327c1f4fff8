module LsmFs.Load.Tests.EmbeddedTests

open System
open System.Diagnostics
open System.IO
open Expecto
open LsmFs.Embedded

let private written (dataset: Dataset) index version =
    let bytes = Array.zeroCreate<byte> dataset.ValueLength
    dataset.WriteValue(index, version, bytes.AsSpan())
    bytes

/// Runs the harness on a store of some hundred keys; gives its exit code and its report.
let private runSmall engines =
    let folder = Directory.CreateTempSubdirectory "lsmfs-embedded-test-"

    try
        let report = Path.Combine(folder.FullName, "report.md")

        let arguments =
            $"--keys 3000 --memory 8 --writers 2 --overwrite-seconds 0.2 --mixed-seconds 0.2 --read-seconds 0.2 --settle-seconds 0.5 --batch 3 --engines {engines} --out {report} --folder {folder.FullName}"

        let info = ProcessStartInfo("dotnet", $"\"{typeof<Dataset>.Assembly.Location}\" {arguments}")

        info.RedirectStandardOutput <- true
        info.RedirectStandardError <- true

        match Process.Start info with
        | null -> failtest "dotnet did not start"
        | harness ->
            use harness = harness
            let error = harness.StandardError.ReadToEndAsync()
            harness.StandardOutput.ReadToEnd() |> ignore
            harness.WaitForExit()

            if not (File.Exists report) then
                failtest error.Result

            Expect.isEmpty (folder.GetDirectories()) "no store is left behind"
            harness.ExitCode, File.ReadAllLines report
    finally
        folder.Delete true

let private rows = [
    "writes/s"
    "worst write latency"
    "reads/s"
    "CPU an operation"
    "write amplification"
    "read calls for each read"
    "memory, anonymous beyond empty"
    "space in the end"
    "items scanned/s"
    "answered after"
]

[<Tests>]
let tests =
    testList "Embedded" [
        testProperty
            "a value is right when it is the version acknowledged when the read began, or a later one up to the one under way, in every byte"
            (fun (index: uint16) (acknowledged: byte) (ahead: byte) (at: uint16) ->
                let dataset = Dataset(Settings(KeyCount = 70_000u, ValueLength = 37))
                let index, ahead = uint32 index, byte (ahead % 100uy)
                dataset.SetVersion(index, acknowledged + ahead)

                let isRight version = dataset.IsValue(index, acknowledged, ReadOnlySpan(written dataset index version))

                Expect.isTrue (isRight acknowledged) "acknowledged before"
                Expect.isTrue (isRight (acknowledged + ahead + 1uy)) "under way"
                Expect.isFalse (isRight (acknowledged - 1uy)) "older"
                Expect.isFalse (isRight (acknowledged + ahead + 2uy)) "not written yet"
                let other = written dataset (index + 1u) acknowledged
                Expect.isFalse (dataset.IsValue(index, acknowledged, ReadOnlySpan other)) "another key's"
                let changed = written dataset index acknowledged
                let position = int at % changed.Length
                changed[position] <- changed[position] ^^^ 1uy
                Expect.isFalse (dataset.IsValue(index, acknowledged, ReadOnlySpan changed)) "changed")

        (if OperatingSystem.IsLinux() then testCase else ptestCase)
            "a run reads what was written, deletes what it deletes, and reports every row, beside ZoneTree, and RocksDB where there is its library"
            (fun () ->
                let exitCode, report =
                    runSmall (
                        if RocksDb.IsThere then
                            "lsmfs,rocksdb,zonetree"
                        else
                            "lsmfs,zonetree"
                    )

                Expect.equal exitCode 0 "every value was right"

                for row in rows do
                    match report |> Array.tryFind _.StartsWith($"| {row} |") with
                    | None -> failtest $"no row {row}"
                    | Some cells -> Expect.isFalse (cells.Contains "n/a") cells)
    ]
