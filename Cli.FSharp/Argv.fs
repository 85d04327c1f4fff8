namespace LsmFs.Cli

/// A flag as the words of a command line show it.
type Flag = {
    /// The long name with its dashes, `--port`.
    Long: string
    /// The letter, if there is one.
    Short: char voption
    /// Whether a value follows.
    TakesValue: bool
}

/// A command line as Argu reads it.
type Words = {
    /// One word per flag, with the long name: `--port=11212`, `--verbose`.
    Flags: string list
    /// What is neither a flag nor a value of one.
    Strays: string list
}

/// getopt's reading of a command line. memcached reads its own with getopt_long, so start scripts say `-p11212`, `-vvv`, `-vp 11212` or
/// `--memory-l 64`; Argu reads one word per flag. What comes out has the long name and the value in one word.
[<RequireQualifiedAccess>]
module Argv =

    /// The words in the one form that Argu reads, or what is wrong with them. O(words x flags).
    let normalise (flags: Flag list) (words: string list) : Result<Words, string> =
        // As getopt_long does it: the whole name, or as much of it as belongs to one flag only.
        let withLong name =
            match flags |> List.tryFind (fun flag -> flag.Long = name) with
            | Some flag -> Ok flag
            | None ->
                match flags |> List.filter (fun flag -> flag.Long.StartsWith name) with
                | [ flag ] -> Ok flag
                | [] -> Error $"there is no flag {name}"
                | several ->
                    let names = several |> List.map _.Long |> String.concat ", "
                    Error $"{name} is the beginning of {names}"

        let withShort letter =
            match flags |> List.tryFind (fun flag -> flag.Short = ValueSome letter) with
            | Some flag -> Ok flag
            | None -> Error $"there is no flag -{letter}"

        // An empty value is as good as none: no flag has a use for it, and Argu cannot read it.
        let valued (given: string) (flag: Flag) (value: string) =
            if value = "" then
                Error $"{given} needs a value"
            else
                Ok $"{flag.Long}={value}"

        let rec read (words: Words) (rest: string list) =
            match rest with
            | [] -> Ok { Flags = List.rev words.Flags; Strays = List.rev words.Strays }
            | "--" :: strays -> read { words with Strays = List.rev strays @ words.Strays } []
            | word :: rest when word.StartsWith "--" -> readLong words word rest
            | word :: rest when word.StartsWith '-' && word <> "-" -> readCluster words word[1..] rest
            | word :: rest -> read { words with Strays = word :: words.Strays } rest

        and readLong words word rest =
            let equals = word.IndexOf '='
            let name = if equals < 0 then word else word[.. equals - 1]

            match withLong name, rest with
            | Error refusal, _ -> Error refusal
            | Ok { TakesValue = false }, _ when equals >= 0 -> Error $"{name} takes no value"
            | Ok { TakesValue = false; Long = long }, _ -> withFlag words (Ok long) rest
            | Ok flag, _ when equals >= 0 -> withFlag words (valued name flag word[equals + 1 ..]) rest
            | Ok _, [] -> Error $"{name} needs a value"
            | Ok flag, value :: rest -> withFlag words (valued name flag value) rest

        and readCluster words letters rest =
            let given = $"-{letters[0]}"

            match withShort letters[0], rest with
            | Error refusal, _ -> Error refusal
            | Ok { TakesValue = false; Long = long }, _ when letters.Length > 1 ->
                readCluster { words with Flags = long :: words.Flags } letters[1..] rest
            | Ok { TakesValue = false; Long = long }, _ -> withFlag words (Ok long) rest
            | Ok flag, _ when letters.Length > 1 -> withFlag words (valued given flag letters[1..]) rest
            | Ok _, [] -> Error $"{given} needs a value"
            | Ok flag, value :: rest -> withFlag words (valued given flag value) rest

        and withFlag words flag rest =
            match flag with
            | Ok flag -> read { words with Flags = flag :: words.Flags } rest
            | Error refusal -> Error refusal

        read { Flags = []; Strays = [] } words

    /// The flags, or the refusal of a word that is none, where nothing else is expected.
    let withoutStrays (words: Words) : Result<string list, string> =
        match words.Strays with
        | [] -> Ok words.Flags
        | stray :: _ -> Error $"'{stray}' is not a flag, and nothing else is expected"
