/// `stats` beside a real memcached, and the tools that read it.
module LsmFs.Server.Tests.StatisticTests

open System
open System.Text.RegularExpressions
open System.Threading
open Expecto
open LsmFs.Engine

/// What memcached reports and LsmFs does not, because nothing here is described by it. docs/PROTOCOL.md says why.
let private leftOut = [
    "libevent"
    "reserved_fds"
    // Of memcached 1.6.18.
    "slab_reassign_evictions_nomem"
    "growth_factor"
    "stat_key_prefix"
    "chunk_size"
    "slab_chunk_max"
    "slab_automove_ratio"
    "slab_automove_window"
    "slab_automove_freeratio"
    "hash_algorithm"
    "hot_lru_pct"
    "warm_lru_pct"
    "hot_max_factor"
    "warm_max_factor"
    "temporary_ttl"
    "ext_.*"
    "proxy_uring_enabled"
    "items:1:age.*"
    "items:1:number_.*"
    "items:1:hits_to_.*"
    "items:1:moves_.*"
    "items:1:direct_reclaims"
    "items:1:evicted_active"
    @"\d+:.*"
]

let private isLeftOut (name: string) = leftOut |> List.exists (fun pattern -> Regex.IsMatch(name, $"^{pattern}$"))

let private statistics (client: TextClient) (topic: string) : Map<string, string> =
    client.Send $"stats {topic}\r\n"

    let rec read (found: (string * string) list) =
        match client.ReadLine().Split(' ', 3) with
        | [| "STAT"; name; value |] -> read ((name, value) :: found)
        | [| "END" |] -> Map found
        | line -> failtest $"not a line of stats: %A{line}"

    read []

let private names (found: Map<string, string>) = found |> Map.keys |> Set.ofSeq

/// The names that lack here. Where TLS is compiled in, memcached has settings of it whether it is used or not.
let private missing (there: Set<string>) (here: Set<string>) : Set<string> =
    Set.difference there here |> Set.filter (fun name -> not (isLeftOut name || name.StartsWith "ssl_"))

let private sameNames (memcached: string) : unit =
    use peer = RestartableServer.Memcached(memcached, Tcp)
    use server = RestartableServer.LsmFs Tcp

    for topic in [ ""; "settings"; "items"; "slabs"; "sizes" ] do
        let there, here =
            [ peer; server ]
            |> List.map (fun server ->
                use client = new TextClient(server.Port)
                client.Store("set a 0 0", "x"B) |> ignore
                names (statistics client topic))
            |> function
                | [ there; here ] -> there, here
                | _ -> failwith "two servers"

        Expect.equal (missing there here) Set.empty $"names that stats {topic} lacks"

        Expect.equal (here |> Set.filter isLeftOut) Set.empty $"names that stats {topic} should not have"

/// What is counted alike, whatever the server.
let private counted =
    List.ofArray Counter.names
    @ [
        "get_expired"
        "get_flushed"
        "total_items"
        "bytes_read"
        "store_no_memory"
        "auth_cmds"
        "evictions"
    ]

let private commands (random: Random) : string list =
    let pick (choices: string[]) = choices[random.Next choices.Length]
    let key () = pick [| "a"; "b"; "c"; "d" |]
    let value () = pick [| ""; "1"; "9"; "10"; "99"; "word"; "18446744073709551615" |]

    [
        for _ in 1..400 do
            match random.Next 12 with
            | 0
            | 1
            | 2 ->
                let value = value ()
                let verb = pick [| "set"; "add"; "replace"; "append"; "prepend" |]
                $"{verb} {key ()} 0 0 {value.Length}\r\n{value}\r\n"
            | 3 -> $"cas {key ()} 0 0 1 999999999\r\nx\r\n"
            | 4
            | 5 -> $"incr {key ()} {random.Next 100}\r\n"
            | 6 -> $"decr {key ()} {random.Next 100}\r\n"
            | 7 -> $"delete {key ()}\r\n"
            | 8 -> $"touch {key ()} 0\r\n"
            | 9 -> $"gat 0 {key ()} {key ()}\r\n"
            | 10 -> $"set {key ()} 0 0 1048577\r\n{String('x', 1048577)}\r\n"
            | _ -> $"get {key ()} {key ()} {key ()}\r\n"
    ]

let private countersOf (server: RestartableServer) (seed: int) : (string * string) list * (string * string) list =
    use client = new TextClient(server.Port)
    let of' (found: Map<string, string>) = counted |> List.map (fun name -> name, found[name])

    // The answers do not matter here; `version` tells where they end. One at a time: memcached writes a number elsewhere while an item is on its way out.
    let drive (requests: string list) =
        for request in requests do
            client.Send(request + "version\r\n")

            while not (client.ReadLine().StartsWith "VERSION") do
                ()

    drive (commands (Random seed))
    // One look at each of what has expired, and of what was flushed when it was two seconds old. memcached 1.6.45 counts a younger one as a miss only.
    drive [ "set old 0 -1 1\r\nx\r\n"; "get old\r\n"; "set flushed 0 0 1\r\nx\r\n" ]
    Thread.Sleep 2500
    drive [ "flush_all\r\n"; "flush_all bad\r\n"; "get flushed\r\n" ]
    let before = of' (statistics client "")
    Expect.equal (client.Ask "stats reset") "RESET" "a reset"
    before, of' (statistics client "")

let private sameCounters (memcached: string) : unit =
    let seed = Random.Shared.Next()
    // Without the thread that would remove what has expired or was flushed before anybody looks at it.
    use peer = RestartableServer.Memcached(memcached, Tcp, "-o", "no_modern")
    use server = RestartableServer.LsmFs Tcp
    let there, thereAfter = countersOf peer seed
    let here, hereAfter = countersOf server seed
    Expect.equal here there $"counters, seed {seed}"
    Expect.equal hereAfter thereAfter "after a reset"

