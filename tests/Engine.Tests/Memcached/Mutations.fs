/// Streams of bytes made out of other streams: what fuzzing feeds to parsers and connections. And the corpus: inputs that were worth keeping, each a
/// file of `corpus/` that says why it is there.
///
///     # a reason, at least one line of it
///     > get a                  a line, with \r\n behind it; `>>` has nothing behind it; both spelled as in transcripts
///     80 00 0A ff              in files that end in .hex: bytes
module LsmFs.Engine.Tests.Mutations

open System
open System.IO
open LsmFs.Engine.Tests.Interpreter

/// Pieces that mean something to a parser.
let private tokens: byte[][] =
    [|
        "\r\n"
        "\n"
        "\r"
        " "
        "  "
        "\000"
        "get "
        "gets a"
        "gat 0 a"
        "set a 0 0 "
        "cas a 0 0 1 1\r\n"
        "mg a "
        "ms a 2 "
        "ma a "
        "md a q"
        "mn\r\n"
        "me a"
        " noreply"
        "-1"
        "0"
        "2147483645"
        "2147483648"
        "18446744073709551616"
        " O123456789012345678901234567890123"
        " b"
        "YQ=="
        " HTTP/1.1"
        "\128\000\000\001"
        "\129\255\255\255"
        "stats "
        "lru_crawler metadump all"
    |]
    |> Array.map latin

/// Longest stream a mutation makes.
[<Literal>]
let private lengthMax = 20_000

let private range (random: Random) (bytes: byte[]) : int * int =
    let start = random.Next(bytes.Length + 1)
    start, random.Next(0, min 200 (bytes.Length - start) + 1)

let private insert (at: int) (piece: byte[]) (bytes: byte[]) = Array.concat [ bytes[.. at - 1]; piece; bytes[at..] ]

let private mutateOnce (random: Random) (other: byte[]) (bytes: byte[]) : byte[] =
    match random.Next 9 with
    | _ when bytes.Length = 0 || bytes.Length > lengthMax -> Array.truncate (lengthMax / 2) other
    | 0 ->
        // Flip a bit.
        let at = random.Next bytes.Length
        Array.updateAt at (bytes[at] ^^^ (1uy <<< random.Next 8)) bytes
    | 1 -> Array.updateAt (random.Next bytes.Length) (byte (random.Next 256)) bytes
    | 2 ->
        // Leave a part out.
        let start, length = range random bytes
        Array.removeManyAt start length bytes
    | 3 ->
        // A part twice, somewhere.
        let start, length = range random bytes
        insert (random.Next(bytes.Length + 1)) bytes[start .. start + length - 1] bytes
    | 4 ->
        // The beginning of one, the end of another.
        Array.append bytes[.. random.Next bytes.Length - 1] other[random.Next(other.Length + 1) ..]
    | 5 -> bytes[.. random.Next bytes.Length - 1]
    | 6 ->
        let start, length = range random other
        insert (random.Next(bytes.Length + 1)) other[start .. start + length - 1] bytes
    | _ -> insert (random.Next(bytes.Length + 1)) tokens[random.Next tokens.Length] bytes

/// The bytes after one to six changes; `other` lends its parts.
let mutate (random: Random) (other: byte[]) (bytes: byte[]) : byte[] =
    (bytes, [ 1 .. random.Next(1, 7) ]) ||> List.fold (fun bytes _ -> mutateOnce random other bytes)

/// An input worth keeping.
type Kept = { Name: string; Bytes: byte[] }

let private readLines (file: FileInfo) (ofLines: string list -> byte[]) : Kept =
    let lines = List.ofArray (File.ReadAllLines file.FullName)

    if not (lines.Head.StartsWith "# ") then
        failwithf "%s does not say why it is kept" file.Name

    {
        Name = file.Name
        Bytes = lines |> List.filter (fun line -> line <> "" && not (line.StartsWith '#')) |> ofLines
    }

let private readText (file: FileInfo) : Kept =
    readLines file (fun lines ->
        lines
        |> List.map (fun line ->
            if line.StartsWith ">>" then
                Transcript.expand (line.Substring 3)
            elif line.StartsWith "> " then
                Transcript.expand (line.Substring 2) + "\r\n"
            else
                failwithf "%s: neither > nor >> before %s" file.Name line)
        |> String.concat ""
        |> latin)

let private readHex (file: FileInfo) : Kept =
    readLines file (fun lines -> Convert.FromHexString((String.concat "" lines).Replace(" ", "")))

/// Every input of the corpus.
let corpus: Kept list =
    let folder = DirectoryInfo(Path.Combine(AppContext.BaseDirectory, "Memcached", "corpus"))

    [
        for file in folder.GetFiles "*.txt" do
            readText file
        for file in folder.GetFiles "*.hex" do
            readHex file
    ]
    |> List.sortBy _.Name
