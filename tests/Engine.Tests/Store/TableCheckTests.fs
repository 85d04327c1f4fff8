/// What a check says of one table file, damaged or wrong under a right checksum.
module LsmFs.Engine.Tests.TableCheckTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

/// All that a check has to say of one table file, and its recount.
let private checkBytes (file: byte[]) : Corruption list * TableProperties voption =
    match openBytes file with
    | Error corruption -> [ corruption ], ValueNone
    | Ok table ->
        let check = TableCheck table

        // At an offset of its own, as in a buffer of several blocks.
        let stored (handle: BlockHandle) =
            Array.append [| 9uy; 9uy |] (Array.sub file (int handle.OffsetBytes) handle.LengthBytes)

        let damaged = [
            for number in 0 .. table.PartitionCount - 1 do
                match check.Partition(number, stored (table.PartitionHandle number), 2) with
                | Error corruption -> corruption
                | Ok() -> ()

                for block in 0 .. check.BlockCount - 1 do
                    match check.Block(block, stored (check.BlockHandle block), 2) with
                    | Error corruption -> corruption
                    | Ok() -> ()
        ]

        let recounted =
            match check.Recount with
            | ValueSome recount -> Check.tableAgainstRecount table recount
            | ValueNone -> []

        damaged @ recounted, check.Recount

let private smallModel =
    modelFrom 5UL [
        for index in 1..12 do
            {
                WriteKey = Text.Encoding.ASCII.GetBytes $"key{index:D2}"
                WriteValue =
                    (if index = 4 then
                         ValueNone
                     else
                         ValueSome(Array.create 10 (byte index)))
                WriteFlags = uint32 (index % 2)
                WriteExpirySeconds = (if index % 3 = 0 then uint32 (1000 + index) else 0u)
                WriteCas = 0UL
                WriteMarks = EntryMarks.None
            }
    ]

/// Adds one to the byte at `field` of a block's content (from its end when it is negative), and makes the checksum right again.
let private withByte (start: int) (length: int) (field: int) (file: byte[]) : byte[] =
    let changed = Array.copy file
    let contentEnd = start + length - StoredBlock.trailerLengthBytes
    let at = if field < 0 then contentEnd + field else start + field
    changed[at] <- changed[at] + 1uy
    let checksum = Checksum.compute (ReadOnlySpan<byte>(changed, start, length - 4))
    Coding.writeU32 (Span<byte> changed) (start + length - 4) checksum
    changed

let private footerOf (file: byte[]) : TableFooter =
    match TableFormat.decodeFooter fileName file.LongLength (span file) with
    | Ok footer -> footer
    | Error corruption -> failtest $"%O{corruption}"

