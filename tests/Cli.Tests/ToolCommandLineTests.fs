/// The commands beside `serve`.
module LsmFs.Cli.Tests.ToolCommandLineTests

open System
open Expecto
open LsmFs.Cli

let private parse (line: string) = CommandLine.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries))

let private gives (line: string) (expected: ParsedCommandLine) = Expect.equal (parse line) expected line

let private refuses (line: string) (start: string) (finish: string) =
    match parse line with
    | Refuse reason ->
        Expect.stringStarts reason $"lsmfs: {start}" line
        Expect.stringEnds reason finish line
    | other -> failtest $"'{line}' gave {other}"

/// The commands, each with the flags that its help lists beside --help.
let private flags = [
    "tree", [ "--data" ]
    "check", [ "--data" ]
    "dump", [ "--data"; "--out" ]
    "load", [ "--data"; "--in"; "--memory-limit" ]
    "backup", [ "--data"; "--to"; "--verify-all" ]
    "salvage", [ "--data"; "--to"; "--strict" ]
    "compact", [ "--data"; "--memory-limit" ]
    "stats", [ "--server" ]
]

let private commands = List.map fst flags

let private flagsIn (help: string) =
    help.Split '\n'
    |> Array.filter (fun line -> line.StartsWith "  " && line.TrimStart().StartsWith '-')
    |> Array.map (fun line -> line.Split(' ', ',') |> Array.find _.StartsWith("--"))
    |> List.ofArray

[<Tests>]
let tests =
    testList "ToolCommandLine" [
        test "the flags are as Argu wants them" { Argu.ArgumentParser<ToolArguments>.CheckStructure() }

        test "tree" {
            gives "tree" (Tree { DataFolder = "./data" })
            gives "tree --data /srv/lsmfs" (Tree { DataFolder = "/srv/lsmfs" })
            gives "tree --data=a --data=b" (Tree { DataFolder = "b" })
        }

        test "check" {
            gives "check" (Check { DataFolder = "./data" })
            gives "check --data=/srv/lsmfs" (Check { DataFolder = "/srv/lsmfs" })
        }

        test "dump" {
            gives "dump" (Dump { DataFolder = "./data"; OutFile = ValueNone })
            gives "dump --data a --out b" (Dump { DataFolder = "a"; OutFile = ValueSome "b" })
            refuses "dump --out" "--out needs a value" "(lsmfs dump --help lists the flags)"
        }

        test "load" {
            let expected = { DataFolder = "./data"; InFile = ValueNone; MemoryBudgetBytes = 67108864L }
            gives "load" (Load expected)
            gives "load --in=a -m8" (Load { expected with InFile = ValueSome "a"; MemoryBudgetBytes = 8388608L })

            gives
                "load --data a --memory-limit 128"
                (Load { expected with DataFolder = "a"; MemoryBudgetBytes = 134217728L })

            refuses "load -m 7" "-m takes a number of MiB of at least 8" "(lsmfs load --help lists the flags)"
        }

        test "backup" {
            let expected = { DataFolder = "./data"; ToFolder = "b"; VerifyAll = false }
            gives "backup --to b" (Backup expected)
            gives "backup --data=a --to=b --verify-all" (Backup { expected with DataFolder = "a"; VerifyAll = true })

            refuses "backup" "--to is needed: the folder to write to" "(lsmfs backup --help lists the flags)"

            refuses
                "backup --to b --verify-all=yes"
                "--verify-all takes no value"
                "(lsmfs backup --help lists the flags)"
        }

        test "salvage, compact and stats" {
            let expected = { DataFolder = "./data"; ToFolder = "b"; Strict = false }
            gives "salvage --to b" (Salvage expected)
            gives "salvage --data a --to b --strict" (Salvage { expected with DataFolder = "a"; Strict = true })
            refuses "salvage" "--to is needed" "(lsmfs salvage --help lists the flags)"
            gives "compact" (Compact { DataFolder = "./data"; MemoryBudgetBytes = 67108864L })
            gives "compact --data a -m 8" (Compact { DataFolder = "a"; MemoryBudgetBytes = 8388608L })
            gives "stats" (Stats { Server = ListenAddress.At("127.0.0.1", 11211) })
            gives "stats --server [::1]:1" (Stats { Server = ListenAddress.At("::1", 1) })

            for address in [ "*"; "a:0"; "a:b:c" ] do
                refuses
                    $"stats --server {address}"
                    "--server takes an address such as 127.0.0.1:11211, localhost or [::1]:11212"
                    "(lsmfs stats --help lists the flags)"
        }

        test "every command has a help, which names its flags, and serve's names every command" {
            for command, flags in flags do
                for flag in [ "-h"; "--help" ] do
                    match parse $"{command} {flag}" with
                    | ShowHelp text ->
                        Expect.stringContains text $"lsmfs {command} " "the usage"
                        Expect.equal (flagsIn text) (flags @ [ "--help" ]) "the flags, and no other command's"
                    | other -> failtest $"{command} gave {other}"

                match parse "--help" with
                | ShowHelp text -> Expect.stringContains text $"lsmfs {command} " "serve's help"
                | other -> failtest $"--help gave {other}"
        }

        test "what is no flag of a command is refused, and its own help is named" {
            for command in commands do
                let help = $"(lsmfs {command} --help lists the flags)"
                refuses $"{command} -p 1" "there is no flag -p" help
                let first = List.head (Map.find command (Map.ofList flags))
                refuses $"{command} {first}" $"{first} needs a value" help
                refuses $"{command} --threads 1" "there is no flag --threads" help
                refuses $"{command} folder" "'folder' is not a flag" help
        }
    ]
