/// The commands that an operator has beside `serve`, on the built program.
module LsmFs.Server.Tests.ToolTests

open System
open System.IO
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

let private noStore () =
    use folder = new TemporaryFolder()

    for command in [ "tree" ] do
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
        testCase "tree works beside a running server" treeBesideServer
        testCase "a folder without a store is one line and 1" noStore
    ]
