/// The simulator must be able to fail: every fault of the list is put into a copy of the program, one at a time, and found.
module LsmFs.Mutation.Tests.MutationTests

open System
open System.Diagnostics
open System.IO
open System.Text.RegularExpressions
open Expecto
open Mono.Cecil
open LsmFs.Mutation.Tests.Mutations

/// The built simulator, in the configuration that the tests were built in.
let private simulator: string =
    // tests/Mutation.Tests/bin/<configuration>/net10.0/
    let framework = DirectoryInfo(AppContext.BaseDirectory.TrimEnd Path.DirectorySeparatorChar)

    let configuration =
        framework.Parent |> Option.ofObj |> Option.map _.Name |> Option.defaultValue "Release"

    Path.GetFullPath(
        Path.Combine(framework.FullName, "../../../../../Simulation.Cli/bin", configuration, framework.Name)
    )

let private firstSeed = 1

/// What a run of the simulator came to: the seed that failed, with the reason, or none within so many.
let private simulate (folder: string) (seeds: int) : (int * string) option =
    let info =
        ProcessStartInfo(
            "dotnet",
            [
                "exec"
                Path.Combine(folder, "lsmfs-simulate.dll")
                "--seed"
                string firstSeed
                "--seeds"
                string seeds
                "--no-shrink"
            ],
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    // A run is over before methods would be compiled a second time.
    info.Environment["DOTNET_TieredPGO"] <- "0"

    match Process.Start info with
    | null -> failtest "dotnet does not start"
    | child ->
        use child = child
        let output = child.StandardOutput.ReadToEndAsync()
        let errors = child.StandardError.ReadToEndAsync()

        if not (child.WaitForExit(TimeSpan.FromMinutes 3.)) then
            child.Kill()
            failtest "the simulator does not come to an end"

        let failed = Regex.Match(output.Result, @"^FAILED: seed (\d+): (.*)$", RegexOptions.Multiline)

        if child.ExitCode = 0 then
            None
        elif failed.Success then
            Some(int failed.Groups[1].Value, failed.Groups[2].Value)
        else
            failtest $"the simulator ends with {child.ExitCode}: {output.Result}{errors.Result}"

/// A copy of the simulator with a changed assembly.
let private withCopy (assembly: Assembly) (change: ModuleDefinition -> unit) (body: string -> 'result) : 'result =
    let folder = Directory.CreateTempSubdirectory "lsmfs-mutation-"

    try
        for file in Directory.GetFiles simulator do
            match Path.GetExtension file with
            | ".dll"
            | ".json" -> File.Copy(file, Path.Combine(folder.FullName, string (Path.GetFileName file)))
            | _ -> ()

        let name =
            match assembly with
            | Engine -> "LsmFs.Engine.dll"
            | Host -> "lsmfs.dll"

        let resolver = new DefaultAssemblyResolver()
        resolver.AddSearchDirectory simulator

        use original =
            ModuleDefinition.ReadModule(Path.Combine(simulator, name), ReaderParameters(AssemblyResolver = resolver))

        change original
        original.Write(Path.Combine(folder.FullName, name))
        body folder.FullName
    finally
        folder.Delete true

/// A method that the runtime refuses is a mistake of the edit, and would be found by anything.
let private isMistake (reason: string) =
    [
        "InvalidProgram"
        "BadImageFormat"
        "TypeLoad"
        "MissingMethod"
        "MissingField"
        "VerificationException"
    ]
    |> List.exists reason.Contains

let private isFound (mutation: Mutation) : Test =
    testCase mutation.Name
    <| fun () ->
        let change (assembly: ModuleDefinition) =
            Expect.isGreaterThan
                (mutation.Edit assembly)
                0
                "the code that the fault is put into is gone: change the edit"

        match withCopy mutation.Assembly change (fun folder -> simulate folder mutation.SeedsMax) with
        | None -> failtest $"not found within {mutation.SeedsMax} seeds"
        | Some(_, reason) when isMistake reason -> failtest $"the edit makes no valid program: {reason}"
        | Some(seed, reason) -> printfn $"| {mutation.Name} | {seed - firstSeed + 1} | {mutation.SeedsMax} | {reason}"

[<Tests>]
let tests =
    testList "Mutations" [
        for assembly in [ Engine; Host ] do
            testCase $"nothing is found in what was read and written without a change: %A{assembly}" (fun () ->
                let seeds = all |> List.map _.SeedsMax |> List.max
                Expect.isNone (withCopy assembly ignore (fun folder -> simulate folder seeds)) "a failing seed")

        for mutation in all do
            isFound mutation
    ]
