/// The tables of flags and options in docs/PROTOCOL.md say what the program does.
module LsmFs.Cli.Tests.FlagDocumentTests

open System
open System.IO
open Argu
open Expecto
open LsmFs.Cli

/// A row: what it is about, what that is here, and why.
type private Row = { Names: string list; Here: string; Why: string }

let private document =
    Path.Combine(__SOURCE_DIRECTORY__, "..", "..", "docs", "PROTOCOL.md")
    |> File.ReadAllLines
    |> List.ofArray
    // Meta commands have tables of flags, too.
    |> List.skipWhile (fun line -> line <> "## Flags")

/// The rows of the table under a header, without the marks of code.
let private rowsUnder (header: string) : Row list =
    document
    |> List.skipWhile (fun line -> not (line.StartsWith header))
    |> List.skip 2
    |> List.takeWhile _.StartsWith('|')
    |> List.map (fun line ->
        match line.Split('|', StringSplitOptions.TrimEntries) with
        | [| ""; names; here; why; "" |] -> {
            Names = names.Replace("`", "").Split(", ") |> List.ofArray
            Here = here
            Why = why.Replace("`", "")
          }
        | _ -> failtest $"a row of three cells: {line}")

let private agrees (name: string) (rows: Row list) (meaning: Meaning) =
    match rows |> List.filter (fun row -> List.contains name row.Names) with
    | [ row ] ->
        let here, reason =
            match meaning with
            | Meaning.Works -> "works", ""
            | Meaning.Same reason -> "answers the same", reason
            | Meaning.Nothing reason -> "no meaning here", reason
            | Meaning.Missing reason -> "no meaning here, with a warning", reason
            | Meaning.Refused reason -> "refused", reason

        Expect.equal row.Here here name
        Expect.stringStarts row.Why reason name
    | rows -> failtest $"docs/PROTOCOL.md must have one row for {name}: {rows}"

[<Tests>]
let tests =
    testList "FlagDocument" [
        test "every flag has a row that says what it is, and no other has" {
            let rows = rowsUnder "| flag | here |"

            let cases =
                ArgumentParser.Create<ServeArguments>().GetArgumentCases()
                |> List.filter (fun case ->
                    case.CommandLineNames.Value |> List.exists (fun name -> not (name.StartsWith "--")))

            for case in cases do
                for name in case.CommandLineNames.Value do
                    agrees name rows (ServeHelp.meaningOf case)

            Expect.equal
                (rows |> List.map (_.Names >> set))
                (cases |> List.map (_.CommandLineNames.Value >> set))
                "the rows, in the order of the flags"
        }

        test "every option has a row that says what it is, and no other has" {
            let rows = rowsUnder "| option | here |"

            for option in ExtendedOptions.all do
                agrees option.Name rows option.Meaning

            Expect.equal
                (rows |> List.collect _.Names |> List.sort)
                ("any other" :: (ExtendedOptions.all |> List.map _.Name) |> List.sort)
                "the names"
        }
    ]
