/// memcached's flags and `-o` options: which are accepted, which are refused, and what is said about those without effect.
module LsmFs.Cli.Tests.FlagTests

open System
open Expecto
open LsmFs.Cli

let private parse (line: string) = CommandLine.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries))

let private notices (line: string) =
    match parse line with
    | Serve options -> List.ofSeq options.Notices
    | other -> failtest $"'{line}' gave {other}"

let private refuses (line: string) (start: string) =
    match parse line with
    | Refuse reason -> Expect.stringStarts reason $"lsmfs: {start}" line
    | other -> failtest $"'{line}' gave {other}"

let private silent (line: string) = Expect.isEmpty (notices line) $"nothing is said about {line}"

let private says (line: string) (isWarning: bool) (start: string) =
    match notices line with
    | [ notice ] ->
        Expect.stringStarts notice.Text start line
        Expect.equal notice.IsWarning isWarning $"a warning for {line}"
    | other -> failtest $"'{line}' said {other}"

/// memcached's flags in the order of its help.
let private memcachedFlags =
    [
        "pport"
        "Uudp-port"
        "sunix-socket"
        "aunix-mask"
        "Aenable-shutdown"
        "llisten"
        "ddaemon"
        "renable-coredumps"
        "uuser"
        "mmemory-limit"
        "Mdisable-evictions"
        "cconn-limit"
        "klock-memory"
        "vverbose"
        "hhelp"
        "ilicense"
        "Vversion"
        "Ppidfile"
        "fslab-growth-factor"
        "nslab-min-size"
        "Lenable-largepages"
        "D"
        "tthreads"
        "Rmax-reqs-per-event"
        "Cdisable-cas"
        "blisten-backlog"
        "Bprotocol"
        "Imax-item-size"
        "Senable-sasl"
        "Fdisable-flush-all"
        "Xdisable-dumping"
        "Wdisable-watch"
        "Yauth-file"
        "ememory-file"
        "Zenable-ssl"
        "oextended"
        "Nnapi-ids"
    ]
    |> List.map (fun flag -> $"-{flag[0]}", $"--{flag[1..]}")

let internal declared =
    Argu.ArgumentParser.Create<ServeArguments>().GetArgumentCases()
    |> List.map (fun case -> case.CommandLineNames.Value)

