namespace LsmFs.Cli

open Argu

/// What the flags say of the process.
[<RequireQualifiedAccess>]
module internal ProcessFlags =

    /// Reads `-d`, `-P`, `-u`, `-r`, `-k` and `-A`.
    let read (results: ParseResults<ServeArguments>) : Result<ProcessOptions, string> =
        ToolCommandLine.refusing {
            let! pidFile =
                ToolCommandLine.valueOf
                    (results.TryGetResult Pidfile)
                    (Values.parseFile "-P" >> Result.map ValueSome)
                    ValueNone

            let! user =
                ToolCommandLine.valueOf (results.TryGetResult User) (Values.parseUser >> Result.map ValueSome) ValueNone

            return {
                IsDaemon = results.Contains Daemon
                PidFile = pidFile
                User = user
                RaisesCoreLimit = results.Contains Enable_Coredumps
                LocksMemory = results.Contains Lock_Memory
                AllowsShutdown = results.Contains Enable_Shutdown
            }
        }
