module LsmFs.Load.Tests.ResultsTests

open System
open System.Collections.Generic
open System.IO
open Expecto
open LsmFs.Results

let private machine =
    Machine(
        Commit = "0123abc",
        MeasuredAt = DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
        CoreCount = 2,
        Processor = "A | B",
        MemoryBytes = (8L <<< 30),
        Kernel = "Linux 6",
        DotNet = ".NET 10",
        Peers = Dictionary(dict [ "memcached", "1.6" ])
    )

let private figures (numbers: float list) =
    numbers |> List.map Nullable |> ResizeArray :> IReadOnlyList<Nullable<float>>

let private row name unitName ours (peers: (string * float list) list) =
    ResultRow(
        Section = "Beside memcached",
        Name = name,
        Unit = unitName,
        LsmFs = figures ours,
        Peers = Dictionary(dict [ for peer, theirs in peers -> peer, figures theirs ])
    )

let private part (rows: ResultRow list) =
    PartResult(
        Part = "load",
        Command = "dotnet fsi build.fsx bench -- load",
        Conditions = "Three rounds.",
        Environment = machine,
        Rows = ResizeArray<ResultRow> rows
    )

let private atLeast row peer bound note =
    Target(Work = "gets", Row = row, Unit = "operations/s", Peer = peer, AtLeast = Nullable bound, Note = note)

let private targets = [
    atLeast "get" "memcached" 1.0 null
    atLeast "set" "memcached" 1.0 "The disk holds it back."
    Target(Work = "idle", Row = "idle connection", Unit = "KiB", AtMost = Nullable 8.0)
    atLeast "gone" "memcached" 1.0 null
]

let private measured =
    part [
        row "get" "operations/s" [ 200.0; 110.0; 300.0 ] [ "memcached", [ 100.0; 100.0; 200.0 ] ]
        row "set" "operations/s" [ 50.0 ] [ "memcached", [ 100.0 ] ]
        row "idle connection" "KiB" [ 4.0 ] []
    ]

let private compose targets parts failures =
    ResultsPage.Compose(
        ResizeArray<Target>(targets: Target list),
        ResizeArray<PartResult>(parts: PartResult list),
        ResultsPage.ReadRemarks "Opening.\n\n## Beside memcached\n\nA remark.\n",
        ResizeArray<string>(failures: string list)
    )

let private golden =
    """# Results

Opening.

| part | commit | measured at (UTC) | machine | system | beside |
|---|---|---|---|---|---|
| load | 0123abc | 2026-01-02 03:04 | 2 cores, A \| B, 8 GiB | Linux 6, .NET 10 | memcached 1.6 |

**Not measured:** micro: it fell over

## Targets

2 of 4 are met, **1 not measured**.

| work | row | target | measured | met | |
|---|---|---|---|---|---|
| gets | get: operations/s | ≥ 1 × memcached | **1.50** (1.10 to 2.00) | yes |  |
| gets | set: operations/s | ≥ 1 × memcached | **0.50** | **no** | The disk holds it back. |
| idle | idle connection: KiB | ≤ 8 | **4.00** | yes |  |
| gets | gone: operations/s | ≥ 1 × memcached | not measured | not measured |  |

![Targets](results/targets.svg)

## Load

    dotnet fsi build.fsx bench -- load

Three rounds.

### Beside memcached

| | | LsmFs | memcached | LsmFs / memcached |
|---|---|---:|---:|---:|
| get | operations/s | 200 (110 to 300) | 100 (100 to 200) | **1.50** (1.10 to 2.00) |
| set | operations/s | 50.0 | 100 | **0.50** |
| idle connection | KiB | 4.00 |  |  |

A remark.

![Beside memcached](results/beside-memcached.svg)
"""

/// The repository's own list, found from where the tests run.
let private ownTargets () =
    let rec find (folder: DirectoryInfo | null) =
        match folder with
        | null -> failtest "there is no bench/targets.json above the tests"
        | folder ->
            let file = Path.Combine(folder.FullName, "bench", "targets.json")
            if File.Exists file then file else find folder.Parent

    Target.ReadAll(find (DirectoryInfo AppContext.BaseDirectory))

[<Tests>]
let tests =
    testList "Results" [
        test "targets, origins, tables and remarks come as on this page" {
            let page = compose targets [ measured ] [ "micro: it fell over" ]
            Expect.equal page.Markdown golden "the page"
            Expect.equal page.UnmeasuredCount 1 "targets that no row feeds"
        }

        test "every plot that the page shows is there and is well-formed" {
            let page = compose targets [ measured ] []
            Expect.sequenceEqual page.Plots.Keys [ "beside-memcached.svg"; "targets.svg" ] "one for each table"

            for svg in page.Plots.Values do
                let names = [ for part in (Xml.Linq.XDocument.Parse svg).Descendants() -> part.Name.LocalName ]
                Expect.equal (List.head names) "svg" "an SVG"
        }

        test "without any part every target is there, not measured" {
            let page = compose targets [] []
            Expect.equal page.UnmeasuredCount targets.Length "none was measured"
            Expect.stringContains page.Markdown "0 of 4 are met, **4 not measured**" "it says so"
        }

        test "rounds that do not pair up, and rounds without a figure, give no ratio" {
            let halved = row "get" "operations/s" [ 1.0; 2.0 ] [ "memcached", [ 1.0 ] ]
            let hollow = row "set" "operations/s" [ nan ] [ "memcached", [ 1.0 ] ]
            Expect.equal (compose targets [ part [ halved; hollow ] ] []).UnmeasuredCount 4 "nothing counts"
        }

        test "a result is read as it was written" {
            let folder = Directory.CreateTempSubdirectory "lsmfs-results-test-"

            try
                let file = Path.Combine(folder.FullName, "deeper", "load.json")
                ResultFile.Write(file, measured)
                let read = ResultFile.Read file

                Expect.equal
                    (compose targets [ read ] []).Markdown
                    (compose targets [ measured ] []).Markdown
                    "the same page"

                File.WriteAllText(file, "{")
                Expect.throwsT<InvalidDataException> (fun () -> ResultFile.Read file |> ignore) "half a file"
            finally
                folder.Delete true
        }

        test "BenchmarkDotNet's report gives time by iteration, and bytes" {
            let folder = Directory.CreateTempSubdirectory "lsmfs-results-test-"

            try
                File.WriteAllText(
                    Path.Combine(folder.FullName, "X-report-full-compressed.json"),
                    """{"Benchmarks":[
                        {"Type":"BloomBenchmarks","Method":"Ask","Parameters":"","Statistics":{"OriginalValues":[3.5,2.5]},"Memory":{"BytesAllocatedPerOperation":0}},
                        {"Type":"BloomBenchmarks","Method":"Failed","Parameters":"","Statistics":null}]}"""
                )

                let rows = MicroResults.Read folder.FullName

                Expect.sequenceEqual
                    [ for row in rows -> row.Name, row.Unit, List.ofSeq row.LsmFs ]
                    [
                        "Bloom: Ask", "ns/operation", [ Nullable 3.5; Nullable 2.5 ]
                        "Bloom: Ask", "bytes allocated/operation", [ Nullable 0.0 ]
                    ]
                    "what was measured"
            finally
                folder.Delete true
        }

        test "the repository's targets can be read, and no two ask for the same" {
            let own = ownTargets ()
            let asked = [ for target in own -> target.Row, target.Unit, target.Peer ]
            Expect.isNonEmpty own "targets"
            Expect.equal (List.distinct asked) asked "each once"
        }
    ]