[<Tests>]
let tests =
    testList "Flags" [
        test "all of memcached's flags stand in the order of its help, by its letters and names" {
            let short, own = declared |> List.partition (List.exists (fun name -> not (name.StartsWith "--")))

            let letterOf = List.find (fun (name: string) -> not (name.StartsWith "--"))

            Expect.equal (short |> List.map letterOf) (memcachedFlags |> List.map fst) "all of them, in the order"

            for names in short do
                let letter, name = memcachedFlags |> List.find (fst >> (=) (letterOf names))

                if name <> "--" then
                    Expect.contains names name $"the name of {letter}"

            Expect.equal
                (own |> List.map List.head)
                [ "--data"; "--durability"; "--compression" ]
                "and those of lsmfs behind"
        }

        test "a flag without effect is accepted, and a line says why" {
            says "-f 1.1" false "-f has no effect: there are no slabs"
            says "-n 48" false "-n has no effect: there are no slabs"
            says "-L" false "-L has no effect: memory is"
            says "-C" false "-C has no effect: a cas unique"
            says "-e /mnt/ram/file" false "-e has no effect: all items are in files"
            says "-N 2" false "-N has no effect: connections"
            says "-f 2 -n 64 -o slab_reassign" false "-f, -n, -o slab_reassign have no effect: there are no slabs"
        }

        test "a warning where somebody may count on the effect" {
            says "-D :" true "-D has no effect: nothing is counted by the prefixes of keys"
            says "-U -1" true "-U -1 has no effect: UDP is not spoken"
            says "-U 11211" true "-U 11211 has no effect: UDP is not spoken"

            says
                "-o ext_path=/mnt/d1/ext:1G"
                true
                "-o ext_path has no effect: all items are in files, in the folder of --data"

            says "-o drop_privileges" true "-o drop_privileges has no effect"
            says "-o sock_cookie_id=1" true "-o sock_cookie_id has no effect"
        }

        test "less memory than lsmfs works with is more, and a warning says so" {
            says "-m 2" true "-m 2 is taken as -m 8, the least that lsmfs works with"
            says "-m 7 -I 4m" true "-m 7 is taken as -m 8"
            silent "-m 8"
        }

        test "memcached ignores words that are no flags; here a warning says so" {
            // Debian's /etc/memcached.conf, made one line.
            says
                "-d logfile -m 64 -p 11211 -u memcache -l 127.0.0.1 -l ::1 -P /var/run/memcached/memcached.pid"
                true
                "'logfile' has no effect"

            says "-M logfile -m 64" true "'logfile' has no effect: it is neither a flag nor the value of one"
            says "serve 11211" true "'11211' has no effect"
            says "-o modern, idle_timeout=5" true "'idle_timeout=5' has no effect"
            says "-v -- -p" true "'-p' has no effect"
        }

        test "help fits 80 columns, and has every flag once" {
            match parse "--help" with
            | ShowHelp text ->
                let lines = text.Split '\n' |> Array.map _.TrimEnd()

                for line in lines do
                    Expect.isLessThanOrEqual line.Length HelpText.width line

                for names in declared do
                    let named =
                        lines
                        |> Array.filter (fun line ->
                            line.Length - line.TrimStart().Length < 8
                            && line.TrimStart().Split(' ', ',') |> Array.exists (fun word -> word = names.Head)
                            && line.TrimStart().StartsWith '-')

                    Expect.equal named.Length 1 $"{names}"

                Expect.isFalse (text.Contains "\nMore:") "every flag that works is in a group"
            | other -> failtest $"--help gave {other}"
        }

        test "nothing is said about what is so in any case" {
            silent
                "-U 0 -M -W --disable-watch -o modern,no_drop_privileges,inline_ascii_resp,no_inline_ascii_resp,resp_obj_mem_limit=1"
        }

        test "an unknown option is accepted with a warning, as start scripts outlive releases" {
            says
                "-o slab_automove_version=1"
                true
                "-o slab_automove_version has no effect: memcached 1.6.45 has no such option"

            says "-o no_such_thing" true "-o no_such_thing has no effect"
        }

        test "options are separated by commas, in any number of -o, and empty ones are none" {
            says
                "-o slab_reassign,slab_automove=1 -o ,,slab_automove_window=10"
                false
                "-o slab_reassign, -o slab_automove, -o slab_automove_window have"
        }

        test "every option is accepted with a value that memcached accepts" {
            for option in ExtendedOptions.all do
                let accepted =
                    match option.Value, option.Meaning with
                    | _, Meaning.Refused _ -> None
                    | OptionValue.Absent, _ -> Some option.Name
                    | (OptionValue.Needed check | OptionValue.Optional check), _ ->
                        [ "20"; "1"; "0.5"; "xxh3" ]
                        |> List.tryFind (check >> Result.isOk)
                        |> Option.map (fun value -> $"{option.Name}={value}")

                match accepted, option.Meaning with
                | None, Meaning.Refused reason -> refuses $"-o {option.Name}=x" $"-o {option.Name}: {reason}"
                | None, _ -> failtest $"no value for {option.Name}"
                | Some accepted, Meaning.Nothing reason ->
                    says $"-o {accepted}" false $"-o {option.Name} has no effect: {reason}"
                | Some accepted, Meaning.Missing reason ->
                    says $"-o {accepted}" true $"-o {option.Name} has no effect: {reason}"
                | Some accepted, Meaning.Same _ -> silent $"-o {accepted}"
                | Some _, _ -> ()
        }

        test "an option's name is written once" {
            let names = ExtendedOptions.all |> List.map _.Name
            Expect.equal (List.distinct names) names "names"
        }

        test "an option without its value is refused" {
            for option in ExtendedOptions.all do
                match option.Value with
                | OptionValue.Needed _ ->
                    refuses $"-o {option.Name}" $"-o {option.Name} needs a value"
                    refuses $"-o {option.Name}=" $"-o {option.Name} needs a value"
                | OptionValue.Absent
                | OptionValue.Optional _ -> ()
        }

        test "a wrong value is refused, also of what has no effect" {
            for line, start in
                [
                    "-f 0.5", "-f takes a number above 1, not '0.5'"
                    "-f 1", "-f takes a number above 1"
                    "-f x", "-f takes a number above 1"
                    "-n 0", "-n takes a number from 1 to 2147483647, not '0'"
                    "-n -4", "-n takes a number from 1"
                    "-N x", "-N takes a number from 1"
                    "-U x", "-U takes a number from 0 to 65535"
                    "-U 70000", "-U takes a number from 0 to 65535"
                    "-o hashpower=5", "-o hashpower takes a number from 12 to 32"
                    "-o tail_repair_time=5", "-o tail_repair_time takes a number from 10"
                    "-o hash_algorithm=md5", "-o hash_algorithm takes jenkins or murmur3 or xxh3, not 'md5'"
                    "-o lru_crawler_sleep=2000000", "-o lru_crawler_sleep takes a number from 0 to 1000000"
                    "-o hot_lru_pct=90", "-o hot_lru_pct takes a number from 1 to 80"
                    "-o hot_max_factor=0", "-o hot_max_factor takes a number above 0"
                    "-o slab_automove=3", "-o slab_automove takes a number from 0 to 2"
                    "-o slab_automove_window=1", "-o slab_automove_window takes a number from 3 to 1799"
                    "-o proxy_config=routelib", "-o proxy_config: lsmfs is no proxy"
                ] do
                refuses line start
        }

        test "-i prints the licences" {
            match parse "-i" with
            | ShowLicense text ->
                Expect.stringContains text "MIT License" "the licence"
                Expect.stringContains text "Permission is hereby granted" "its text"
                Expect.stringContains text "ZstdSharp.Port" "what it is built with"
            | other -> failtest $"-i gave {other}"
        }
    ]
