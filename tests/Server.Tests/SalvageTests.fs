/// `salvage` on the built program.
module LsmFs.Server.Tests.SalvageTests

open System
open System.IO
open Expecto
open LsmFs.Engine
open LsmFs.Server.Tests.ToolStore

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

[<Tests>]
let tests =
    testList "Salvage" [
        testCase "salvage saves what is whole, lists what is lost, and changes nothing" salvaged
        testCase "salvage names each kind of damage, and saves what lies around it" salvagedParts
    ]
