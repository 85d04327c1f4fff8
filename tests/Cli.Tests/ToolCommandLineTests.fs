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

[<Tests>]
let tests =
    testList "ToolCommandLine" [
        test "the flags are as Argu wants them" {
            Argu.ArgumentParser<TreeArguments>.CheckStructure()
            Argu.ArgumentParser<CheckArguments>.CheckStructure()
            Argu.ArgumentParser<DumpArguments>.CheckStructure()
            Argu.ArgumentParser<LoadArguments>.CheckStructure()
        }

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

        test "every command has a help, which names its flags, and serve's names every command" {
            for command in [ "tree"; "check"; "dump"; "load" ] do
                for flag in [ "-h"; "--help" ] do
                    match parse $"{command} {flag}" with
                    | ShowHelp text ->
                        Expect.stringContains text $"lsmfs {command} " "the usage"
                        Expect.stringContains text "--data <folder>" "the flags"
                    | other -> failtest $"{command} gave {other}"

                match parse "--help" with
                | ShowHelp text -> Expect.stringContains text $"lsmfs {command} " "serve's help"
                | other -> failtest $"--help gave {other}"
        }

        test "what is no flag of a command is refused, and its own help is named" {
            for command in [ "tree"; "check"; "dump"; "load" ] do
                let help = $"(lsmfs {command} --help lists the flags)"
                refuses $"{command} -p 1" "there is no flag -p" help
                refuses $"{command} --data" "--data needs a value" help
                refuses $"{command} folder" "'folder' is not a flag" help
        }
    ]
