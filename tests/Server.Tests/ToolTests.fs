/// The commands that an operator has beside `serve`, on the built program.
module LsmFs.Server.Tests.ToolTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto

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

    for path in Directory.GetFiles folder.Path do
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
                Expect.isTrue (name.EndsWith ".wal") $"offset {offset} of {name} is only a note: {check.Output}"

        File.WriteAllBytes(path, bytes)

    Expect.equal (on "check" folder).ExitCode 0 "whole again"

let private severalFindings () =
    use folder = new TemporaryFolder()
    fillSmall folder
    let tables = DataFiles.withEnding ".sst" folder.Path
    let bytes = File.ReadAllBytes tables[0]

    // The first byte of each of two blocks far from each other.
    for offset in [ 0; 60_000 ] do
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
    bytes[40_000] <- bytes[40_000] ^^^ 1uy
    File.WriteAllBytes(path, bytes)
    let dump = on "dump" folder
    Expect.equal dump.ExitCode 1 "damaged"
    Expect.equal dump.Errors.Length 1 $"one line: {dump.Errors}"
    Expect.stringContains dump.Errors.Head $" is damaged: {Path.GetFileName path}: offset " "the file"
    Expect.isFalse (dump.Output.Contains "#end") "a part is not taken for the whole"

let private inUse () =
    use folder = new TemporaryFolder()

    serving folder [] (fun client ->
        store client "set key 0 0" allBytes

        for command in [ "check"; "dump" ] do
            let refused = on command folder
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

    for command in [ "tree"; "check"; "dump" ] do
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
        testCase "a folder in use is one line and 1" inUse
        testCase "a folder without a store is one line and 1" noStore
    ]
