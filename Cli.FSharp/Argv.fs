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

/// getopt's reading of a command line. memcached reads its own with getopt_long, so start scripts say `-p11212`, `-vvv` or `-vp 11212`;
/// Argu reads one word per flag. What comes out has the long name and the value in one word, `--port=11212`.
[<RequireQualifiedAccess>]
module Argv =

    /// The words in the one form that Argu reads, or what is wrong with them. O(words x flags).
    let normalise (flags: Flag list) (words: string list) : Result<string list, string> =
        let withLong name = flags |> List.tryFind (fun flag -> flag.Long = name)
        let withShort letter = flags |> List.tryFind (fun flag -> flag.Short = ValueSome letter)

        // An empty value is as good as none: no flag has a use for it, and Argu cannot read it.
        let valued (given: string) (flag: Flag) (value: string) =
            if value = "" then
                Error $"{given} needs a value"
            else
                Ok $"{flag.Long}={value}"

        let rec read (normalised: string list) (rest: string list) =
            match rest with
            | []
            | [ "--" ] -> Ok(List.rev normalised)
            | word :: rest when word.StartsWith "--" && word.Length > 2 -> readLong normalised word rest
            | word :: rest when word.StartsWith '-' && word <> "-" && word <> "--" ->
                readCluster normalised word[1..] rest
            | "--" :: word :: _
            | word :: _ -> Error $"'{word}' is not a flag, and nothing else is expected"

        and readLong normalised word rest =
            let equals = word.IndexOf '='
            let name = if equals < 0 then word else word[.. equals - 1]

            match withLong name, rest with
            | None, _ -> Error $"there is no flag {name}"
            | Some { TakesValue = false }, _ when equals >= 0 -> Error $"{name} takes no value"
            | Some { TakesValue = false }, _ -> read (name :: normalised) rest
            | Some flag, _ when equals >= 0 -> withValue normalised (valued name flag word[equals + 1 ..]) rest
            | Some _, [] -> Error $"{name} needs a value"
            | Some flag, value :: rest -> withValue normalised (valued name flag value) rest

        and readCluster normalised letters rest =
            let given = $"-{letters[0]}"

            match withShort letters[0], rest with
            | None, _ -> Error $"there is no flag {given}"
            | Some { TakesValue = false; Long = name }, _ when letters.Length > 1 ->
                readCluster (name :: normalised) letters[1..] rest
            | Some { TakesValue = false; Long = name }, _ -> read (name :: normalised) rest
            | Some flag, _ when letters.Length > 1 -> withValue normalised (valued given flag letters[1..]) rest
            | Some _, [] -> Error $"{given} needs a value"
            | Some flag, value :: rest -> withValue normalised (valued given flag value) rest

        and withValue normalised word rest =
            match word with
            | Ok word -> read (word :: normalised) rest
            | Error reason -> Error reason

        read [] words
