namespace LsmFs.Cli

open Argu

/// The flags of `lsmfs serve`, in the order of its help. Values are read by `Values`, so that a refusal says what would be accepted.
[<DisableHelpFlags>]
type ServeArguments =
    | [<AltCommandLine("-p"); EqualsAssignment>] Port of number: string
    | [<AltCommandLine("-l"); EqualsAssignment>] Listen of addresses: string
    | [<AltCommandLine("-c"); EqualsAssignment>] Conn_Limit of number: string
    | [<AltCommandLine("-t"); EqualsAssignment>] Threads of number: string
    | [<AltCommandLine("-m"); EqualsAssignment>] Memory_Limit of mebibytes: string
    | [<AltCommandLine("-I"); EqualsAssignment>] Max_Item_Size of size: string
    | [<EqualsAssignment>] Data of folder: string
    | [<EqualsAssignment>] Durability of mode: string
    | [<EqualsAssignment>] Compression of method: string
    | [<AltCommandLine("-v")>] Verbose
    | [<AltCommandLine("-V")>] Version
    | [<AltCommandLine("-h")>] Help

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Port _ -> "TCP port; 0 takes any free one (default: 11211)"
            | Listen _ ->
                "addresses to listen on, separated by commas or in several -l: host, host:port, [IPv6]:port, * for every interface (default: 127.0.0.1)"
            | Conn_Limit _ -> "connections open at the same time (default: 1024)"
            | Threads _ -> "threads that serve connections (default: one per core)"
            | Memory_Limit _ -> "memory for memtables, cache, filters and indexes, in MiB, at least 8 (default: 64)"
            | Max_Item_Size _ -> "largest value, 1k to 1024m and at most half of -m (default: 1m)"
            | Data _ -> "folder of the data, created when missing (default: ./data)"
            | Durability _ ->
                "when a write is acknowledged: sync, once it is on disk; os, once the operating system has it; memory, at once, and nothing is logged (default: sync)"
            | Compression _ -> "how new tables are compressed: none; lz4, fast; zstd, smaller and slower (default: lz4)"
            | Verbose -> "say more on stderr; -vv more still"
            | Version -> "print the version and stop"
            | Help -> "print this and stop"
