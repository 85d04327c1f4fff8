// Which lines of the engine the tests reach.

#load "processes.fsx"

open System.IO
open System.Text.Json
open Processes

/// Lines of each file of the engine, and whether a test of any of the reports has reached them.
let private reachedLines (reports: string list) : Map<string, Map<int, bool>> =
    let members (element: JsonElement) = element.EnumerateObject() |> List.ofSeq

    let lines = [
        for report in reports do
            use document = JsonDocument.Parse(File.ReadAllText report)

            // The same engine may have been loaded from several folders.
            for assembly in members document.RootElement do
                for file in members assembly.Value do
                    for type' in members file.Value do
                        for method in members type'.Value do
                            for line in members (method.Value.GetProperty "Lines") do
                                let name = Path.GetRelativePath(Path.Combine(root, "Engine.FSharp"), file.Name)
                                name, int line.Name, line.Value.GetInt32() > 0
    ]

    lines
    |> List.groupBy (fun (file, _, _) -> file)
    |> List.map (fun (file, lines) ->
        file,
        lines
        |> List.groupBy (fun (_, line, _) -> line)
        |> List.map (fun (line, found) -> line, found |> List.exists (fun (_, _, isReached) -> isReached))
        |> Map.ofList)
    |> Map.ofList

/// Lines as ranges: 3-5, 9.
let private ranges (lines: int list) : string =
    let join (ranges: (int * int) list) (line: int) =
        match ranges with
        | (first, last) :: rest when line = last + 1 -> (first, line) :: rest
        | _ -> (line, line) :: ranges

    lines
    |> List.sort
    |> List.fold join []
    |> List.rev
    |> List.map (fun (first, last) -> if first = last then $"{first}" else $"{first}-{last}")
    |> String.concat ", "

/// Runs the tests of one or all projects with an engine that notes which of its lines are reached, and tells those that no test has reached in
/// any of the reports in artifacts/coverage.
let coverage (arguments: string list) : unit =
    // Not optimised: the compiler puts small functions into others, where their lines are not seen.
    say "building LsmFs.sln (Debug)"
    require "the build failed" [ "build"; solution; "-c"; "Debug"; "--nologo"; "-v"; "quiet" ]
    let tests = Path.Combine(root, "tests")
    let reports = Path.Combine(root, "artifacts", "coverage")
    let measurement = Path.Combine(tests, "Coverage")
    require "could not restore the measurement" [ "restore"; measurement; "--verbosity"; "quiet" ]

    let projects =
        match arguments with
        | [] ->
            if Directory.Exists reports then
                Directory.Delete(reports, true)

            Directory.GetDirectories(tests, "*.Tests")
            |> Array.map (fun folder -> string (Path.GetFileName folder))
            // The first run programs that are wrong on purpose, the second load what was built in Release.
            |> Array.filter (fun name -> name <> "Mutation.Tests" && name <> "Scripts.Tests")
            |> Array.sort
            |> List.ofArray
        | projects -> projects

    for project in projects do
        say project
        let options = [ "-t:Measure"; $"-p:Tests={project}"; "-nologo"; "-v:minimal" ]
        require "the measurement failed" ([ "msbuild"; measurement ] @ options)

    let files = reachedLines (Directory.GetFiles(reports, "*.json") |> List.ofArray)

    let count (condition: bool -> bool) =
        files.Values |> Seq.sumBy (fun lines -> lines.Values |> Seq.filter condition |> Seq.length)

    for KeyValue(file, lines) in files do
        match
            [
                for KeyValue(line, isReached) in lines do
                    if not isReached then
                        line
            ]
        with
        | [] -> ()
        | missed -> printfn $"{file}: {ranges missed}"

    printfn
        "%.1f %% of %d lines of Engine.FSharp reached"
        (100. * float (count id) / float (count (fun _ -> true)))
        (count (fun _ -> true))
