/// `dump` and `load` on the built program.
module LsmFs.Server.Tests.DumpTests

open System
open System.IO
open Expecto
open LsmFs.Server.Tests.ToolStore

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

[<Tests>]
let tests =
    testList "Dump" [
        testCase "dump writes what is live, in order, and changes nothing" dumpOfSmall
        testCase "a dump of a damaged store fails, and has no last line" dumpOfDamaged
        testCase "dump | load gives the same items in a new folder" dumpIntoLoad
        testCase "load takes any key, and more than memory" loadOfMany
        testCase "a line that cannot be loaded is told by its number" badDumps
    ]
