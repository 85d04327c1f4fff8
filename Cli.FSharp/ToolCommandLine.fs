namespace LsmFs.Cli

open System
open Argu

/// What a command line asks for.
type ParsedCommandLine =
    /// Serve with these options.
    | Serve of Options: ServeOptions
    /// Show the levels of a store.
    | Tree of Options: TreeOptions
    /// Say what is wrong with a store.
    | Check of Options: CheckOptions
    /// Write the items of a store as lines.
    | Dump of Options: DumpOptions
    /// Write the items of a dump to a store.
    | Load of Options: LoadOptions
    /// Bring a backup of a store up to date.
    | Backup of Options: BackupOptions
    /// Save what is whole of a damaged store.
    | Salvage of Options: SalvageOptions
    /// Compact all of a store.
    | Compact of Options: CompactOptions
    /// Show what a running server says of itself.
    | Stats of Options: StatsOptions
    /// Print this on stdout and end with 0.
    | ShowHelp of HelpText: string
    /// Print this on stdout and end with 0.
    | ShowVersion of VersionText: string
    /// Print this on stdout and end with 0.
    | ShowLicense of LicenseText: string
    /// Print this line on stderr and end with `CommandLine.RefusalExitCode`.
    | Refuse of Reason: string

/// `refusing { ... }`: the first `Error` is the outcome.
[<Sealed>]
type internal RefusingBuilder() =
    member _.Bind(result: Result<'value, string>, next: 'value -> Result<'next, string>) = Result.bind next result
    member _.Return(value: 'value) : Result<'value, string> = Ok value

/// The commands beside `serve`, and what all commands share.
[<RequireQualifiedAccess>]
module internal ToolCommandLine =

    let refusing = RefusingBuilder()

    // What getopt must know of Argu's cases, so that a flag is declared once.
    let flagsOf (cases: ArgumentCaseInfo list) : Flag list =
        cases
        |> List.map (fun case ->
            let names = case.CommandLineNames.Value

            {
                Long = names |> List.find (fun name -> name.StartsWith "--")
                Short =
                    names
                    |> List.tryFind (fun name -> not (name.StartsWith "--"))
                    |> Option.map (fun name -> name[1])
                    |> ValueOption.ofOption
                TakesValue = case.UnionCaseInfo.GetFields().Length > 0
            })

    /// What a flag says, or what holds without it.
    let valueOf
        (given: string option)
        (parse: string -> Result<'value, string>)
        (missing: 'value)
        : Result<'value, string> =
        match given with
        | Some text -> parse text
        | None -> Ok missing

    /// A command beside `serve`.
    type private Tool = {
        Name: string
        /// What it does, as one clause.
        Summary: string
        /// The long names of the flags that it takes beside `--help`.
        Flags: string list
        Read: ParseResults<ToolArguments> -> Result<ParsedCommandLine, string>
    }

    let private dataFolder (results: ParseResults<ToolArguments>) : Result<string, string> =
        valueOf (results.TryGetResult ToolArguments.Data) Values.parseDataFolder Values.dataFolderDefault

    let private toFolder (results: ParseResults<ToolArguments>) : Result<string, string> =
        match results.TryGetResult ToolArguments.To with
        | Some folder -> Values.parseFolder "--to" folder
        | None -> Error "--to is needed: the folder to write to"

    let private memoryBudget (results: ParseResults<ToolArguments>) : Result<int64, string> =
        valueOf
            (results.TryGetResult ToolArguments.Memory_Limit)
            Values.parseMemoryBudget
            Values.memoryBudgetBytesDefault

    let private optionalFile (flag: string) (given: string option) : Result<string voption, string> =
        valueOf given (Values.parseFile flag >> Result.map ValueSome) ValueNone

    let private tools: Tool list = [
        {
            Name = "tree"
            Summary = "shows the levels of a store, its server running or not"
            Flags = [ "--data" ]
            Read = dataFolder >> Result.map (fun folder -> Tree { DataFolder = folder })
        }
        {
            Name = "check"
            Summary = "reads every byte of a store and says what is wrong with it"
            Flags = [ "--data" ]
            Read = dataFolder >> Result.map (fun folder -> Check { DataFolder = folder })
        }
        {
            Name = "dump"
            Summary = "writes all items of a store as lines of text"
            Flags = [ "--data"; "--out" ]
            Read =
                fun results ->
                    refusing {
                        let! folder = dataFolder results
                        let! file = optionalFile "--out" (results.TryGetResult ToolArguments.Out)
                        return Dump { DataFolder = folder; OutFile = file }
                    }
        }
        {
            Name = "load"
            Summary = "writes the items of a dump to a store, which is made when there is none"
            Flags = [ "--data"; "--in"; "--memory-limit" ]
            Read =
                fun results ->
                    refusing {
                        let! folder = dataFolder results
                        let! file = optionalFile "--in" (results.TryGetResult ToolArguments.In)

                        let! memoryBudget = memoryBudget results
                        return Load { DataFolder = folder; InFile = file; MemoryBudgetBytes = memoryBudget }
                    }
        }
        {
            Name = "backup"
            Summary = "brings a backup of a store up to date, its server running or not"
            Flags = [ "--data"; "--to"; "--verify-all" ]
            Read =
                fun results ->
                    refusing {
                        let! folder = dataFolder results
                        let! target = toFolder results

                        return
                            Backup {
                                DataFolder = folder
                                ToFolder = target
                                VerifyAll = results.Contains ToolArguments.Verify_All
                            }
                    }
        }
        {
            Name = "salvage"
            Summary = "saves what is whole of a damaged store into a new one, and lists what is lost"
            Flags = [ "--data"; "--to"; "--strict" ]
            Read =
                fun results ->
                    refusing {
                        let! folder = dataFolder results
                        let! target = toFolder results

                        return
                            Salvage {
                                DataFolder = folder
                                ToFolder = target
                                Strict = results.Contains ToolArguments.Strict
                            }
                    }
        }
        {
            Name = "compact"
            Summary = "takes all of a store to its bottom level, without what is deleted or expired"
            Flags = [ "--data"; "--memory-limit" ]
            Read =
                fun results ->
                    refusing {
                        let! folder = dataFolder results
                        let! memoryBudget = memoryBudget results
                        return Compact { DataFolder = folder; MemoryBudgetBytes = memoryBudget }
                    }
        }
        {
            Name = "stats"
            Summary = "shows what a running server says of itself"
            Flags = [ "--server" ]
            Read =
                fun results ->
                    valueOf
                        (results.TryGetResult ToolArguments.Server)
                        (Values.parseServer Values.portDefault)
                        (ListenAddress.At(Values.hostDefault, Values.portDefault))
                    |> Result.map (fun server -> Stats { Server = server })
        }
    ]

    /// The commands, and what each does.
    let overview: (string * string) list =
        tools |> List.map (fun tool -> $"lsmfs {tool.Name}", tool.Summary)

    // Of the flags of all commands, those that one takes.
    let private casesOf (tool: Tool) (parser: ArgumentParser<ToolArguments>) : ArgumentCaseInfo list =
        parser.GetArgumentCases()
        |> List.filter (fun case ->
            "--help" :: tool.Flags |> List.exists (fun flag -> List.contains flag case.CommandLineNames.Value))

    let private helpOf (title: string) (tool: Tool) (parser: ArgumentParser<ToolArguments>) : string =
        String.Join(
            Environment.NewLine,
            [
                title
                ""
                yield! HelpText.paragraph $"usage: lsmfs {tool.Name} [flags]: {tool.Summary}"
                yield! casesOf tool parser |> List.map HelpText.entryOf |> HelpText.section "Flags"
            ]
        )

    let private parse (title: string) (tool: Tool) (words: string list) : Result<ParsedCommandLine, string> =
        let parser = ArgumentParser.Create<ToolArguments>(programName = "lsmfs", checkStructure = false)

        Argv.normalise (flagsOf (casesOf tool parser)) words
        |> Result.bind Argv.withoutStrays
        |> Result.bind (fun normalised ->
            let results = parser.ParseCommandLine(Array.ofList normalised)

            if results.Contains ToolArguments.Help then
                Ok(ShowHelp(helpOf title tool parser))
            else
                tool.Read results)

    /// The commands by name, each with what reads the words behind it.
    let parsers (title: string) : (string * (string list -> Result<ParsedCommandLine, string>)) list =
        tools |> List.map (fun tool -> tool.Name, parse title tool)
