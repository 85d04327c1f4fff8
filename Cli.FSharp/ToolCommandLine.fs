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
    /// Print this on stdout and end with 0.
    | ShowHelp of HelpText: string
    /// Print this on stdout and end with 0.
    | ShowVersion of VersionText: string
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

    /// The commands, one on a line.
    let overview =
        String.Join(
            Environment.NewLine,
            "    lsmfs tree            shows the levels of a store, its server running or not",
            "    lsmfs check           reads every byte of a store and says what is wrong with it",
            "    lsmfs dump            writes all items of a store as lines of text",
            "    lsmfs load            writes the items of a dump to a store"
        )

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

    // Argu shows the one form it reads, which `-p=<number>` is not for a user: that would be getopt's value `=<number>`.
    let helpText (title: string) (usage: string) (parser: ArgumentParser<'arguments>) : string =
        String.Join(
            Environment.NewLine,
            title,
            "",
            $"USAGE: {usage}",
            "",
            parser.PrintUsage(hideSyntax = true, usageStringCharacterWidth = 100).Replace("=<", " <").TrimEnd()
        )

    /// Reads the words behind a command's name: its help when `isHelp` is among the flags, else what `read` makes of them.
    let private parse<'arguments when 'arguments :> IArgParserTemplate>
        (help: ArgumentParser<'arguments> -> string)
        (isHelp: ParseResults<'arguments> -> bool)
        (read: ParseResults<'arguments> -> Result<ParsedCommandLine, string>)
        (words: string list)
        : Result<ParsedCommandLine, string> =
        let parser = ArgumentParser.Create<'arguments>(programName = "lsmfs", checkStructure = false)

        Argv.normalise (flagsOf (parser.GetArgumentCases())) words
        |> Result.bind (fun normalised ->
            let results = parser.ParseCommandLine(Array.ofList normalised)

            if isHelp results then
                Ok(ShowHelp(help parser))
            else
                read results)

    let private dataFolder (given: string option) : Result<string, string> =
        valueOf given Values.parseDataFolder Values.dataFolderDefault

    let private optionalFile (flag: string) (given: string option) : Result<string voption, string> =
        valueOf given (Values.parseFile flag >> Result.map ValueSome) ValueNone

    /// `lsmfs tree`.
    let parseTree (title: string) : string list -> Result<ParsedCommandLine, string> =
        parse<TreeArguments>
            (helpText title "lsmfs tree [flags]: shows the levels of a store, its server running or not")
            _.Contains(TreeArguments.Help)
            (fun results ->
                dataFolder (results.TryGetResult TreeArguments.Data)
                |> Result.map (fun folder -> Tree { DataFolder = folder }))

    /// `lsmfs check`.
    let parseCheck (title: string) : string list -> Result<ParsedCommandLine, string> =
        parse<CheckArguments>
            (helpText title "lsmfs check [flags]: reads every byte of a store and says what is wrong with it")
            _.Contains(CheckArguments.Help)
            (fun results ->
                dataFolder (results.TryGetResult CheckArguments.Data)
                |> Result.map (fun folder -> Check { DataFolder = folder }))

    /// `lsmfs dump`.
    let parseDump (title: string) : string list -> Result<ParsedCommandLine, string> =
        parse<DumpArguments>
            (helpText title "lsmfs dump [flags]: writes all items of a store as lines of text")
            _.Contains(DumpArguments.Help)
            (fun results ->
                refusing {
                    let! folder = dataFolder (results.TryGetResult DumpArguments.Data)
                    let! file = optionalFile "--out" (results.TryGetResult DumpArguments.Out)
                    return Dump { DataFolder = folder; OutFile = file }
                })

    /// `lsmfs load`.
    let parseLoad (title: string) : string list -> Result<ParsedCommandLine, string> =
        parse<LoadArguments>
            (helpText title "lsmfs load [flags]: writes the items of a dump to a store")
            _.Contains(LoadArguments.Help)
            (fun results ->
                refusing {
                    let! folder = dataFolder (results.TryGetResult LoadArguments.Data)
                    let! file = optionalFile "--in" (results.TryGetResult LoadArguments.In)

                    let! memoryBudget =
                        valueOf
                            (results.TryGetResult LoadArguments.Memory_Limit)
                            Values.parseMemoryBudget
                            Values.memoryBudgetBytesDefault

                    return Load { DataFolder = folder; InFile = file; MemoryBudgetBytes = memoryBudget }
                })
