/// Generators of what clients send: well-formed commands, commands with something wrong at a boundary, and garbage.
module LsmFs.Engine.Tests.Streams

open System
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine.Tests.Interpreter

/// The value limit that streams are made for: small, so that values beyond it are common.
let valueLengthMax = 40

let private keys = [ "a"; "b"; "c"; String('k', 250); String('k', 251); "\001\127\255"; "noreply" ]

let private numbers = [
    "0"
    "1"
    "5"
    "-1"
    "40"
    "41"
    "100"
    "2592000"
    "2592001"
    "2147483647"
    "2147483648"
    "-2147483648"
    "-2147483649"
    "2147483645"
    "2147483646"
    "4294967295"
    "4294967296"
    "9223372036854775807"
    "9223372036854775808"
    "18446744073709551615"
    "18446744073709551616"
    "00000000000"
    "+1"
    "1x"
    "x"
    ""
]

let private spaceGen = Gen.frequency [ 12, Gen.constant " "; 1, Gen.constant "  " ]

let private lineEndGen =
    Gen.frequency [ 12, Gen.constant "\r\n"; 2, Gen.constant "\n"; 1, Gen.constant " \r\n"; 1, Gen.constant "\r\r\n" ]

let private keyGen = Gen.frequency [ 12, Gen.elements [ "a"; "b"; "c" ]; 2, Gen.elements keys ]

let private numberGen = Gen.frequency [ 4, Gen.elements [ "0"; "1"; "5" ]; 2, Gen.elements numbers ]

let private noreplyGen =
    Gen.frequency [
        6, Gen.constant []
        2, Gen.constant [ "noreply" ]
        1, Gen.constant [ "junk" ]
        1, Gen.constant [ "0"; "noreply" ]
    ]

let private wordsGen (words: Gen<string list>) : Gen<string> =
    gen {
        let! words = words
        let! spaces = Gen.listOfLength words.Length spaceGen
        let! lineEnd = lineEndGen
        return (List.map2 (fun word space -> word + space) words spaces |> String.concat "").TrimEnd ' ' + lineEnd
    }

let private dataGen (length: int) : Gen<string> =
    gen {
        let! bytes = Gen.arrayOfLength length (Gen.elements [ 'x'; '1'; ' '; '\r'; '\n'; '\000' ])
        return String bytes
    }

let private storageGen =
    gen {
        let! verb = Gen.elements [ "set"; "set"; "set"; "add"; "replace"; "append"; "prepend"; "cas" ]
        let! key = keyGen
        let! flags = numberGen
        let! exptime = numberGen
        let! length = Gen.frequency [ 6, Gen.choose (0, 12); 2, Gen.choose (39, 42); 1, Gen.constant 200 ]
        let! announced = Gen.frequency [ 12, Gen.constant (string length); 1, numberGen ]
        let! unique = Gen.elements [ "1"; "2"; "3"; "0"; "x" ]
        let! noreply = noreplyGen

        let! line =
            wordsGen (
                Gen.constant (
                    [ verb; key; flags; exptime; announced ] @ (if verb = "cas" then [ unique ] else []) @ noreply
                )
            )

        let! data = dataGen length

        let! ending =
            Gen.frequency [
                12, Gen.constant "\r\n"
                1, Gen.constant "\n"
                1, Gen.constant ""
                1, Gen.constant "zz\r\n"
            ]

        return line + data + ending
    }

let private retrievalGen =
    gen {
        let! verb = Gen.elements [ "get"; "get"; "gets"; "gat"; "gats" ]
        let! exptime = numberGen
        let! keys = Gen.choose (0, 4) |> Gen.bind (fun count -> Gen.listOfLength count keyGen)
        return! wordsGen (Gen.constant ((if verb.StartsWith "ga" then [ verb; exptime ] else [ verb ]) @ keys))
    }

let private otherGen =
    gen {
        let! verb =
            Gen.elements [
                "incr"
                "decr"
                "touch"
                "delete"
                "flush_all"
                "verbosity"
                "shutdown"
                "foo"
                "stats"
                "version"
            ]

        let! key = keyGen
        let! number = numberGen
        let! noreply = noreplyGen
        let! dropped = Gen.frequency [ 6, Gen.constant 0; 1, Gen.choose (1, 3) ]

        let words =
            match verb with
            | "flush_all"
            | "verbosity" -> [ verb; number ] @ noreply
            | "delete" -> [ verb; key ] @ noreply
            | "stats" -> [ verb; "reset" ]
            | _ -> [ verb; key; number ] @ noreply

        return! wordsGen (Gen.constant (List.truncate (max 1 (words.Length - dropped)) words))
    }

