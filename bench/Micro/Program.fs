module LsmFs.Micro.Program

open System.Reflection
open BenchmarkDotNet.Configs
open BenchmarkDotNet.Jobs
open BenchmarkDotNet.Running

/// Every benchmark as briefly as it can be run: to see that all of them do, not for their figures.
let private quickly: IConfig =
    ManualConfig.Create(DefaultConfig.Instance).AddJob(Job.Default.WithWarmupCount(1).WithIterationCount(1).AsMutator())

/// `dotnet run -c Release --project bench/Micro -- --filter '*Memtable*'`; with `--quick` one iteration of each.
[<EntryPoint>]
let main argv =
    let isQuick = Array.contains "--quick" argv
    let config = if isQuick then quickly else DefaultConfig.Instance

    BenchmarkSwitcher.FromAssembly(Assembly.GetExecutingAssembly()).Run(Array.filter ((<>) "--quick") argv, config)
    |> ignore

    0
