/// The commands that an operator has beside `serve`, on the built program.
module LsmFs.Server.Tests.ToolTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open LsmFs.Engine

let private run (arguments: string list) = Executable.run Executable.lsmfs arguments

let private on (command: string) (folder: TemporaryFolder) = run [ command; "--data"; folder.Path ]

let private lines (text: string) = text.Split('\n', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

/// Serves the folder with these flags for as long as `body` takes, and stops the server.
let private serving (folder: TemporaryFolder) (flags: string list) (body: TextClient -> unit) =
    use server = ServerProcess.Start(folder.Path, Array.ofList flags)

    do
        use client = new TextClient(server.Port)
        body client

    server.StopCleanly()

let private store (client: TextClient) (head: string) (value: byte[]) =
    Expect.equal (client.Store(head, value)) "STORED" head

let private allBytes = Array.init 256 byte

/// A store of two tables (a stop without a log writes one) and a log.
let private fillSmall (folder: TemporaryFolder) =
    serving folder [ "--durability"; "memory" ] (fun client ->
        for index in 100..399 do
            store client $"set key:{index} {index} 0" allBytes

        store client "set expiring 1 2000000000" allBytes)

    serving folder [ "--durability"; "memory" ] (fun client ->
        Expect.equal (client.Ask "delete key:200") "DELETED" "delete"
        store client "set replaced 0 0" [||])

    serving folder [ "--durability"; "os" ] (fun client ->
        store client "set logged 7 0" allBytes
        Expect.equal (client.Ask "delete key:300") "DELETED" "delete")

let private treeOfLevels () =
    use folder = new TemporaryFolder()
    fillSmall folder
    let tree = on "tree" folder
    Expect.equal (tree.ExitCode, tree.Errors) (0, []) "tree"
    let printed = lines tree.Output
    Expect.equal printed.Length 4 $"headings, level 0, sum, amplification: {tree.Output}"

    Expect.sequenceEqual
        (printed[1].Split(' ', StringSplitOptions.RemoveEmptyEntries))
        [|
            "0"
            "2"
            printed[1].Split(' ', StringSplitOptions.RemoveEmptyEntries)[2]
            "KiB"
            "303"
            "1"
            "2033-05-18T03:33:20Z"
            "never"
            "expiring"
            "replaced"
        |]
        "level 0"

    Expect.stringStarts printed[3] "space amplification 1.00 " "one level"

let private treeBesideServer () =
    use folder = new TemporaryFolder()

    serving folder [] (fun client ->
        store client "set key 0 0" allBytes
        let tree = on "tree" folder
        Expect.equal tree.ExitCode 0 $"tree: {tree.Errors}"
        Expect.stringStarts tree.Output "no tables" "all is in the log")

let private treeOfDeepLevels () =
    use folder = new TemporaryFolder()

    serving folder [ "-m"; "8"; "--durability"; "os" ] (fun client ->
        for index in 0..12_000 do
            client.Send $"set key:{uint32 index * 2654435761u:x8} 0 0 1000 noreply\r\n"
            client.Send(Array.create 1000 (byte index))
            client.Send "\r\n"

        Expect.stringStarts (client.Ask "version") "VERSION" "all is written")

    let tree = on "tree" folder

    for level, count in List.indexed (DataFiles.tableCounts folder.Path) do
        let shown =
            lines tree.Output |> List.exists (fun line -> Regex.IsMatch(line, $@"^ +{level} +{count} +\d"))

        Expect.equal shown (count > 0) $"level {level} of {tree.Output}"

    let whole = on "check" folder
    Expect.equal (whole.ExitCode, whole.Errors) (0, []) $"{whole.Output}"

let private snapshotOf (folder: TemporaryFolder) = [
    for file in Directory.GetFiles folder.Path |> Array.sort ->
        file, File.GetLastWriteTimeUtc file, File.ReadAllBytes file
]

let private wholeStore () =
    use folder = new TemporaryFolder()
    fillSmall folder
    let before = snapshotOf folder
    let check = on "check" folder
    Expect.equal (check.ExitCode, check.Errors) (0, []) $"{check.Output}"
    Expect.stringStarts check.Output "whole: 2 tables with 303 entries, 1 log, " "the summary, and no finding"
    Expect.equal (lines check.Output).Length 1 "one line"
    Expect.equal (snapshotOf folder) before "nothing was changed"

let private everyFileDamaged () =
    use folder = new TemporaryFolder()
    fillSmall folder

    // The bytes of the reserve mean nothing.
    for path in Directory.GetFiles folder.Path |> Array.filter (fun path -> not (path.EndsWith "RESERVE")) do
        let name = string (Path.GetFileName path)
        let bytes = File.ReadAllBytes path

        // First, last, and some between them; the lock has no bytes.
        let offsets =
            [ 0; 9; bytes.Length / 3; bytes.Length / 2; bytes.Length - 20; bytes.Length - 1 ]
            |> List.filter (fun offset -> offset >= 0 && offset < bytes.Length)
            |> List.distinct

        for offset in offsets do
            let changed = Array.copy bytes
            changed[offset] <- changed[offset] ^^^ 1uy
            File.WriteAllBytes(path, changed)
            let check = on "check" folder
            let about = lines check.Output |> List.filter (fun line -> line.Contains $": {name}: offset ")
            Expect.isNonEmpty about $"offset {offset} of {name}: {check.Output}{check.Errors}"

            // The last record of a log with a damaged byte cannot be told from one that a crash cut short.
            if about |> List.exists _.StartsWith("damage: ") then
                Expect.equal check.ExitCode 1 $"offset {offset} of {name}"
                Expect.stringStarts (List.last (lines check.Output)) "damaged: " name
            else
                Expect.isTrue
                    (name.EndsWith ".wal" || name.EndsWith ".decisions")
                    $"offset {offset} of {name} is only a note: {check.Output}"

        File.WriteAllBytes(path, bytes)

    Expect.equal (on "check" folder).ExitCode 0 "whole again"

let private severalFindings () =
    use folder = new TemporaryFolder()
    fillSmall folder
    let tables = DataFiles.withEnding ".sst" folder.Path
    let bytes = File.ReadAllBytes tables[0]

    // The first byte of each of two blocks far from each other.
    for offset in [ 0; bytes.Length / 2 ] do
        bytes[offset] <- bytes[offset] ^^^ 1uy

    File.WriteAllBytes(tables[0], bytes)
    File.Delete tables[1]
    File.WriteAllText(folder.At "CURRENT.tmp", "MANIFEST-0000")
    let check = on "check" folder
    Expect.equal check.ExitCode 1 "damaged"
    let starts (prefix: string) = lines check.Output |> List.filter _.StartsWith(prefix)
    Expect.equal (starts $"damage: {Path.GetFileName tables[0]}: offset ").Length 2 $"two blocks: {check.Output}"

    Expect.equal
        (starts $"damage: {Path.GetFileName tables[1]}: offset 0: ").Length
        1
        $"a missing table: {check.Output}"

    Expect.equal (starts "note: CURRENT.tmp: offset 0: ").Length 1 $"a leftover: {check.Output}"
    Expect.equal (starts "damaged: 3 findings in 2 files; ").Length 1 $"the summary: {check.Output}"
    File.Delete(folder.At "CURRENT")
    let lost = on "check" folder
    Expect.equal lost.ExitCode 1 "damaged"
    Expect.stringStarts lost.Output "damage: CURRENT: offset 0: " "what is missing"

    Expect.stringContains
        lost.Output
        $"damage: {Path.GetFileName tables[0]}: offset "
        "tables are checked without a manifest"

/// Key, flags, expiry and value in base64 of each item that `fillSmall` leaves, as a dump has them.
let private smallDump =
    let all = Convert.ToBase64String allBytes

    [
        "expiring 1 2000000000 256 " + all

        for index in 100..399 do
            if index <> 200 && index <> 300 then
                $"key:{index} {index} 0 256 {all}"

        "logged 7 0 256 " + all
        "replaced 0 0 0"
    ]

let private dumpOfSmall () =
    use folder = new TemporaryFolder()
    fillSmall folder
    let log = DataFiles.withEnding ".wal" folder.Path |> List.last

    // What a crash leaves: a server would cut it off.
    do
        use file = File.Open(log, FileMode.Append)
        file.Write(ReadOnlySpan "FRAM\000\000"B)

    File.WriteAllText(folder.At "CURRENT.tmp", "left")
    let before = snapshotOf folder
    let dump = on "dump" folder
    Expect.equal (dump.ExitCode, dump.Errors) (0, []) "dump"
    Expect.equal (lines dump.Output) ([ "#lsmfs-dump 1" ] @ smallDump @ [ "#end 301" ]) "the items in order"
    use out = new TemporaryFolder()
    let path = out.At "dump"
    let toFile = run [ "dump"; "--data"; folder.Path; "--out"; path ]
    Expect.equal (toFile.ExitCode, toFile.Errors) (0, []) "dump to a file"
    Expect.stringStarts toFile.Output "dumped 301 items, " "what was done"
    Expect.equal (File.ReadAllText path) dump.Output "the same to a file"
    let again = run [ "dump"; "--data"; folder.Path; "--out"; path ]
    Expect.equal again.ExitCode 1 "a file that is there"
    Expect.stringStarts again.Errors.Head $"lsmfs: the file {path} is there already; " "is not replaced"
    Expect.equal (snapshotOf folder) before "nothing was changed"

let private dumpOfDamaged () =
    use folder = new TemporaryFolder()
    fillSmall folder
    let path = (DataFiles.withEnding ".sst" folder.Path).Head
    let bytes = File.ReadAllBytes path
    let middle = bytes.Length / 2
    bytes[middle] <- bytes[middle] ^^^ 1uy
    File.WriteAllBytes(path, bytes)
    let dump = on "dump" folder
    Expect.equal dump.ExitCode 1 "damaged"
    Expect.equal dump.Errors.Length 1 $"one line: {dump.Errors}"
    Expect.stringContains dump.Errors.Head $" is damaged: {Path.GetFileName path}: offset " "the file"
    Expect.isFalse (dump.Output.Contains "#end") "a part is not taken for the whole"

let private loadFrom (path: string) (folder: string) = run [ "load"; "--data"; folder; "--in"; path ]

let private dumpIntoLoad () =
    use source = new TemporaryFolder()
    fillSmall source
    use target = new TemporaryFolder()
    let copy = target.At "made/by/load"
    let lsmfs = Executable.lsmfs

    let pipe =
        Executable.run "/bin/sh" [ "-c"; $"'{lsmfs}' dump --data '{source.Path}' | '{lsmfs}' load --data '{copy}'" ]

    Expect.equal (pipe.ExitCode, pipe.Errors) (0, []) "dump | load"
    Expect.equal pipe.Output $"loaded 301 items into {copy}\n" "what was done"
    Expect.equal (run [ "dump"; "--data"; copy ]).Output (on "dump" source).Output "the same items"
    use server = ServerProcess.Start copy
    use client = new TextClient(server.Port)

    for key, flags, value in [ "key:399", 399u, allBytes; "expiring", 1u, allBytes; "replaced", 0u, [||] ] do
        match client.TryGet key with
        | Some item -> Expect.equal (item.Flags, item.Value) (flags, value) key
        | None -> failtest $"{key} is missing"

    Expect.isNone (client.TryGet "key:200") "what was deleted"

let private loadOfMany () =
    use folder = new TemporaryFolder()
    let value index = Array.init 1000 (fun at -> byte (at * index)) |> Convert.ToBase64String

    // Any byte in a key, and more than one memtable and one batch hold.
    let dump =
        String.Join(
            '\n',
            [
                "#lsmfs-dump 1"
                for index in 10000..15999 do
                    $"key%%00%%FF:{index} {index} 4294967295 1000 {value index}"
                "#end 6000"
                ""
            ]
        )

    File.WriteAllText(folder.At "in", dump)
    let loaded = run [ "load"; "--data"; folder.At "data"; "--in"; folder.At "in"; "-m"; "8" ]
    Expect.equal (loaded.ExitCode, loaded.Errors) (0, []) "load"
    Expect.isTrue ((run [ "dump"; "--data"; folder.At "data" ]).Output = dump) "a dump of it is what was loaded"
    let check = run [ "check"; "--data"; folder.At "data" ]
    Expect.equal check.ExitCode 0 check.Output

let private badDumps () =
    use folder = new TemporaryFolder()

    let refuses (name: string) (dump: string) (reason: string) =
        File.WriteAllText(folder.At name, dump)
        let refused = loadFrom (folder.At name) (folder.At $"{name}-data")
        Expect.equal refused.ExitCode 1 name
        Expect.equal refused.Errors [ $"lsmfs: {reason}; the items of the lines before it are loaded" ] name
        Expect.isEmpty refused.Output name

    refuses "foreign" "set key 0 0 5\n" "line 1: the first line of a dump is '#lsmfs-dump 1'"
    refuses "wrong" "#lsmfs-dump 1\na 0 0 0\nb 0 0 3 aGk=\n#end 2\n" "line 3: the fifth field is not 3 bytes in base64"

    Expect.equal
        (run [ "dump"; "--data"; folder.At "wrong-data" ]).Output
        "#lsmfs-dump 1\na 0 0 0\n#end 1\n"
        "what came before is loaded"

    refuses "cut" "#lsmfs-dump 1\na 0 0 0\n" "line 3: the dump ends without its last line: it was cut off"
    let missing = loadFrom (folder.At "missing") (folder.At "data")
    Expect.equal (missing.ExitCode, missing.Errors.Length) (1, 1) "no such file"
    Expect.stringContains missing.Errors.Head (folder.At "missing") "the file is named"
    Expect.isFalse (Directory.Exists(folder.At "data")) "no folder was made for it"

let private exits (code: int) (what: string) (result: ExecutableRun) : string =
    Expect.equal (result.ExitCode, result.Errors) (code, []) $"{what}: {result.Output}"
    result.Output

let private dumpOf (folder: string) = run [ "dump"; "--data"; folder ] |> exits 0 "dump"

let private compacted () =
    use folder = new TemporaryFolder()
    fillSmall folder
    let before = dumpOf folder.Path
    let output = run [ "compact"; "--data"; folder.Path ] |> exits 0 "compact"
    Expect.stringStarts output $"compacted {folder.Path}: " "what was done"
    Expect.equal (dumpOf folder.Path) before "the same items"
    let levels = (DataFiles.stateOf folder.Path).Version.Levels |> Array.filter (Array.isEmpty >> not)
    Expect.equal levels.Length 1 "one level"
    Expect.equal (levels[0] |> Array.sumBy _.Properties.TombstoneCount) 0L "no tombstone"
    Expect.equal (levels[0] |> Array.sumBy _.Properties.EntryCount) (int64 smallDump.Length) "an entry for each item"
    on "check" folder |> exits 0 "check" |> ignore
    run [ "compact"; "--data"; folder.Path ] |> exits 0 "nothing is left to do" |> ignore

let private salvaged () =
    use folder = new TemporaryFolder()
    fillSmall folder
    use target = new TemporaryFolder()
    let before = snapshotOf folder

    let salvage (name: string) (flags: string list) =
        run ([ "salvage"; "--data"; folder.Path; "--to"; target.At name ] @ flags)

    let items (name: string) = lines (dumpOf (target.At name)) |> List.filter (fun line -> not (line.StartsWith '#'))
    let whole = salvage "whole" [] |> exits 0 "a whole store"
    Expect.stringEnds whole "/whole; nothing was lost\n" "the summary"
    Expect.equal (items "whole") smallDump "all of it"
    // The older table has key:300, which the log deletes, and key:200, which the newer table deletes.
    let newer = DataFiles.withEnding ".sst" folder.Path |> List.last
    let bytes = File.ReadAllBytes newer
    let changed = Array.copy bytes
    changed[0] <- changed[0] ^^^ 1uy
    File.WriteAllBytes(newer, changed)
    let lost = salvage "lost" [] |> exits 1 "a damaged block"
    Expect.stringContains lost $"lost: {Path.GetFileName newer}: offset 0: " "the block"
    Expect.stringContains lost ", keys from key:200 to replaced, up to sequence number " "and its keys"
    Expect.stringContains lost "\npossibly stale: key:200\n" "the tombstone of key:200 is lost"
    Expect.isTrue (items "lost" |> List.exists _.StartsWith("key:200 ")) "it is there, and told"
    Expect.equal ((items "lost").Length) smallDump.Length "it instead of 'replaced'"
    let strict = salvage "strict" [ "--strict" ] |> exits 1 "strict"
    Expect.stringContains strict "\nleft out: key:200\n" "told"
    Expect.isFalse (items "strict" |> List.exists _.StartsWith("key:200 ")) "left out"
    // Without a manifest the newest of what is there wins.
    File.WriteAllBytes(newer, bytes)

    Expect.equal
        (snapshotOf folder |> List.map (fun (_, _, bytes) -> bytes))
        (before |> List.map (fun (_, _, bytes) -> bytes))
        "the source is as it was"

    File.WriteAllText(folder.At "CURRENT", "MANIFEST-0000")
    let without = salvage "without" [] |> exits 1 "no manifest"
    Expect.stringContains without "ITEMS THAT WERE DELETED OR FLUSHED MAY COME BACK" "loud"
    Expect.equal (items "without") smallDump "the same items"

    for name in [ "lost"; "strict"; "without" ] do
        run [ "check"; "--data"; target.At name ] |> exits 0 "check" |> ignore

    let again = salvage "lost" []

    Expect.equal
        (again.ExitCode, again.Errors)
        (1,
         [
             "lsmfs: the folder "
             + target.At "lost"
             + " has files of a store already; choose an empty one with --to"
         ])
        "a folder with a store"

/// One kind of damage after the other to the same store: what is said, and what is saved.
let private salvagedParts () =
    use folder = new TemporaryFolder()
    fillSmall folder
    use target = new TemporaryFolder()
    let older = DataFiles.withEnding ".sst" folder.Path |> List.head
    let table = DataFiles.openTable older
    let log = DataFiles.withEnding ".wal" folder.Path |> List.last
    let manifest = DataFiles.manifestOf folder.Path

    let salvaged (what: string) (file: string) (change: byte[] -> unit) (code: int) : string * string list =
        let bytes = File.ReadAllBytes file
        let changed = Array.copy bytes
        change changed
        File.WriteAllBytes(file, changed)

        let output = run [ "salvage"; "--data"; folder.Path; "--to"; target.At what ] |> exits code what

        File.WriteAllBytes(file, bytes)
        run [ "check"; "--data"; target.At what ] |> exits 0 "check" |> ignore
        output, lines (dumpOf (target.At what)) |> List.filter (fun line -> not (line.StartsWith '#'))

    let invert (offset: int64) (bytes: byte[]) = bytes[int offset] <- bytes[int offset] ^^^ 0xFFuy
    let nameOf (file: string) = string (Path.GetFileName file)
    let partition = (table.PartitionHandle 0).OffsetBytes
    let output, items = salvaged "partition" older (invert (partition + 3L)) 0
    Expect.stringStarts output $"note: {nameOf older}: offset {partition}: the partition (" "the partition is named"
    Expect.stringEnds output "; nothing was lost\n" "its blocks were found"
    Expect.equal items smallDump "all of it"

    let output, items =
        salvaged "index" older (invert (table.SizeBytes - int64 TableFormat.footerLengthBytes - 10L)) 0

    Expect.stringStarts output $"note: {nameOf older}: offset " "the table is named"
    Expect.stringContains output ": the index (" "for its index"
    Expect.stringEnds output "; nothing was lost\n" "its blocks were found"
    Expect.equal items smallDump "all of it"

    let invertEnds (bytes: byte[]) =
        invert 5L bytes
        invert (bytes.LongLength - 1L) bytes

    let output, items = salvaged "both ends" older invertEnds 1
    Expect.stringStarts output $"note: {nameOf older}: offset " "the table is named"

    Expect.stringContains
        output
        $"\nlost: {nameOf older}: offset 0: no whole data block begins here, and the end of the table, "
        "nothing can be found"

    Expect.stringContains output ", keys from expiring to key:399, up to sequence number " "with these keys"

    Expect.equal
        items
        (smallDump |> List.filter (fun line -> line.StartsWith "replaced " || line.StartsWith "logged "))
        "what was elsewhere"

    // The first record sets 'logged', the second one deletes key:300.
    let first = LogFile.headerLength
    let withoutFirst = smallDump |> List.filter (fun line -> not (line.StartsWith "logged "))

    let length =
        let bytes = File.ReadAllBytes log
        let number = FileNumber(UInt64.Parse(string (Path.GetFileNameWithoutExtension log)))
        let struct (frames, _) = LogFile.salvage WriteAheadLog number bytes
        frames[1].PayloadOffset - LogFile.frameHeaderLength - first

    let lost =
        $"lost: {nameOf log}: offset {first}: these bytes are no whole record; {length} bytes, which keys"

    for what, change in
        [
            "record", invert (int64 (first + length - 1))
            "hole", (fun bytes -> Array.Clear(bytes, first, length))
        ] do
        let output, items = salvaged what log change 1
        Expect.stringStarts output lost $"{what}: the record is told"
        Expect.equal items withoutFirst $"{what}: the one behind it is saved"

    let output, items = salvaged "manifest" manifest (invert (int64 first + 20L)) 1
    Expect.stringStarts output $"lost: {nameOf manifest}: offset {first}: " "the manifest is named"
    Expect.stringContains output "ITEMS THAT WERE DELETED OR FLUSHED MAY COME BACK" "loud"
    Expect.equal items smallDump "the newest entries win"

let private statsOfServer () =
    use folder = new TemporaryFolder()
    let mutable port = 0

    do
        use server = ServerProcess.Start folder.Path
        port <- server.Port
        let stats = run [ "stats"; "--server"; $"127.0.0.1:{port}" ] |> exits 0 "stats"

        for line in [ $"tcpport {port}"; "evictions 0"; "tables 0" ] do
            Expect.contains (lines stats) line "a figure of each group"

        server.StopCleanly()

    let refused = run [ "stats"; "--server"; $"127.0.0.1:{port}" ]
    Expect.equal refused.ExitCode 1 "nobody is there"
    Expect.equal refused.Errors.Length 1 "one line"
    Expect.stringStarts refused.Errors.Head $"lsmfs: cannot connect to 127.0.0.1:{port}: " "which says where"

let private inUse () =
    use folder = new TemporaryFolder()

    serving folder [] (fun client ->
        store client "set key 0 0" allBytes

        use target = new TemporaryFolder()

        for command in [ "check"; "dump"; "load"; "compact"; "salvage" ] do
            let refused =
                if command = "salvage" then
                    run [ command; "--data"; folder.Path; "--to"; target.At "new" ]
                else
                    on command folder

            Expect.equal refused.ExitCode 1 command

            Expect.equal
                refused.Errors
                [
                    $"lsmfs: the data folder {folder.Path} is in use by another process; stop it or choose another folder with --data"
                ]
                command

        Expect.equal (client.TryGetText "key").IsSome true "the server was not disturbed")

let private noStore () =
    use folder = new TemporaryFolder()

    for command in [ "tree"; "check"; "dump"; "compact" ] do
        for path in [ folder.Path; folder.At "missing" ] do
            let refused = run [ command; "--data"; path ]
            Expect.equal refused.ExitCode 1 command

            Expect.equal
                refused.Errors
                [ $"lsmfs: there is no store in {path}; choose another folder with --data" ]
                command

            Expect.isEmpty refused.Output command

    Expect.isEmpty (Directory.EnumerateFileSystemEntries folder.Path) "nothing was created"

[<Tests>]
let tests =
    testList "Tool" [
        testCase "tree prints the levels" treeOfLevels
        testCase "tree prints every level, and many tables are whole" treeOfDeepLevels
        testCase "tree works beside a running server" treeBesideServer
        testCase "check says that a store is whole, and changes nothing" wholeStore
        testCase "check names the file in which a byte was changed, whichever it is" everyFileDamaged
        testCase "check goes on after damage, and counts" severalFindings
        testCase "dump writes what is live, in order, and changes nothing" dumpOfSmall
        testCase "a dump of a damaged store fails, and has no last line" dumpOfDamaged
        testCase "dump | load gives the same items in a new folder" dumpIntoLoad
        testCase "load takes any key, and more than memory" loadOfMany
        testCase "a line that cannot be loaded is told by its number" badDumps
        testCase "compact leaves one level, and nothing that nobody can see" compacted
        testCase "salvage saves what is whole, lists what is lost, and changes nothing" salvaged
        testCase "salvage names each kind of damage, and saves what lies around it" salvagedParts
        testCase "stats asks a server" statsOfServer
        testCase "a folder in use is one line and 1" inUse
        testCase "a folder without a store is one line and 1" noStore
    ]
