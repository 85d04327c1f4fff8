/// What tests of the operator's commands share: running one, and a small store of known contents for it.
module LsmFs.Server.Tests.ToolStore

open System
open System.IO
open Expecto

let run (arguments: string list) = Executable.run Executable.lsmfs arguments

let on (command: string) (folder: TemporaryFolder) = run [ command; "--data"; folder.Path ]

let lines (text: string) = text.Split('\n', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

/// Serves the folder with these flags for as long as `body` takes, and stops the server.
let serving (folder: TemporaryFolder) (flags: string list) (body: TextClient -> unit) =
    use server = ServerProcess.Start(folder.Path, Array.ofList flags)

    do
        use client = new TextClient(server.Port)
        body client

    server.StopCleanly()

let store (client: TextClient) (head: string) (value: byte[]) = Expect.equal (client.Store(head, value)) "STORED" head

let allBytes = Array.init 256 byte

/// A store of two tables (a stop without a log writes one) and a log.
let fillSmall (folder: TemporaryFolder) =
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

/// Key, flags, expiry and value in base64 of each item that `fillSmall` leaves, as a dump has them.
let smallDump =
    let all = Convert.ToBase64String allBytes

    [
        "expiring 1 2000000000 256 " + all

        for index in 100..399 do
            if index <> 200 && index <> 300 then
                $"key:{index} {index} 0 256 {all}"

        "logged 7 0 256 " + all
        "replaced 0 0 0"
    ]

let snapshotOf (folder: TemporaryFolder) = [
    for file in Directory.GetFiles folder.Path |> Array.sort ->
        file, File.GetLastWriteTimeUtc file, File.ReadAllBytes file
]

let exits (code: int) (what: string) (result: ExecutableRun) : string =
    Expect.equal (result.ExitCode, result.Errors) (code, []) $"{what}: {result.Output}"
    result.Output

let dumpOf (folder: string) = run [ "dump"; "--data"; folder ] |> exits 0 "dump"
