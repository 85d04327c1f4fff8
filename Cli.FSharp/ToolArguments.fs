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

/// The flags of `lsmfs load`.
[<DisableHelpFlags; RequireQualifiedAccess>]
type LoadArguments =
    | [<EqualsAssignment>] Data of folder: string
    | [<EqualsAssignment>] In of file: string
    | [<AltCommandLine("-m"); EqualsAssignment>] Memory_Limit of mebibytes: string
    | [<AltCommandLine("-h")>] Help

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Data _ -> "folder of the data, created when missing (default: ./data)"
            | In _ -> "file to read (default: stdin)"
            | Memory_Limit _ -> "memory for memtables, in MiB, at least 8 and twice the largest value (default: 64)"
            | Help -> "print this and stop"
