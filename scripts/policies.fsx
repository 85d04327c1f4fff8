// Compares ways to compact on a made workload and draws the result: dotnet fsi scripts/policies.fsx FILE.svg [WORKLOAD] [KEYS]
//
// A plan is a value, and what it leads to can be computed without a byte of data: the simulation takes random writes through each policy, the
// store's own (Picking) among them, and counts what is written again and what lies about twice. Every policy pays somewhere.

#load "engine.fsx"
#r "../bench/Compaction/bin/Release/net10.0/Compaction.dll"

open System
open System.IO
open LsmFs.Engine
open LsmFs.CompactionBench
open Engine

let path, workloadName, keyCount =
    match arguments with
    | [ path ] -> path, "uniform", 20_000
    | [ path; workload ] -> path, workload, 20_000
    | [ path; workload; keys ] ->
        match Int32.TryParse keys with
        | true, count when count >= 1000 -> path, workload, count
        | _ -> fail $"{keys} is no count of keys; take 1000 or more"
    | _ -> fail "usage: dotnet fsi scripts/policies.fsx FILE.svg [WORKLOAD] [KEYS]"

let workload =
    let all = Workload.all keyCount

    match all |> List.tryFind (fun workload -> workload.Name = workloadName) with
    | Some workload -> workload
    | None ->
        let names = String.Join(", ", all |> List.map _.Name)
        fail $"there is no workload '{workloadName}'; there are {names}"

/// The proportions of a real store, with memtables of 100 values.
let options =
    let real = Options.ofBudget (64L <<< 20)
    let memtable = 100L * SortedRun.entryBytes SortedRun.lasting
    let scaled (bytes: int64) = bytes * memtable / real.MemtableSizeBytes

    {
        real with
            MemtableSizeBytes = memtable
            TableSizeBytes = scaled real.TableSizeBytes
            LevelOneSizeBytes = scaled real.LevelOneSizeBytes
    }

printfn $"{workload.Name}, {keyCount} keys"
printfn "%-26s %12s %12s %12s" "policy" "write amp." "space amp." "tables read"

let results =
    Policy.all options
    |> List.map (fun policy ->
        let result = Simulation.run options policy workload
        printfn "%-26s %12.1f %12.2f %12.2f" policy.Name result.WriteAmplification result.SpaceMean result.TablesRead
        policy.Name, result.WriteAmplification, result.SpaceMean)

// ------------------------------------------------------------------------------------------------------------------------ the drawing

let width, height, margin = 900.0, 560.0, 70.0
let greatest (value: string * float * float -> float) = results |> List.map value |> List.max |> (*) 1.1
let writeMax = greatest (fun (_, write, _) -> write)
let spaceMax = greatest (fun (_, _, space) -> space - 1.0) + 1.0

let x (write: float) = margin + write / writeMax * (width - 2.0 * margin)
let y (space: float) = height - margin - (space - 1.0) / (spaceMax - 1.0) * (height - 2.0 * margin)
let text (x: float) (y: float) (content: string) = $"<text x='%.0f{x}' y='%.0f{y}'>{content}</text>"

let line (x1: float) (y1: float) (x2: float) (y2: float) =
    $"<line x1='%.0f{x1}' y1='%.0f{y1}' x2='%.0f{x2}' y2='%.0f{y2}' stroke='#999'/>"

let svg = [
    $"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f{width} %.0f{height}' font-family='sans-serif' font-size='12'>"
    "<rect width='100%' height='100%' fill='white'/>"
    text
        margin
        30.0
        $"Compaction policies, {workload.Name} writes, {keyCount} keys: further left writes less, further down takes less space"
    line margin (height - margin) (width - margin) (height - margin)
    line margin margin margin (height - margin)
    text (width / 2.0 - 80.0) (height - 20.0) "bytes written for each byte of the workload"
    text 10.0 (margin - 15.0) "bytes stored for each live byte"

    for step in 1..4 do
        let write = writeMax * float step / 4.0
        let space = 1.0 + (spaceMax - 1.0) * float step / 4.0
        text (x write - 10.0) (height - margin + 18.0) $"%.1f{write}"
        text 30.0 (y space) $"%.2f{space}"

    for name, write, space in results do
        $"<circle cx='%.1f{x write}' cy='%.1f{y space}' r='5' fill='#2266aa'/>"
        text (x write + 8.0) (y space + 4.0) name

    "</svg>"
]

try
    File.WriteAllLines(path, svg)
with
| :? IOException as cause -> fail $"cannot write {path}: {cause.Message}"
| :? UnauthorizedAccessException as cause -> fail $"cannot write {path}: {cause.Message}"

printfn $"drawn: {path}"
