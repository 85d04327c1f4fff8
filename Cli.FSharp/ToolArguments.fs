namespace LsmFs.Cli

open Argu

/// The flags of `lsmfs tree`.
[<DisableHelpFlags; RequireQualifiedAccess>]
type TreeArguments =
    | [<EqualsAssignment>] Data of folder: string
    | [<AltCommandLine("-h")>] Help

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Data _ -> "folder of the data (default: ./data)"
            | Help -> "print this and stop"

/// The flags of `lsmfs check`.
[<DisableHelpFlags; RequireQualifiedAccess>]
type CheckArguments =
    | [<EqualsAssignment>] Data of folder: string
    | [<AltCommandLine("-h")>] Help

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Data _ -> "folder of the data (default: ./data)"
            | Help -> "print this and stop"

/// The flags of `lsmfs dump`.
[<DisableHelpFlags; RequireQualifiedAccess>]
type DumpArguments =
    | [<EqualsAssignment>] Data of folder: string
    | [<EqualsAssignment>] Out of file: string
    | [<AltCommandLine("-h")>] Help

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Data _ -> "folder of the data (default: ./data)"
            | Out _ -> "file to write, which must not be there yet (default: stdout)"
            | Help -> "print this and stop"
