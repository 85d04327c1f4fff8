/// The other commands that an operator has beside `serve`, on the built program.
module LsmFs.Server.Tests.ToolTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open LsmFs.Server.Tests.ToolStore

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
        testCase "compact leaves one level, and nothing that nobody can see" compacted
        testCase "stats asks a server" statsOfServer
        testCase "a folder in use is one line and 1" inUse
        testCase "a folder without a store is one line and 1" noStore
    ]
