namespace LsmFs.Cli

open System
open Argu

/// What the flags say of sockets and of the connections that come in.
[<RequireQualifiedAccess>]
module internal SocketFlags =

    /// The value of `-a`, or memcached's 700 without it.
    let private unixMode (given: string option) : Result<IO.UnixFileMode, string> =
        ToolCommandLine.valueOf given Values.parseUnixMode Values.unixModeDefault

    /// Reads `-s`, `-a`, `-b`, `-R` and the `-o` that belong to them.
    let read (results: ParseResults<ServeArguments>) (extended: ExtendedSettings) : Result<SocketOptions, string> =
        ToolCommandLine.refusing {
            let! path =
                ToolCommandLine.valueOf
                    (results.TryGetResult Unix_Socket)
                    (Values.parseFile "-s" >> Result.map ValueSome)
                    ValueNone

            let! mode = unixMode (results.TryGetResult Unix_Mask)

            let! backlog =
                ToolCommandLine.valueOf
                    (results.TryGetResult Listen_Backlog)
                    Values.parseBacklog
                    Values.backlogCountDefault

            let! requests =
                ToolCommandLine.valueOf
                    (results.TryGetResult Max_Reqs_Per_Event)
                    Values.parseRequestCount
                    Values.requestCountDefault

            let! idleTimeout = ToolCommandLine.valueOf (extended.TryValue "idle_timeout") Values.parseIdleTimeout 0

            return {
                UnixSocket = path |> ValueOption.map (fun path -> { Path = path; Mode = mode })
                BacklogCount = backlog
                RequestCountMaxPerTurn = requests
                IdleTimeoutSeconds = idleTimeout
                RefusesAtLimit = extended.IsOn("maxconns_fast", true)
            }
        }
