module LsmFs.Cli.Tests.ArgvTests

open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Cli

let private flags = [
    { Long = "--port"; Short = ValueSome 'p'; TakesValue = true }
    { Long = "--listen"; Short = ValueSome 'l'; TakesValue = true }
    { Long = "--data"; Short = ValueNone; TakesValue = true }
    { Long = "--verbose"; Short = ValueSome 'v'; TakesValue = false }
    { Long = "--version"; Short = ValueSome 'V'; TakesValue = false }
]

let private reads (written: string list) (expected: string list) =
    Expect.equal (Argv.normalise flags written) (Ok { Flags = expected; Strays = [] }) (String.concat " " written)

let private leaves (written: string list) (expected: string list) (strays: string list) =
    Expect.equal (Argv.normalise flags written) (Ok { Flags = expected; Strays = strays }) (String.concat " " written)

let private refuses (written: string list) (reason: string) =
    Expect.equal (Argv.normalise flags written) (Error reason) (String.concat " " written)

/// A flag with its value, if it takes one.
type Setting = { Flag: Flag; Value: string }

let private settingGen =
    gen {
        let! flag = Gen.elements flags
        // Values that look like flags, lists and assignments are values all the same.
        let! value = Gen.elements [ "1"; "11212"; "-1"; "--port"; "-v"; "a=b"; "127.0.0.1:1,[::1]:2"; "x y" ]
        return { Flag = flag; Value = value }
    }

let private canonical (setting: Setting) =
    if setting.Flag.TakesValue then
        $"{setting.Flag.Long}={setting.Value}"
    else
        setting.Flag.Long

/// The name, and every beginning of it that no other name has.
let private names (flag: Flag) : string list = [
    flag.Long

    for length in 3 .. flag.Long.Length - 1 do
        let beginning = flag.Long[.. length - 1]

        if (flags |> List.filter _.Long.StartsWith(beginning)).Length = 1 then
            beginning
]

/// Every way in which getopt_long lets the setting be written.
let private spellings (setting: Setting) : string list list =
    match setting.Flag with
    | { TakesValue = true; Short = short } -> [
        for name in names setting.Flag do
            [ name; setting.Value ]
            [ $"{name}={setting.Value}" ]
        match short with
        | ValueSome letter ->
            [ $"-{letter}"; setting.Value ]
            [ $"-{letter}{setting.Value}" ]
        | ValueNone -> ()
      ]
    | { Long = name; Short = short } -> [
        [ name ]
        match short with
        | ValueSome letter -> [ $"-{letter}" ]
        | ValueNone -> ()
      ]

type Arbitraries =
    static member Spelt() =
        gen {
            let! settings = Gen.listOf settingGen
            let! choices = settings |> List.map (spellings >> Gen.elements) |> Gen.collectToList id
            return settings, choices
        }
        |> Arb.fromGen

let private config = {
    FsCheckConfig.defaultConfig with
        maxTest = 500
        arbitrary = [ typeof<Arbitraries> ]
}

[<Tests>]
let tests =
    testList "Argv" [
        testPropertyWithConfig
            config
            "every spelling of a command line reads the same"
            (fun (settings: Setting list, spelt: string list list) ->
                Argv.normalise flags (List.concat spelt) = Ok { Flags = List.map canonical settings; Strays = [] })

        test "letters cluster, and the last may take a value" {
            reads [ "-v" ] [ "--verbose" ]
            reads [ "-vvv" ] [ "--verbose"; "--verbose"; "--verbose" ]
            reads [ "-vp11212" ] [ "--verbose"; "--port=11212" ]
            reads [ "-vvp"; "11212" ] [ "--verbose"; "--verbose"; "--port=11212" ]
            reads [ "-pv" ] [ "--port=v" ]
        }

        test "a lone -- ends the flags" {
            reads [ "-v"; "--" ] [ "--verbose" ]
            leaves [ "-v"; "--"; "-v"; "--port" ] [ "--verbose" ] [ "-v"; "--port" ]
        }

        test "a word that is neither a flag nor a value is set aside, wherever it stands" {
            leaves [ "a"; "-v"; "b"; "-p"; "1"; "c" ] [ "--verbose"; "--port=1" ] [ "a"; "b"; "c" ]
            leaves [ "-"; "" ] [] [ "-"; "" ]
            let normalised = Argv.normalise flags [ "-v"; "word" ]

            Expect.equal
                (Result.bind Argv.withoutStrays normalised)
                (Error "'word' is not a flag, and nothing else is expected")
                "where there must be none"
        }

        test "the beginning of several names is refused, and says of which" {
            refuses [ "--ver" ] "--ver is the beginning of --verbose, --version"
            refuses [ "--ver=1" ] "--ver is the beginning of --verbose, --version"
            reads [ "--verb" ] [ "--verbose" ]
        }

        test "what is no flag is refused by name" {
            refuses [ "-z" ] "there is no flag -z"
            refuses [ "-vz" ] "there is no flag -z"
            refuses [ "--foo=1" ] "there is no flag --foo"
            refuses [ "--Port=1" ] "there is no flag --Port"
        }

        test "a missing value and one too many are refused" {
            refuses [ "-p" ] "-p needs a value"
            refuses [ "-vp" ] "-p needs a value"
            refuses [ "--port" ] "--port needs a value"
            refuses [ "--port=" ] "--port needs a value"
            refuses [ "-p"; "" ] "-p needs a value"
            refuses [ "--verbose=2" ] "--verbose takes no value"
        }
    ]
