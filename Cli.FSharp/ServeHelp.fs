namespace LsmFs.Cli

open System
open Argu
open FSharp.Reflection

/// The help of `lsmfs serve`.
[<RequireQualifiedAccess>]
module ServeHelp =

    /// What stands together, by the flags' long names. A flag that works and is not in it stands in a section of its own at the end.
    let groups: (string * string list) list = [
        "What is stored, and where", [ "--data"; "--durability"; "--compression"; "--memory-limit"; "--max-item-size" ]
        "Where clients come in",
        [ "--port"; "--listen"; "--unix-socket"; "--unix-mask"; "--listen-backlog"; "--protocol" ]
        "How many, and how fast", [ "--conn-limit"; "--threads"; "--max-reqs-per-event" ]
        "Who may do what",
        [
            "--enable-ssl"
            "--auth-file"
            "--enable-sasl"
            "--disable-flush-all"
            "--disable-dumping"
            "--disable-watch"
            "--enable-shutdown"
        ]
        "The process", [ "--daemon"; "--user"; "--pidfile"; "--enable-coredumps"; "--lock-memory" ]
        "What is said", [ "--verbose"; "--help"; "--license"; "--version" ]
        "Options separated by commas", [ "--extended" ]
    ]

    /// What a flag is to lsmfs, whatever its value.
    let meaningOf (case: ArgumentCaseInfo) : Meaning =
        let values = case.UnionCaseInfo.GetFields() |> Array.map (fun _ -> box "")

        match FSharpValue.MakeUnion(case.UnionCaseInfo, values) with
        | :? ServeArguments as argument -> snd argument.Meaning
        | _ -> invalidOp "a case of another union"

    let private optionEntry (option: ExtendedOption) =
        let value =
            match option.Value with
            | OptionValue.Absent -> ""
            | OptionValue.Needed _ -> "=..."
            | OptionValue.Optional _ -> "[=...]"

        $"     {option.Name}{value}", option.Usage

    /// All of it. `commands`: the other commands, and what each does.
    let text (title: string) (parser: ArgumentParser<ServeArguments>) (commands: (string * string) list) : string =
        let cases = parser.GetArgumentCases()
        let working, idle = cases |> List.partition (fun case -> meaningOf case = Meaning.Works)
        let isNamed (name: string) (case: ArgumentCaseInfo) = List.contains name case.CommandLineNames.Value
        let grouped = groups |> List.collect snd

        let options =
            ExtendedOptions.all
            |> List.filter (fun option -> option.Meaning = Meaning.Works)
            |> List.map optionEntry

        let sections =
            groups
            |> List.collect (fun (title, names) ->
                let cases = names |> List.choose (fun name -> working |> List.tryFind (isNamed name))

                List.map HelpText.entryOf cases @ (if names = [ "--extended" ] then options else [])
                |> HelpText.section title)

        let further =
            working |> List.filter (fun case -> not (grouped |> List.exists (fun name -> isNamed name case)))

        String.Join(
            Environment.NewLine,
            [
                title
                ""
                "usage: lsmfs [serve] [flags]"
                ""
                yield!
                    HelpText.paragraph
                        "The flags are memcached's, and --data, --durability and --compression. One given again replaces what it said before; -l, -o and -v add up."
                yield! sections
                yield! further |> List.map HelpText.entryOf |> HelpText.section "More"
                yield!
                    idle
                    |> List.map HelpText.entryOf
                    |> HelpText.section "Accepted, as start scripts for memcached have them"
                ""
                yield!
                    HelpText.paragraph
                        "Every other option that memcached has for -o is accepted, too, except proxy_config. At the start a line says why a flag or an option has no effect."
                yield! HelpText.section "Other commands, each with a --help of its own" commands
            ]
        )
