/// Conversations between a client and a server as text files. A file is a list of exchanges:
///
///     # a comment
///     > set a 0 0 1            sent, with \r\n behind it; `>>` sends without it
///     < STORED                 expected, with \r\n behind it
///     <close                   the server closes the connection; the next exchange opens a new one
///     ! the reason             why memcached answers something else, given by the lines below:
///     <old ERROR               what releases of memcached before 1.6.40 answer instead
///     <peer STORED             what every memcached answers instead; `<peer` alone: nothing
///     @ 2                      two seconds pass
///
/// \r \n \t \0 \\ and \xNN stand for bytes, {x*1000} for a thousand x, and $name for a cas unique: bound where it is first expected,
/// the same wherever it stands after that.
module LsmFs.Engine.Tests.Transcript

open System
open System.Collections.Generic
open System.IO
open System.Text
open System.Text.RegularExpressions

/// What is expected of one kind of server.
type Expectation = { Answer: string; IsClosed: bool }

type Exchange = {
    /// Where it begins, for messages.
    LineNumber: int
    /// Seconds to wait before it.
    WaitSeconds: int
    Request: string
    Expected: Expectation
    /// Of releases before 1.6.40.
    ExpectedOfOld: Expectation option
    /// Of every memcached.
    ExpectedOfPeer: Expectation option
}

/// The bytes that a transcript spells.
let expand (text: string) : string =
    let repeated =
        Regex.Replace(
            text,
            @"\{(\\?.)\*(\d+)\}",
            fun found -> String.replicate (int found.Groups[2].Value) found.Groups[1].Value
        )

    Regex.Replace(
        repeated,
        @"\\(r|n|t|0|\\|x[0-9A-Fa-f]{2})",
        fun found ->
            match found.Groups[1].Value with
            | "r" -> "\r"
            | "n" -> "\n"
            | "t" -> "\t"
            | "0" -> "\000"
            | "\\" -> "\\"
            | code -> string (char (Convert.ToInt32(code.Substring 1, 16)))
    )

let private empty = { Answer = ""; IsClosed = false }

let private orEmpty (expectation: Expectation option) = Option.defaultValue empty expectation

let private tell (line: string) (expectation: Expectation) = {
    expectation with
        Answer = expectation.Answer + expand line + "\r\n"
}

/// Reads a transcript.
let read (path: string) : Exchange list =
    let lines = File.ReadAllLines path |> Array.mapi (fun index line -> index + 1, line)
    let exchanges = List<Exchange>()
    let mutable current: Exchange option = None
    let mutable wait = 0
    let mutable hasReason = false
    let mutable hasAnswer = false

    let change (number: int) (revise: Exchange -> Exchange) =
        match current with
        | Some exchange -> current <- Some(revise exchange)
        | None -> failwithf "%s(%d): nothing was sent yet" path number

    let finish () =
        current |> Option.iter exchanges.Add
        current <- None
        hasReason <- false
        hasAnswer <- false

    for number, line in lines do
        let rest (prefix: string) =
            if line.Length > prefix.Length then
                line.Substring(prefix.Length + 1)
            else
                ""

        let differs () =
            hasAnswer <- true

            if not hasReason then
                failwithf "%s(%d): a difference needs a reason" path number

        let send (text: string) =
            if hasAnswer || hasReason then
                finish ()

            match current with
            | Some exchange -> current <- Some { exchange with Request = exchange.Request + text }
            | None ->
                current <-
                    Some {
                        LineNumber = number
                        WaitSeconds = wait
                        Request = text
                        Expected = empty
                        ExpectedOfOld = None
                        ExpectedOfPeer = None
                    }

                wait <- 0

        if line = "" then
            finish ()
        elif line.StartsWith '#' then
            ()
        elif line.StartsWith ">>" then
            send (expand (rest ">>"))
        elif line.StartsWith '>' then
            send (expand (rest ">") + "\r\n")
        elif line.StartsWith '!' then
            hasReason <- rest "!" <> ""
        elif line.StartsWith '@' then
            finish ()
            wait <- int (rest "@")
        elif line = "<close" then
            hasAnswer <- true
            change number (fun exchange -> { exchange with Expected = { exchange.Expected with IsClosed = true } })
        elif line.StartsWith "<old" then
            differs ()
            let add = if line = "<old" then id else tell (rest "<old")
            change number (fun exchange -> { exchange with ExpectedOfOld = Some(add (orEmpty exchange.ExpectedOfOld)) })
        elif line.StartsWith "<peer" then
            differs ()
            let add = if line = "<peer" then id else tell (rest "<peer")

            change number (fun exchange -> {
                exchange with
                    ExpectedOfPeer = Some(add (orEmpty exchange.ExpectedOfPeer))
            })
        elif line.StartsWith '<' then
            hasAnswer <- true
            change number (fun exchange -> { exchange with Expected = tell (rest "<") exchange.Expected })
        else
            failwithf "%s(%d): not a transcript line: %s" path number line

    finish ()
    List.ofSeq exchanges

/// The beginning of an answer, for messages.
let cut (text: string) =
    if text.Length > 500 then
        text.Substring(0, 500) + "..."
    else
        text

let private variable = Regex @"\$\w+"

/// The request with cas uniques in place of their names.
let substitute (bound: Dictionary<string, string>) (text: string) : string =
    variable.Replace(
        text,
        fun found ->
            if bound.ContainsKey found.Value then
                bound[found.Value]
            else
                found.Value
    )

/// Whether an answer is the expected one; binds the names that it meets for the first time.
let isMatch (bound: Dictionary<string, string>) (expected: string) (answer: string) : bool =
    let known = substitute bound expected
    let names = List<string>()

    let pattern =
        variable.Split known
        |> Array.map (fun part ->
            // The version is nobody's business but the server's.
            Regex.Escape(part).Replace(@"VERSION\ n\.n\.n", @"VERSION \d+\.\d+\.\d+"))

    for found in variable.Matches known do
        names.Add found.Value

    let text = StringBuilder pattern[0]

    for index in 1 .. pattern.Length - 1 do
        text.Append(@"(\d+)").Append(pattern[index]) |> ignore

    let found = Regex.Match(answer, $@"\A{text}\z", RegexOptions.Singleline)

    if found.Success then
        for index in 0 .. names.Count - 1 do
            bound[names[index]] <- found.Groups[index + 1].Value

    found.Success

/// All transcripts: name and exchanges.
let all: (string * Exchange list) list =
    DirectoryInfo(Path.Combine(AppContext.BaseDirectory, "Memcached", "transcripts")).GetFiles "*.txt"
    |> Array.sortBy _.Name
    |> Array.map (fun file -> file.Name.Replace(".txt", ""), read file.FullName)
    |> List.ofArray
