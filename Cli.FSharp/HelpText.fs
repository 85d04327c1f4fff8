namespace LsmFs.Cli

open System
open Argu

/// How help looks: sections of lines `-p, --port <number>  what it says`, wrapped so that they fit a terminal of 80 columns.
[<RequireQualifiedAccess>]
module HelpText =

    /// Columns of the narrowest terminal that it fits.
    let width = 80

    let private indent = 2
    let private textColumn = 28

    // Words are not broken; one that is too long has a line of its own.
    let private wrap (columns: int) (text: string) : string list =
        let rec fill line (words: string list) =
            match words with
            | [] -> [ line ]
            | word :: words when line = "" -> fill word words
            | word :: words when line.Length + 1 + word.Length <= columns -> fill $"{line} {word}" words
            | words -> line :: fill "" words

        fill "" (List.ofArray (text.Split ' '))

    /// A term and what is said of it, on as many lines as it takes.
    let entry (term: string, text: string) : string list =
        let lead = String(' ', indent) + term
        let blank = String(' ', textColumn)
        let texts = wrap (width - textColumn) text |> List.map (fun line -> blank + line)

        if lead.Length + 2 <= textColumn then
            (lead.PadRight textColumn + texts.Head.Trim()) :: texts.Tail
        else
            lead :: texts

    /// Text from the left margin on.
    let paragraph (text: string) : string list = wrap width text

    /// An empty line, a title and what stands under it; nothing, when nothing does.
    let section (title: string) (entries: (string * string) list) : string list =
        match entries with
        | [] -> []
        | entries -> "" :: $"{title}:" :: List.collect entry entries

    /// A flag as a user writes it, `-p, --port <number>`; one without a letter is indented as if it had one.
    let termOf (case: ArgumentCaseInfo) : string =
        let long, short = case.CommandLineNames.Value |> List.partition (fun name -> name.StartsWith "--")

        let names =
            match short, long with
            | [], long -> "    " + String.Join(", ", long)
            | short, long -> String.Join(", ", short @ long)

        match case.UnionCaseInfo.GetFields() with
        | [||] -> names
        | fields -> $"{names} <{fields[0].Name}>"

    /// A flag and what help says of it.
    let entryOf (case: ArgumentCaseInfo) : string * string = termOf case, case.Description.Value