let private settings () : unit =
    use folder = new TemporaryFolder()

    use server =
        ServerProcess.Start(folder.Path, "-F", "-X", "-m", "100", "-c", "77", "-t", "2", "-I", "2m")

    use client = new TextClient(server.Port)
    let found = statistics client "settings"

    for name, value in
        [
            "maxbytes", string (100 * 1024 * 1024)
            "maxconns", "77"
            "num_threads", "2"
            "item_size_max", string (2 * 1024 * 1024)
            "tcpport", string server.Port
            "flush_enabled", "no"
            "dump_enabled", "no"
            "evictions", "off"
            "verbosity", "0"
        ] do
        Expect.equal (Map.tryFind name found) (Some value) name

    Expect.equal (client.Ask "cache_memlimit 100") "OK" "the budget that it has"
    Expect.stringStarts (client.Ask "cache_memlimit 101") "MEMLIMIT_ADJUST_FAILED" "another"

/// A flush is told at -v. One is made by filling the memtable: a sixth of 8 MiB.
let private verbosity () : unit =
    use folder = new TemporaryFolder()
    use server = ServerProcess.Start(folder.Path, "-m", "8", "--durability", "os")
    use client = new TextClient(server.Port)
    let value = Array.create 100_000 120uy

    let fill () =
        for number in 1..40 do
            Expect.equal (client.Store($"set k{number} 0 0", value)) "STORED" "a value"

    let flushes () = statistics client "lsm" |> Map.find "flushes" |> int

    fill ()
    Expect.isTrue (SpinWait.SpinUntil((fun () -> flushes () > 0), 30_000)) "a flush"
    Expect.all server.Errors (fun line -> not (line.Contains "flushed a memtable")) "not told without -v"
    Expect.equal (client.Ask "verbosity 1") "OK" "from now on"
    Expect.equal (statistics client "settings" |> Map.find "verbosity") "1" "its level"
    fill ()
    server.AwaitError("flushed a memtable")
    Expect.equal (client.Ask "verbosity 100") "OK" "more than there is"
    Expect.equal (statistics client "settings" |> Map.find "verbosity") "2" "is the most"

let private said (path: string) (arguments: string list) : string =
    let run = Executable.run path arguments
    Expect.equal run.ExitCode 0 $"{path} {arguments}: {run.Errors}"
    run.Output

let private items = [ "one", "first"; "two", ""; "three", "the third value" ]

let private store (port: int) =
    use client = new TextClient(port)

    for key, value in items do
        Expect.equal (client.Store($"set {key} 5 0", TextClient.Bytes value)) "STORED" key

/// memcached's own tool, in all its modes.
let private memcachedTool (script: string) (server: RestartableServer) : unit =
    store server.Port
    let ask (mode: string list) = said "/usr/bin/perl" (script :: server.Address :: mode)

    let has (output: string) (pattern: string) =
        Expect.isTrue (Regex.IsMatch(output, pattern, RegexOptions.Multiline)) $"{pattern} in\n{output}"

    let statistics = ask [ "stats" ]
    has statistics @"^ +curr_items +3\r?$"
    has statistics @"^ +evictions +0\r?$"
    has (ask [ "settings" ]) @"^ +maxconns +1024\r?$"
    has (ask [ "sizes" ]) @"^ +sizes_status +disabled\r?$"
    has (ask []) @"^  #  Item_Size  Max_age   Pages   Count   Full\?"
    let keys = ask [ "keys" ]
    let dump = ask [ "dump" ]

    for key, value in items do
        has keys $"^key={key} exp=-1 "
        Expect.stringContains dump $"add {key} 5 0 {value.Length}\r\n{value}\r\n" "the dump"

/// libmemcached's list, which walks `stats cachedump`.
let private memcdump (tool: string) (server: RestartableServer) : unit =
    store server.Port

    let keys =
        (said tool [ $"--servers={server.Address}" ]).Split('\n', StringSplitOptions.RemoveEmptyEntries)

    let expected = items |> List.map fst |> Set.ofList

    // memcached lists what has been there for some time.
    if server.Keeps then
        Expect.equal (List.ofArray keys |> List.sort) (List.ofSeq expected) "every key once"
    else
        Expect.isTrue (Set.isSubset (Set.ofArray keys) expected) "keys"

let private memcstat (tool: string) (server: RestartableServer) : unit =
    store server.Port
    let output = said tool [ $"--servers={server.Address}" ]

    for name in [ "curr_items: 3"; "total_items: 3"; "cmd_set: 3"; "limit_maxbytes: 67108864"; "reclaimed: 0" ] do
        Expect.stringContains output name "memcstat"

let private scripts = [ "/usr/share/memcached/scripts/memcached-tool" ] |> List.tryFind IO.File.Exists

[<Tests>]
let tests =
    testList "Statistics" [
        let memcached = Executable.tryFind "memcached"
        Peer.test "every name that memcached reports, or a reason not to" "memcached" memcached sameNames
        Peer.test "the same commands move the same counters, and a reset ends them" "memcached" memcached sameCounters
        testCase "settings are those of the command line" settings
        testCase "verbosity changes what is logged" verbosity
        onBoth "memcached-tool" "memcached-tool" scripts memcachedTool
        onBoth "memcdump" "memcdump" (Executable.tryFind "memcdump") memcdump
        onBoth "memcstat" "memcstat" (Executable.tryFind "memcstat") memcstat
    ]
