namespace LsmFs.Cli

open System
open Argu
open LsmFs.Engine

/// `argv` -> what it asks for. Reads nothing else and writes nothing.
[<Sealed; AbstractClass>]
type CommandLine private () =

    static let versionNumber =
        match typeof<ServeOptions>.Assembly.GetName().Version with
        | null -> "0.0.0"
        | version -> version.ToString 3

    static let int32Max = int64 Int32.MaxValue

    static let title = $"lsmfs {versionNumber}: a persistent memcached server on a log-structured merge-tree"

    static let serveOptions
        (results: ParseResults<ServeArguments>)
        (strays: string list)
        : Result<ServeOptions, string> =
        let valueOf given parse missing = ToolCommandLine.valueOf given parse missing

        // A flag given again replaces what it said before, as with getopt; -l and -v add up.
        ToolCommandLine.refusing {
            let! port = valueOf (results.TryGetResult Port) Values.parsePort Values.portDefault
            let! addresses = Values.parseAddresses port (results.GetResults Listen)

            let! connectionCount =
                valueOf (results.TryGetResult Conn_Limit) Values.parseConnectionCount Values.connectionCountDefault

            let! threadCount =
                valueOf (results.TryGetResult Threads) Values.parseThreadCount Environment.ProcessorCount

            let! memoryLimit =
                valueOf (results.TryGetResult Memory_Limit) Values.parseMemoryLimit Values.memoryBudgetBytesDefault

            let memoryBudget = max memoryLimit Options.memoryBudgetBytesMin

            let! valueSize =
                valueOf (results.TryGetResult Max_Item_Size) Values.parseValueSize Values.valueSizeBytesDefault

            let! protocol = valueOf (results.TryGetResult Protocol) Values.parseProtocol BindingProtocol.Negotiating

            let! folder = valueOf (results.TryGetResult Data) Values.parseDataFolder Values.dataFolderDefault

            let! durability =
                valueOf (results.TryGetResult ServeArguments.Durability) Values.parseDurability Durability.Sync

            let! compression =
                valueOf (results.TryGetResult ServeArguments.Compression) Values.parseCompression Compression.Lz4

            let! passwordFile =
                valueOf
                    (results.TryGetResult Auth_File)
                    (fun text -> Values.parseFile "-Y" text |> Result.map ValueSome)
                    ValueNone

            let! extended = ExtendedOptions.parse (results.GetResults Extended)
            let! sockets = SocketFlags.read results extended
            let! processOptions = ProcessFlags.read results
            let! tls, tlsNotices = TlsFlags.read results extended addresses
            do! valueOf (results.TryGetResult Udp_Port) Values.checkUdpPort ()
            do! valueOf (results.TryGetResult Slab_Growth_Factor) (Values.checkFactor "-f" 1.0) ()
            do! valueOf (results.TryGetResult Slab_Min_Size) (Values.checkNumber "-n" 1L int32Max) ()
            do! valueOf (results.TryGetResult Napi_Ids) (Values.checkNumber "-N" 1L int32Max) ()
            let stray = Meaning.Missing "it is neither a flag nor the value of one"

            let given =
                (results.GetAllResults() |> List.map _.Meaning)
                @ extended.Given
                @ (strays |> List.map (fun word -> $"'{word}'", stray))

            do! Notice.refusalOf given

            let! protocol =
                let isSaid = (results.TryGetResult Protocol).IsSome

                let isAsciiOnly =
                    (protocol = BindingProtocol.Ascii || not isSaid)
                    && addresses
                       |> List.forall (fun address ->
                           address.Protocol |> ValueOption.forall ((=) BindingProtocol.Ascii))

                if not (results.Contains Enable_Sasl) then
                    if passwordFile.IsNone then
                        Ok protocol
                    elif isAsciiOnly then
                        Ok BindingProtocol.Ascii
                    else
                        Error "-Y is for the text protocol: with -S it is for the binary protocol, too"
                elif passwordFile.IsNone then
                    Error "-S takes its users from a file: add -Y FILE"
                elif isSaid && isAsciiOnly then
                    Error "-S is for the binary protocol, which -B ascii forbids"
                else
                    Ok protocol

            do!
                if int64 valueSize > memoryBudget / 2L then
                    Error "-I must be at most half of -m"
                else
                    Ok()

            return {
                Addresses = addresses
                Protocol = protocol
                Sockets = sockets
                Process = processOptions
                ConnectionCountMax = connectionCount
                ThreadCount = threadCount
                MemoryBudgetBytes = memoryBudget
                ValueSizeBytesMax = valueSize
                Verbosity = (results.GetResults Verbose).Length
                DataFolder = folder
                Durability = durability
                Compression = compression
                Restrictions = {
                    NoFlush = results.Contains Disable_Flush_All
                    NoDump = results.Contains Disable_Dumping
                }
                Notices = [
                    if memoryBudget > memoryLimit then
                        Notice.ofMemoryLimit memoryLimit memoryBudget
                    yield! Notice.linesOf given
                    yield! tlsNotices
                ]
                PasswordFile = passwordFile
                Tls = tls
            }
        }

    static let parseServe (words: string list) : Result<ParsedCommandLine, string> =
        ToolCommandLine.refusing {
            // A test checks the structure of the flags, once; checking it here is a tenth of the time until the first reply.
            let parser = ArgumentParser.Create<ServeArguments>(programName = "lsmfs", checkStructure = false)
            let! words = Argv.normalise (ToolCommandLine.flagsOf (parser.GetArgumentCases())) words
            let results = parser.ParseCommandLine(Array.ofList words.Flags)

            if results.Contains Help then
                return ShowHelp(ServeHelp.text title parser ToolCommandLine.overview)
            elif results.Contains License then
                return ShowLicense(Licences.text title)
            elif results.Contains ServeArguments.Version then
                return ShowVersion $"lsmfs {versionNumber}"
            else
                let! options = serveOptions results words.Strays
                return Serve options
        }

    static let subcommands = Map(("serve", parseServe) :: ToolCommandLine.parsers title)

    /// The version of lsmfs, `x.y.z`.
    static member Version: string = versionNumber

    /// The exit code of a refused command line: EX_USAGE of sysexits.h, as memcached uses for most of them.
    static member RefusalExitCode: int = 64

    /// What the words after the program's name ask for. Never throws.
    static member Parse(arguments: string[]) : ParsedCommandLine =
        // Without a subcommand the words are those of memcached, and mean serve.
        let subcommand, words =
            match List.ofArray arguments with
            | word :: words when not (word.StartsWith '-') -> word, words
            | words -> "serve", words

        let parsed =
            match subcommands.TryFind subcommand with
            // A refusal repeats words, and is one line.
            | _ when arguments |> Array.exists (fun word -> word.AsSpan().ContainsAny('\n', '\r')) ->
                Error "a line break is part of no flag and no value"
            | Some parse -> parse words
            | None -> Error $"there is no subcommand '{subcommand}'"

        match parsed with
        | Ok parsed -> parsed
        | Error reason ->
            let help =
                if subcommand <> "serve" && subcommands.ContainsKey subcommand then
                    $"lsmfs {subcommand} --help"
                else
                    "lsmfs --help"

            Refuse $"lsmfs: {reason} ({help} lists the flags)"
