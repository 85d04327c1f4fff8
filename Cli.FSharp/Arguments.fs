namespace LsmFs.Cli

open Argu

/// The flags of `lsmfs serve`, memcached's in the order of its help and then those of lsmfs. Values are read by `Values`, so that a
/// refusal says what would be accepted.
[<DisableHelpFlags>]
type ServeArguments =
    | [<AltCommandLine("-p"); EqualsAssignment>] Port of number: string
    | [<AltCommandLine("-U"); EqualsAssignment>] Udp_Port of number: string
    | [<AltCommandLine("-s"); EqualsAssignment>] Unix_Socket of file: string
    | [<AltCommandLine("-a"); EqualsAssignment>] Unix_Mask of mask: string
    | [<AltCommandLine("-A")>] Enable_Shutdown
    | [<AltCommandLine("-l"); EqualsAssignment>] Listen of addresses: string
    | [<AltCommandLine("-d")>] Daemon
    | [<AltCommandLine("-r")>] Enable_Coredumps
    | [<AltCommandLine("-u"); EqualsAssignment>] User of name: string
    | [<AltCommandLine("-m"); EqualsAssignment>] Memory_Limit of mebibytes: string
    | [<AltCommandLine("-M")>] Disable_Evictions
    | [<AltCommandLine("-c"); EqualsAssignment>] Conn_Limit of number: string
    | [<AltCommandLine("-k")>] Lock_Memory
    | [<AltCommandLine("-v")>] Verbose
    | [<AltCommandLine("-h")>] Help
    | [<AltCommandLine("-i")>] License
    | [<AltCommandLine("-V")>] Version
    | [<AltCommandLine("-P"); EqualsAssignment>] Pidfile of file: string
    | [<AltCommandLine("-f"); EqualsAssignment>] Slab_Growth_Factor of factor: string
    | [<AltCommandLine("-n"); EqualsAssignment>] Slab_Min_Size of bytes: string
    | [<AltCommandLine("-L")>] Enable_Largepages
    | [<AltCommandLine("-D"); EqualsAssignment>] Prefix_Delimiter of character: string
    | [<AltCommandLine("-t"); EqualsAssignment>] Threads of number: string
    | [<AltCommandLine("-R"); EqualsAssignment>] Max_Reqs_Per_Event of number: string
    | [<AltCommandLine("-C")>] Disable_Cas
    | [<AltCommandLine("-b"); EqualsAssignment>] Listen_Backlog of number: string
    | [<AltCommandLine("-B"); EqualsAssignment>] Protocol of protocol: string
    | [<AltCommandLine("-I"); EqualsAssignment>] Max_Item_Size of size: string
    | [<AltCommandLine("-S")>] Enable_Sasl
    | [<AltCommandLine("-F")>] Disable_Flush_All
    | [<AltCommandLine("-X")>] Disable_Dumping
    | [<AltCommandLine("-W")>] Disable_Watch
    | [<AltCommandLine("-Y"); EqualsAssignment>] Auth_File of file: string
    | [<AltCommandLine("-e"); EqualsAssignment>] Memory_File of file: string
    | [<AltCommandLine("-Z")>] Enable_Ssl
    | [<AltCommandLine("-o"); EqualsAssignment>] Extended of options: string
    | [<AltCommandLine("-N"); EqualsAssignment>] Napi_Ids of number: string
    | [<EqualsAssignment>] Data of folder: string
    | [<EqualsAssignment>] Durability of mode: string
    | [<EqualsAssignment>] Compression of method: string

    /// The flag as a user would name it, and what it is to lsmfs.
    member argument.Meaning: string * Meaning =
        match argument with
        | Udp_Port "0" -> "-U 0", Meaning.Same "UDP is not spoken"
        | Udp_Port port -> $"-U {port}", Meaning.Missing "UDP is not spoken, and clients that use it get no answer"
        | Disable_Evictions -> "-M", Meaning.Same "nothing is ever evicted"
        | Slab_Growth_Factor _ -> "-f", Meaning.Nothing Because.noSlabs
        | Slab_Min_Size _ -> "-n", Meaning.Nothing Because.noSlabs
        | Enable_Largepages -> "-L", Meaning.Nothing "memory is taken in the pages that the system gives"
        | Prefix_Delimiter _ ->
            "-D", Meaning.Missing "nothing is counted by the prefixes of keys, and stats detail dump is empty"
        | Disable_Cas ->
            "-C", Meaning.Nothing "a cas unique is the number of the write, which takes no memory of its own"
        | Disable_Watch -> "-W", Meaning.Same "nothing can be watched"
        | Memory_File _ -> "-e", Meaning.Nothing Because.noExternalStorage
        | Napi_Ids _ -> "-N", Meaning.Nothing "connections are spread over the threads as they come"
        | Port _ -> "-p", Meaning.Works
        | Enable_Shutdown -> "-A", Meaning.Works
        | Daemon -> "-d", Meaning.Works
        | Enable_Coredumps -> "-r", Meaning.Works
        | User _ -> "-u", Meaning.Works
        | Lock_Memory -> "-k", Meaning.Works
        | Pidfile _ -> "-P", Meaning.Works
        | Unix_Socket _ -> "-s", Meaning.Works
        | Unix_Mask _ -> "-a", Meaning.Works
        | Listen _ -> "-l", Meaning.Works
        | Memory_Limit _ -> "-m", Meaning.Works
        | Conn_Limit _ -> "-c", Meaning.Works
        | Verbose -> "-v", Meaning.Works
        | Help -> "-h", Meaning.Works
        | License -> "-i", Meaning.Works
        | Version -> "-V", Meaning.Works
        | Threads _ -> "-t", Meaning.Works
        | Max_Reqs_Per_Event _ -> "-R", Meaning.Works
        | Listen_Backlog _ -> "-b", Meaning.Works
        | Protocol _ -> "-B", Meaning.Works
        | Max_Item_Size _ -> "-I", Meaning.Works
        | Enable_Sasl -> "-S", Meaning.Works
        | Disable_Flush_All -> "-F", Meaning.Works
        | Disable_Dumping -> "-X", Meaning.Works
        | Auth_File _ -> "-Y", Meaning.Works
        | Enable_Ssl -> "-Z", Meaning.Works
        | Extended _ -> "-o", Meaning.Works
        | Data _ -> "--data", Meaning.Works
        | Durability _ -> "--durability", Meaning.Works
        | Compression _ -> "--compression", Meaning.Works

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Port _ -> "TCP port; 0 takes any free one (default: 11211)"
            | Udp_Port _ -> "UDP is not spoken: 0 says so, and of another port a warning does"
            | Enable_Shutdown -> "let clients stop the server with the command shutdown"
            | Daemon -> "serve in the background; returns once the server serves, or has failed"
            | Enable_Coredumps -> "raise the limit on core files"
            | User _ -> "serve as this user, when started as root"
            | Lock_Memory -> "keep memory from being swapped out"
            | Pidfile _ -> "file that has the number of the process as long as it serves"
            | Unix_Socket _ -> "path of a unix domain socket to listen on; then no TCP port is opened"
            | Unix_Mask _ -> "who may connect to it, as the octal mode of its file (default: 700)"
            | Listen _ ->
                "addresses to listen on, separated by commas or in several -l: host, host:port, [IPv6]:port, * for every interface; notls:, btls:, mtls: or proto[...]: before one is for it alone (default: 127.0.0.1)"
            | Memory_Limit _ -> "memory for memtables, cache, filters and indexes, in MiB (default: 64)"
            | Conn_Limit _ -> "connections open at the same time (default: 1024)"
            | Verbose -> "say more on stderr; -vv more still"
            | Help -> "print this and stop"
            | License -> "print the licences of lsmfs and what it is built with, and stop"
            | Version -> "print the version and stop"
            | Threads _ -> "threads that serve connections (default: one per core)"
            | Max_Reqs_Per_Event _ ->
                "commands or keys of one connection, and half kilobytes of its replies, before others get their turn (default: 2048)"
            | Listen_Backlog _ -> "connections that the system holds until they are accepted (default: 1024)"
            | Protocol _ ->
                "what clients may speak: ascii, the text protocol and its meta commands; binary; auto, either (default: auto)"
            | Max_Item_Size _ -> "largest value, 1k to 1024m and at most half of -m (default: 1m)"
            | Enable_Sasl -> "let clients of the binary protocol authenticate, too: SASL PLAIN with the users of -Y"
            | Disable_Flush_All -> "refuse flush_all"
            | Disable_Dumping -> "refuse stats cachedump, stats detail, lru_crawler metadump and mgdump"
            | Auth_File _ ->
                "file of users who may connect, user:password on each line; clients authenticate with a set, and SIGHUP reads it again"
            | Enable_Ssl -> "speak TLS 1.2 and 1.3; -o ssl_chain_cert names the certificate"
            | Extended _ -> "options separated by commas, name, no_name or name=value"
            | Data _ -> "folder of the data, created when missing (default: ./data)"
            | Durability _ ->
                "when a write is acknowledged: sync, once it is on disk; os, once the operating system has it; memory, at once, and nothing is logged (default: sync)"
            | Compression _ -> "how new tables are compressed: none; lz4, fast; zstd, smaller and slower (default: lz4)"
            | Disable_Evictions
            | Disable_Watch
            | Slab_Growth_Factor _
            | Slab_Min_Size _
            | Enable_Largepages
            | Prefix_Delimiter _
            | Disable_Cas
            | Memory_File _
            | Napi_Ids _ ->
                match snd argument.Meaning with
                | Meaning.Same reason -> $"always so: {reason}"
                | Meaning.Nothing reason
                | Meaning.Missing reason
                | Meaning.Refused reason -> $"no effect: {reason}"
                | Meaning.Works -> invalidOp "a flag that works says what it does"
