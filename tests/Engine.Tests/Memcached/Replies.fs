/// What two servers may answer differently although they agree, taken out of their answers: cas uniques become places in the order of their
/// appearance, times near a known one become that one, and the release has no number.
module LsmFs.Engine.Tests.Replies

open System
open System.Collections.Generic
open System.Text
open LsmFs.Engine.Tests.Interpreter

/// The cas uniques of one server, in the order they were first seen: the only thing about them that servers agree on.
type CasNumbers() =
    let seen = List<string>()
    let places = Dictionary<string, int>()

    member _.Count = seen.Count

    /// The place of a cas unique; a new one gets the next.
    member _.Place(unique: string) : int =
        match places.TryGetValue unique with
        | true, place -> place
        | _ ->
            places[unique] <- seen.Count
            seen.Add unique
            seen.Count - 1

    /// The cas unique seen `back` places before the newest; one that nothing has when there are not so many.
    member _.Newest(back: int) : string =
        if back < seen.Count then
            seen[seen.Count - 1 - back]
        else
            "18446744073709551614"

/// Stands in a request for the cas unique seen `back` places before the newest: no byte, so that it is never mistaken for one.
let casMark (back: int) : string = string (char (0xE000 + back))

/// Whether a letter of a request is such a mark, and which.
let isCasMark (letter: char) : bool = letter >= '\uE000' && letter <= '\uF8FF'

let casMarkBack (letter: char) : int = int letter - 0xE000

/// The bytes of a request for the server that gave out these cas uniques.
let fill (casNumbers: CasNumbers) (request: string) : byte[] =
    if Seq.exists isCasMark request then
        let text = StringBuilder()

        for letter in request do
            if isCasMark letter then
                text.Append(casNumbers.Newest(casMarkBack letter)) |> ignore
            else
                text.Append letter |> ignore

        latin (text.ToString())
    else
        latin request

/// Lives that streams give to items, in seconds: an answered rest of one is taken for the whole, so that the moment of asking does not matter.
let lives: int64[] = [| 1_000L; 100_000L; 2_592_000L |]

/// The latest expiry that a stream gives as a Unix time.
[<Literal>]
let latestExpiry = 2147483647L

/// What an item has lived at the most when it is asked how long it still will, in seconds.
[<Literal>]
let private ageMax = 600L

let private timeLeft (text: string) : string =
    match Int64.TryParse text with
    | true, left when left > 0L ->
        let near (life: int64) = left <= life && life - left <= ageMax

        match Array.tryFind near lives with
        | Some life -> string life
        // The clock of a busy memcached is some seconds behind.
        | None when near (latestExpiry - DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 10L) -> "latest"
        | None -> text
    | _ -> text

let private crlf = "\r\n"B

let private startsWith (bytes: ReadOnlySpan<byte>) (prefix: byte[]) = bytes.StartsWith(ReadOnlySpan<byte> prefix)

/// The words of a meta answer behind its code: `c` is a cas unique, `t` the time left, `l` the time since the last access.
let private metaWord (casNumbers: CasNumbers) (word: string) : string =
    if word.Length < 2 then
        word
    else
        match word[0] with
        | 'c' -> $"c${casNumbers.Place(word.Substring 1)}"
        | 't' -> "t" + timeLeft (word.Substring 1)
        | 'l' when word.Length = 2 -> "l0"
        | _ -> word

/// The fields of an `me` answer: what an item is made of is everybody's own, and when it was last read depends on the moment.
let private metaDebugWord (casNumbers: CasNumbers) (word: string) : string =
    match word.Split('=', 2) with
    | [| "exp"; left |] -> "exp=" + timeLeft left
    | [| "cas"; unique |] -> $"cas=${casNumbers.Place unique}"
    | [| "la" as name; _ |]
    | [| "cls" as name; _ |]
    | [| "size" as name; _ |] -> name
    | _ -> word

/// An answer without what servers need not agree on. Values are passed over by their announced length, whatever is in them.
let normalise (casNumbers: CasNumbers) (answer: byte[]) : string =
    let text = StringBuilder(answer.Length)
    let mutable position = 0

    let copy (length: int) =
        let length = min length (answer.Length - position)
        text.Append(ofLatin (ReadOnlySpan<byte>(answer, position, length))) |> ignore
        position <- position + length

    while position < answer.Length do
        let rest = ReadOnlySpan<byte>(answer, position, answer.Length - position)
        let found = rest.IndexOf(ReadOnlySpan<byte> crlf)
        let lineLength = if found < 0 then rest.Length else found
        let isValue = startsWith rest "VALUE "B
        let isMetaValue = startsWith rest "VA "B

        if isValue || isMetaValue then
            let words = (ofLatin (rest.Slice(0, lineLength))).Split ' '

            let length =
                if isValue && words.Length > 3 then int words[3]
                elif isMetaValue && words.Length > 1 then int words[1]
                else 0

            if isValue && words.Length = 5 then
                words[4] <- $"${casNumbers.Place words[4]}"

            if isMetaValue then
                for index in 2 .. words.Length - 1 do
                    words[index] <- metaWord casNumbers words[index]

            text.AppendJoin(' ', words) |> ignore
            position <- position + lineLength
            copy (2 + length + 2)
        elif startsWith rest "ME "B then
            let words = (ofLatin (rest.Slice(0, lineLength))).Split ' '

            for index in 2 .. words.Length - 1 do
                words[index] <- metaDebugWord casNumbers words[index]

            text.AppendJoin(' ', words) |> ignore
            position <- position + lineLength
            copy 2
        elif startsWith rest "HD "B || startsWith rest "NS "B || startsWith rest "EX "B || startsWith rest "NF "B then
            let words = (ofLatin (rest.Slice(0, lineLength))).Split ' '

            for index in 1 .. words.Length - 1 do
                words[index] <- metaWord casNumbers words[index]

            text.AppendJoin(' ', words) |> ignore
            position <- position + lineLength
            copy 2
        elif startsWith rest "VERSION "B then
            text.Append "VERSION n.n.n" |> ignore
            position <- position + lineLength
            copy 2
        else
            copy (lineLength + 2)

    text.ToString()