let private metaGen =
    gen {
        let! verb = Gen.elements [ "mg"; "mg"; "ms"; "ms"; "md"; "ma"; "me"; "mn" ]
        let! key = Gen.frequency [ 6, keyGen; 1, Gen.elements [ "YQ=="; "Y!Q=="; "====" ] ]
        let! length = Gen.frequency [ 6, Gen.choose (0, 12); 1, Gen.choose (39, 42) ]
        let! announced = Gen.frequency [ 12, Gen.constant (string length); 1, numberGen ]

        let flagGen =
            gen {
                let! letter = Gen.elements (List.ofSeq "bcfhklqstuvxCDEFIJLMNOPRTz?")
                let! number = numberGen
                let! mode = Gen.elements [ ""; "E"; "A"; "P"; "R"; "S"; "I"; "D" ]
                let! length = Gen.elements [ 0; 1; 31; 32 ]

                return
                    match letter with
                    | 'C'
                    | 'D'
                    | 'E'
                    | 'F'
                    | 'J'
                    | 'N'
                    | 'R'
                    | 'T' -> $"{letter}{number}"
                    | 'M' -> "M" + mode
                    | 'O' -> "O" + String('o', length)
                    | _ -> string letter
            }

        let! count = Gen.frequency [ 6, Gen.choose (0, 4); 1, Gen.choose (15, 20) ]
        let! flags = Gen.listOfLength count flagGen
        let! isDistinct = Gen.frequency [ 6, Gen.constant true; 1, Gen.constant false ]

        let flags =
            if isDistinct then
                List.distinctBy (fun (flag: string) -> flag[0]) flags
            else
                flags

        let! line = wordsGen (Gen.constant ([ verb; key ] @ (if verb = "ms" then [ announced ] else []) @ flags))
        let! data = dataGen length
        return if verb = "ms" then line + data + "\r\n" else line
    }

let private garbageGen =
    Gen.oneof [
        Gen.elements [
            "\r\n"
            "\n"
            "a\r\n"
            " get a\r\n"
            "get"
            "set a"
            "quit\r\n"
            "GET / HTTP/1.1\r\n"
            "\000"
            "noreply\r\n"
        ]
        Gen.choose (0, 30)
        |> Gen.bind (fun length -> Gen.arrayOfLength length (Gen.choose (0, 255)))
        |> Gen.map (fun bytes -> ofLatin (ReadOnlySpan<byte>(Array.map byte bytes)))
        Gen.elements [ 2047; 2048; 2049; 3000 ] |> Gen.map (fun length -> String('y', length))
    ]

let private fragmentGen =
    Gen.frequency [ 10, storageGen; 6, retrievalGen; 6, otherGen; 8, metaGen; 1, garbageGen ]

/// A stream of a client: mostly good commands, some bad ones, now and then garbage.
type Stream = Stream of byte[]

let private streamGen = Gen.listOf fragmentGen |> Gen.map (String.concat "" >> latin >> Stream)

/// A stream with a few of its parts changed, dropped, doubled, or taken from another stream.
type MutatedStream = MutatedStream of byte[]

let private mutatedGen =
    gen {
        let! (Stream bytes) = streamGen
        let! (Stream other) = streamGen
        let! seed = Gen.choose (0, Int32.MaxValue)
        return MutatedStream(Mutations.mutate (Random seed) other bytes)
    }

/// Nothing but bytes.
type Noise = Noise of byte[]

let private noiseGen =
    Gen.listOf (Gen.frequency [ 3, Gen.choose (0, 255); 1, Gen.elements [ 10; 13; 32; 48 ] ])
    |> Gen.map (List.map byte >> Array.ofList >> Noise)

/// Where a stream is cut.
type Cuts = Cuts of int list

let private cutsGen = Gen.listOf (Gen.choose (0, 400)) |> Gen.map Cuts

/// The stream byte by byte.
let single (bytes: byte[]) : byte[] list = bytes |> Array.map Array.singleton |> List.ofArray

/// The stream in pieces.
let pieces (Cuts lengths) (bytes: byte[]) : byte[] list =
    let rec go (offset: int) (lengths: int list) =
        match lengths with
        | length :: rest when offset + length < bytes.Length ->
            bytes[offset .. offset + length - 1] :: go (offset + length) rest
        | _ -> [ bytes[offset..] ]

    go 0 lengths

type Arbitraries =
    static member Stream() = Arb.fromGen streamGen
    static member MutatedStream() = Arb.fromGen mutatedGen
    static member Noise() = Arb.fromGen noiseGen
    static member Cuts() = Arb.fromGen cutsGen

/// A property over streams.
let streamProperty (name: string) (body: 'input -> 'result) =
    Expecto.ExpectoFsCheck.testPropertyWithConfig
        {
            Expecto.FsCheckConfig.defaultConfig with
                maxTest = 200
                endSize = 30
                arbitrary = [ typeof<Arbitraries> ]
        }
        name
        body
