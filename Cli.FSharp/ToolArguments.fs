namespace LsmFs.Cli

open Argu

/// The flags of the commands beside `serve`. Each command takes some of them (`ToolCommandLine`), and a flag means the same to all that take it.
[<DisableHelpFlags; RequireQualifiedAccess>]
type ToolArguments =
    | [<EqualsAssignment>] Data of folder: string
    | [<EqualsAssignment>] To of folder: string
    | [<EqualsAssignment>] Out of file: string
    | [<EqualsAssignment>] In of file: string
    | [<AltCommandLine("-m"); EqualsAssignment>] Memory_Limit of mebibytes: string
    | Verify_All
    | Strict
    | [<EqualsAssignment>] Server of address: string
    | [<AltCommandLine("-h")>] Help

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Data _ -> "folder of the data (default: ./data)"
            | To _ -> "folder to write to, created when missing"
            | Out _ -> "file to write, which must not be there yet (default: stdout)"
            | In _ -> "file to read (default: stdin)"
            | Memory_Limit _ -> "memory for memtables, in MiB, at least 8 and twice the largest value (default: 64)"
            | Verify_All -> "read back and verify the tables that were there already, too"
            | Strict -> "leave out items of which a newer value may have been lost"
            | Server _ -> "where the server listens, host or host:port (default: 127.0.0.1:11211)"
            | Help -> "print this and stop"
