module LsmFs.Host.Tests.Program

open System
open Expecto

[<EntryPoint>]
let main argv =
    // As the program does it; read once, before the first socket.
    Environment.SetEnvironmentVariable("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1")
    runTestsInAssemblyWithCLIArgs [] argv
