// The build, as a script of the SDK alone: dotnet fsi build.fsx <target> [-- arguments]
// It references no package. `dotnet` restores what the projects and the tool manifest name, and nothing else is fetched.
// What the targets do is in build/.

// One directive: of two, each would have types of its own.
#load "build/processes.fsx" "build/tests.fsx" "build/coverage.fsx" "build/packages.fsx" "build/measurements.fsx"

open Processes
open Tests
open Coverage
open Packages
open Measurements

type Target = { Name: string; Summary: string; Run: string list -> unit }

let target name summary run = { Name = name; Summary = summary; Run = run }

let targets = [
    target "run" "build, then serve on 127.0.0.1:11211 with data in ./data; arguments are lsmfs's (-- --help)" run
    target "test" "build, check the format, run every test; arguments are Expecto's (-- --filter-test-list Wal)" test
    target "soak" "mixed load, restarts, kills and hostile clients; -- --minutes 30, as many as you like" soak
    target
        "coverage"
        "the lines of the engine that no test reaches; -- Engine.Tests measures one project anew and adds what is known"
        coverage
    target "build" "build everything, Release" build
    target
        "bench"
        "measure everything into bench/RESULTS.md (40 minutes); -- --quick (5), a part (load, embedded, process, micro), report or compaction"
        bench
    target
        "simulate"
        "the store on a simulated disk, from random seeds: -- --minutes N; one seed, told step by step: -- --seed N"
        simulate
    target "publish" "a folder to install, artifacts/lsmfs, precompiled for this kind of machine" publish
    target "pack" "NuGet packages, for programs that embed the store and for their tests, in artifacts/packages" pack
    target "format" "format every F# and C# file" format
]

let usage () =
    eprintfn "usage: dotnet fsi build.fsx <target> [-- arguments]"

    for target in targets do
        eprintfn $"  %-8s{target.Name} %s{target.Summary}"

let main (arguments: string list) : int =
    match arguments with
    | [] ->
        usage ()
        1
    | name :: rest ->
        match targets |> List.tryFind (fun target -> target.Name = name) with
        | None ->
            eprintfn $"there is no target '{name}'"
            usage ()
            1
        | Some target ->
            try
                // F# Interactive takes the first `--` for itself; the second, if there is one, is still here.
                target.Run(if List.tryHead rest = Some "--" then rest.Tail else rest)
                0
            with BuildFailed(message, exitCode) ->
                if message <> "" then
                    eprintfn $"FAILED: {message}"

                exitCode

exit (main (List.tail (List.ofArray fsi.CommandLineArgs)))
