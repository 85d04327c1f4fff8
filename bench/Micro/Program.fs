module LsmFs.Micro.Program

open System.Reflection
open BenchmarkDotNet.Running

/// `dotnet run -c Release --project bench/Micro -- --filter '*Memtable*'`
[<EntryPoint>]
let main argv =
    BenchmarkSwitcher.FromAssembly(Assembly.GetExecutingAssembly()).Run argv |> ignore
    0