[<Tests>]
let tests =
    testList "TableCheck" [
        property "a table as it was built is whole, and its recount is its properties"
        <| fun (writes: Write list) ->
            let model = modelFrom 1UL writes

            if not model.IsEmpty then
                let file, properties = buildTaking 3 tinyOptions model
                let findings, recount = checkBytes file
                Expect.isEmpty findings "findings"
                Expect.equal recount (ValueSome properties) "recount"
                Expect.isEmpty (Check.tableAgainstManifest (openOrFail file).Meta (openOrFail file)) "its own meta"

        test "every changed byte of a table is found" {
            let file = build tinyOptions smallModel
            Expect.isGreaterThan (dataBlocks file (openOrFail file)).Length 2 "blocks"

            for offset in 0 .. file.Length - 1 do
                for change in [ 1uy; 0x80uy ] do
                    let changed = Array.copy file
                    changed[offset] <- changed[offset] ^^^ change
                    let findings, _ = checkBytes changed
                    Expect.isNonEmpty findings $"offset {offset}"
                    Expect.all findings (fun finding -> finding.File = fileName) "the file is named"
        }

        test "a recount finds properties that lie under a right checksum, each field of them" {
            let file = build tinyOptions smallModel
            let footer = footerOf file
            let start = int footer.PropertiesOffsetBytes

            for field, name in
                [
                    7, "entries"
                    15, "tombstones"
                    23, "key bytes"
                    31, "value bytes"
                    39, "smallest sequence number"
                    47, "largest sequence number"
                    51, "earliest expiry"
                ] do
                let lying = withByte start footer.PropertiesLengthBytes field file

                let findings = fst (checkBytes lying)
                Expect.equal findings.Length 1 name
                Expect.stringContains findings.Head.Reason $"do not: {name} " name
        }

        test "a wrong fingerprint under a right checksum hides a key, and is found" {
            let file = build tinyOptions smallModel
            let handle = dataBlocks file (openOrFail file) |> List.item 1 |> _.Handle
            let start = int handle.OffsetBytes

            // Before the count of entries comes the last fingerprint.
            let lying = withByte start handle.LengthBytes -3 file

            let findings = fst (checkBytes lying)
            Expect.equal findings.Length 1 "one finding"
            Expect.stringContains findings.Head.Reason "a lookup does not find the key" "the reason"
        }

        test "data blocks that do not follow those of the partition before are found, under right checksums" {
            let file =
                build
                    tinyOptions
                    (modelFrom 1UL [ for index in 10..90 -> plainWrite (keyBytes $"key{index}") "value"B ])

            let table = openOrFail file
            Expect.isGreaterThan table.PartitionCount 2 "partitions"

            // The last one's would end behind the data, which is no partition at all.
            for number in 0 .. table.PartitionCount - 2 do
                let handle = table.PartitionHandle number
                // Where its first data block begins, the last byte of it.
                let lying = withByte (int handle.OffsetBytes) handle.LengthBytes -9 file
                let findings = fst (checkBytes lying)

                Expect.isTrue
                    (findings
                     |> List.exists (fun finding ->
                         finding.OffsetBytes = handle.OffsetBytes
                         && finding.Reason.Contains "the partition's data blocks begin at"))
                    $"partition {number}: {findings}"
        }

        property "what could not be read says nothing of the rest: no recount, and no finding where all else is whole"
        <| fun (writes: Write list) (skipped: uint16) (isPartition: bool) ->
            let model = modelFrom 1UL writes

            if not model.IsEmpty then
                let file = build tinyOptions model
                let table = openOrFail file
                let check = TableCheck table
                let at (handle: BlockHandle) = Array.sub file (int handle.OffsetBytes) handle.LengthBytes
                let all = dataBlocks file table
                let chosen = all[int skipped % all.Length]
                let mutable expected = 0L

                for number in 0 .. table.PartitionCount - 1 do
                    if isPartition && number = chosen.In.Number then
                        check.SkipPartition number
                        Expect.equal check.BlockCount 0 "its blocks are unknown"
                    else
                        Expect.isOk (check.Partition(number, at (table.PartitionHandle number), 0)) "a partition"

                        for block in 0 .. check.BlockCount - 1 do
                            let handle = check.BlockHandle block

                            if handle = chosen.Handle then
                                check.Skip()
                            else
                                Expect.isOk (check.Block(block, at handle, 0)) "a block"

                                expected <-
                                    all
                                    |> List.filter (fun other -> other.Handle = handle)
                                    |> List.sumBy (fun other ->
                                        match openData file table other with
                                        | Ok content -> int64 (entriesOfBlock content).Length
                                        | Error corruption -> failtest $"{corruption}")
                                    |> (+) expected

                Expect.equal check.EntryCount expected "the entries of the others"
                Expect.equal check.Recount ValueNone "no recount"

        property "data blocks are read together as far as there is room, one at least, and none twice"
        <| fun (writes: Write list) (room: uint16) ->
            let model = modelFrom 1UL writes

            if not model.IsEmpty then
                let file = build tinyOptions model
                let table = openOrFail file
                let check = TableCheck table

                let runs = [
                    for number in 0 .. table.PartitionCount - 1 do
                        let handle = table.PartitionHandle number
                        let stored = Array.sub file (int handle.OffsetBytes) handle.LengthBytes
                        Expect.isOk (check.Partition(number, stored, 0)) "a partition"
                        let mutable first = 0

                        while first < check.BlockCount do
                            let struct (run, next) = check.Run(first, int room)
                            run, next - first
                            first <- next
                ]

                Expect.equal
                    (runs |> List.collect (fun (run, _) -> [ run.OffsetBytes; run.OffsetBytes + int64 run.LengthBytes ]))
                    (0L :: (runs.Tail |> List.collect (fun (run, _) -> [ run.OffsetBytes; run.OffsetBytes ]))
                     @ [ table.DataLengthBytes ])
                    "no gaps"

                for run, blocks in runs do
                    Expect.isTrue (blocks = 1 || run.LengthBytes <= int room) "within the room"

        test "what the manifest says of a table must be so" {
            let table = openOrFail (build tinyOptions smallModel)
            let meta = table.Meta

            let finds (change: TableMeta) (reason: string) =
                let findings = Check.tableAgainstManifest change table
                Expect.equal findings.Length 1 reason
                Expect.stringContains findings.Head.Reason reason reason

            finds { meta with SizeBytes = 7L } "the manifest says 7 bytes"

            finds
                { meta with Properties = { meta.Properties with SmallestKey = "k y"B } }
                "smallest key k%20y, not key01"

            finds
                { meta with Properties = { meta.Properties with LatestExpirySeconds = 5000u } }
                "latest expiry 5000, not 0"
        }
    ]
