/// Each script of scripts/ is run as a person runs it, on a store made here. F# Interactive takes seconds to start, so each is started as seldom as can be.
module LsmFs.Scripts.Tests.ScriptTests

open System
open System.Diagnostics
open System.IO
open System.Text
open System.Threading
open Expecto
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host

let private scripts = Path.GetFullPath(Path.Combine(__SOURCE_DIRECTORY__, "..", "..", "scripts"))

type private Outcome = { ExitCode: int; Output: string; Errors: string }

/// Runs a script; its output as lines ends in "\n" everywhere.
let private run (script: string) (arguments: string list) : Outcome =
    let info = ProcessStartInfo("dotnet", [ "fsi"; "--quiet"; Path.Combine(scripts, script) ] @ arguments)

    info.RedirectStandardOutput <- true
    info.RedirectStandardError <- true
    use child = nonNull (Process.Start info)
    let errors = child.StandardError.ReadToEndAsync()
    let output = child.StandardOutput.ReadToEnd()

    if not (child.WaitForExit 120_000) then
        child.Kill true
        failtest $"{script} does not end"

    {
        ExitCode = child.ExitCode
        Output = output.ReplaceLineEndings "\n"
        Errors = errors.Result.ReplaceLineEndings "\n"
    }

let private succeeds (script: string) (arguments: string list) : string =
    let outcome = run script arguments
    Expect.equal (outcome.ExitCode, outcome.Errors) (0, "") $"{script}: {outcome.Output}"
    outcome.Output

/// One line, and no other output.
let private refuses (script: string) (arguments: string list) (line: string) : unit =
    let outcome = run script arguments
    Expect.equal (outcome.ExitCode, outcome.Output, outcome.Errors.Trim()) (1, "", line) script

let private options: Options = {
    Options.ofBudget (8L <<< 20) with
        ChunkSizeBytes = 4096
        MemtableSizeBytes = 20_000L
        BlockSizeBytes = 512
        TableSizeBytes = 10_000L
        LevelZeroTableCountTrigger = 2
        LevelOneSizeBytes = 30_000L
        LevelSizeMultiplier = 3
}

let private open' (folder: string) : Store =
    Store.Open(
        StoreOptions(DataFolder = folder, Durability = Durability.Os, EngineOptions = options),
        NullLogger.Instance
    )

/// A store with tables in several levels, a decision log with many plans, and a log with three writes.
let private sample =
    lazy
        (let folder = Directory.CreateTempSubdirectory "lsmfs-scripts-"
         AppDomain.CurrentDomain.ProcessExit.Add(fun _ -> folder.Delete true)
         use store = open' folder.FullName
         let value: byte[] = Array.create 80 7uy

         for round in 0..99 do
             let batch = WriteBatch()

             for index in 0..9 do
                 let key = Encoding.ASCII.GetBytes $"user:%04d{(round * 37 + index * 11) % 900}"

                 if index = 3 then
                     batch.Delete key |> ignore
                 else
                     batch.Put(key, value) |> ignore

             store.Write batch

         store.Flush()

         store.Write(WriteBatch().Put("greeting"B, "hello"B).Put("binary"B, value).Delete("user:0001"B))
         folder.FullName)

let private fileWith (ending: string) : string =
    Directory.GetFiles(sample.Value, "*" + ending) |> Array.sort |> Array.last

let private contains (text: string) (output: string) = Expect.stringContains output text "what is printed"

/// Calls `body` with the path of a file of this name and content, in a folder of its own.
let private withFile (name: string) (content: byte[]) (body: string -> unit) : unit =
    let folder = Directory.CreateTempSubdirectory "lsmfs-scripts-"

    try
        let path = Path.Combine(folder.FullName, name)
        File.WriteAllBytes(path, content)
        body path
    finally
        folder.Delete true

let private changed (path: string) (offset: int) : byte[] =
    let bytes = File.ReadAllBytes path
    bytes[offset] <- bytes[offset] ^^^ 1uy
    bytes

/// The entries of a table, as the engine reads them and as reader.fsx prints them.
let private entriesOf (path: string) : string list =
    let sound (result: Result<'value, Corruption>) =
        match result with
        | Ok value -> value
        | Error corruption -> failtest $"{corruption}"

    let name = string (Path.GetFileName path)
    let bytes = File.ReadAllBytes path

    let footer =
        let start = bytes.Length - TableFormat.footerLengthBytes

        TableFormat.decodeFooter name bytes.Length (ReadOnlySpan<byte>(bytes, start, bytes.Length - start))
        |> sound

    let metadata = Array.sub bytes (int footer.MetadataOffsetBytes) footer.MetadataLengthBytes
    let table = TableReader.openTable (FileNumber 1UL) name bytes.Length footer metadata |> sound
    let source = TableRunSource([| table |], KeyBounds.all, 4096)

    let rec next (found: string list) =
        match source.MoveNext() with
        | SourceState.Ready ->
            let entry = source.Current

            let kind =
                if entry.Kind = EntryKind.Tombstone then
                    "tombstone"
                else
                    "value"

            let hex (span: byte[]) = Convert.ToHexString span

            let line =
                $"{hex (entry.Key.ToArray())} {entry.Sequence} {kind} {entry.Flags} {entry.ExpirySeconds} {entry.Cas} {hex (entry.Value.ToArray())}"

            next (line :: found)
        | SourceState.NeedsBlock ->
            let wanted = source.Wanted
            Array.Copy(bytes, wanted.Handle.OffsetBytes, wanted.Destination, 0L, int64 wanted.Handle.LengthBytes)
            source.Supply() |> sound
            next found
        | _ -> List.rev found

    next []

[<Tests>]
let tests =
    testSequenced
    <| testList "Scripts" [
        // First: opening the store again would move what is in its log to a table.
        testCase "wal.fsx prints the writes of a log" (fun () ->
            let output = succeeds "wal.fsx" [ sample.Value ]
            output |> contains "set greeting = \"hello\", flags 0"
            output |> contains "set binary = 80 bytes, 0707070707070707..."
            output |> contains "delete user:0001")

        testCase "tables.fsx walks the levels, beside a running store" (fun () ->
            use _store = open' sample.Value
            let output = succeeds "tables.fsx" [ sample.Value ]
            output |> contains "level 1: "
            output |> contains (string (Path.GetFileName(fileWith ".sst")))
            output |> contains "first, from ")

        testCase "wal.fsx names a damaged byte" (fun () ->
            withFile "000007.wal" "this is no log of any kind whatsoever"B (fun path ->
                refuses
                    "wal.fsx"
                    [ path ]
                    "damaged: 000007.wal: offset 0: this is not a write-ahead log of LsmFs (wrong magic)"))

        testCase "decisions.fsx shows every plan, and today's engine decides the same" (fun () ->
            let output = succeeds "decisions.fsx" [ sample.Value ]
            output |> contains "job 1: "

            output |> contains "; scores: L0 "

            output |> contains "today's engine decides the same"
            output |> contains "decided the same by today's engine, 0 not")

        testCase "decisions.fsx refuses a folder that has none" (fun () ->
            withFile "notes.txt" "hello"B (fun path ->
                let folder = string (Path.GetDirectoryName path)

                refuses
                    "decisions.fsx"
                    [ folder ]
                    $"there is no decision log in {folder}: a store begins one with its first flush"))

        testCase "policies.fsx compares and draws" (fun () ->
            withFile "policies.svg" [||] (fun path ->
                let output = succeeds "policies.fsx" [ path; "uniform"; "2000" ]
                output |> contains "write amp."
                let drawing = Xml.Linq.XDocument.Load path

                let circles =
                    drawing.Descendants() |> Seq.filter (fun item -> item.Name.LocalName = "circle") |> Seq.length

                Expect.isGreaterThan circles 3 "a point for each policy"))

        testCase "simulation.fsx tells a seed, and finds out a disk that lies" (fun () ->
            let output = succeeds "simulation.fsx" []
            output |> contains "seed 221: "
            output |> contains "every promise was kept"
            output |> contains "a disk that does what it says: 200 seeds, and every check held"
            output |> contains "the accounts were opened, and are gone"
            output |> contains " events to 2:")

        testCase "simulation.fsx refuses what is no seed" (fun () ->
            refuses "simulation.fsx" [ "-1" ] "-1 is no seed; take a number from 0 on")

        testCase "reader.fsx reads a table as the engine does" (fun () ->
            let path = fileWith ".sst"
            let lines = (succeeds "reader.fsx" [ path ]).Trim().Split '\n' |> List.ofArray
            Expect.equal lines (entriesOf path) "the entries")

        testCase "reader.fsx names a damaged block" (fun () ->
            withFile "000001.sst" (changed (fileWith ".sst") 20) (fun path ->
                let outcome = run "reader.fsx" [ path ]
                Expect.equal (outcome.ExitCode, outcome.Output) (1, "") outcome.Errors
                Expect.stringContains outcome.Errors "damaged: 000001.sst: offset 0: " "the place"))
    ]
