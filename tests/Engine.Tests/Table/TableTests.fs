module LsmFs.Engine.Tests.TableTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

let private plain (key: string) (value: string) : Write = {
    WriteKey = keyBytes key
    WriteValue = ValueSome(keyBytes value)
    WriteFlags = 0u
    WriteExpirySeconds = 0u
    WriteCas = 0UL
    WriteMarks = EntryMarks.None
}

/// Seven entries in three blocks, with every kind of field.
let private smallModel: Model =
    modelFrom 1UL [
        plain "apple" "red"
        { plain "apricot" "orange" with WriteFlags = 7u }
        { plain "banana" "yellow" with WriteExpirySeconds = 1_900_000_000u }
        { plain "cherry" (String('r', 90)) with WriteCas = 99UL }
        { plain "date" "" with WriteValue = ValueNone }
        { plain "elder\000\255" "" with WriteFlags = 1u; WriteExpirySeconds = 5u }
        plain "fig" "purple"
    ]

let private smallOptions = { tinyOptions with BlockSizeBytes = 128 }

let private expectedProperties (model: Model) : TableProperties =
    let entries = model.Values |> Seq.map entryOf |> List.ofSeq

    let lifetimes =
        entries
        |> List.map (fun entry ->
            if entry.Kind = EntryKind.Value then
                entry.ExpirySeconds
            else
                0u)

    let sequences = entries |> List.map _.Sequence

    {
        EntryCount = int64 model.Count
        TombstoneCount = entries |> Seq.filter (fun entry -> entry.Kind = EntryKind.Tombstone) |> Seq.length |> int64
        KeyBytes = entries |> Seq.sumBy (fun entry -> int64 entry.KeyLength)
        ValueBytes = entries |> Seq.sumBy (fun entry -> int64 entry.ValueLength)
        SmallestKey = keyBytes (Seq.head model.Keys)
        LargestKey = keyBytes (Seq.last model.Keys)
        SmallestSequence = List.min sequences
        LargestSequence = List.max sequences
        EarliestExpirySeconds =
            lifetimes |> List.filter ((<>) 0u) |> List.sort |> List.tryHead |> Option.defaultValue 0u
        LatestExpirySeconds =
            if List.contains 0u lifetimes then
                0u
            else
                List.max lifetimes
    }

/// Reads a whole table as scrubbing does: opens it and verifies every block.
let private readWhole (file: byte[]) : Result<byte[] list, Corruption> = openBytes file |> Result.bind (readAll file)

let private detected (what: string) (file: byte[]) =
    match readWhole file with
    | Ok _ -> failtest $"%s{what} was not detected"
    | Error corruption ->
        Expect.equal corruption.File fileName "the file is named"
        Expect.isNotEmpty corruption.Reason "there is a reason"

[<Tests>]
let tests =
    testList "Table" [
        property "is read back whole, with its properties" (fun (first: Write) (rest: Write list) (takeEvery: byte) ->
            let model = modelFrom 9UL (first :: rest)
            let options = { tinyOptions with Compression = enum<Compression>(int takeEvery % 3) }
            let file, properties = buildTaking (1 + int takeEvery) options model
            let table = openOrFail file
            Expect.equal properties (expectedProperties model) "as counted"
            Expect.equal table.Properties properties "as stored"
            Expect.equal table.Meta.SizeBytes file.LongLength "size"
            Expect.equal (readAll file table) (Ok(List.ofSeq model.Values)) "entries")

        property "finds exactly its keys" (fun (first: Write) (rest: Write list) (others: Key list) (bits: byte) ->
            let model = modelFrom 1UL (first :: rest)

            let file =
                build
                    {
                        tinyOptions with
                            BloomBitsPerKey = int bits % 14
                            BlockSizeBytes = 30 + 10 * int bits
                            Compression = enum<Compression>(int bits % 3)
                    }
                    model

            let table = openOrFail file

            for key in Seq.append (Seq.map keyBytes model.Keys) (Seq.map (fun (Key key) -> key) others) do
                Expect.equal (find file table key |> ValueOption.toOption) (Map.tryFind (modelKey key) model) "found")

        property "knows the first partition for any key" (fun (first: Write) (rest: Write list) (Key from) ->
            let model = modelFrom 1UL (first :: rest)
            let file = build tinyOptions model
            let table = openOrFail file
            let from = modelKey from
            let partition = table.FirstPartitionAtOrAfter(span (keyBytes from))

            let keysOf (isWanted: int -> bool) =
                dataBlocks file table
                |> List.filter (fun block -> isWanted block.In.Number)
                |> List.collect (fun block ->
                    match openData file table block with
                    | Ok content -> entriesOfBlock content
                    | Error corruption -> failtest $"%O{corruption}")
                |> List.map (fun entry ->
                    let entry = entryOf entry
                    modelKey (entry.Key.ToArray()))

            let isBefore key = String.CompareOrdinal(key, from) < 0
            Expect.isTrue (keysOf (fun number -> number < partition) |> List.forall isBefore) "nothing is missed"
            let rest = keysOf (fun number -> number >= partition) |> List.filter (isBefore >> not)
            Expect.equal rest (model.Keys |> Seq.filter (isBefore >> not) |> List.ofSeq) "everything follows"

            if partition < table.PartitionCount - 1 then
                Expect.exists
                    (keysOf (fun number -> number = partition + 1))
                    (isBefore >> not)
                    "and no partition more than one is read in vain")

        property "blocks keep to their size unless they hold one entry" (fun (first: Write) (rest: Write list) ->
            let file = build tinyOptions (modelFrom 1UL (first :: rest))
            let table = openOrFail file

            for block in dataBlocks file table do
                match openData file table block with
                | Error corruption -> failtest $"%O{corruption}"
                | Ok content ->
                    let isSingle = (entriesOfBlock content).Length = 1

                    Expect.isTrue
                        (isSingle || content.Length <= tinyOptions.BlockSizeBytes)
                        $"block %d{block.Block} of partition %d{block.In.Number}")

        test "partitions keep to their size" {
            let writes = [ for number in 100..999 -> plain $"key%d{number}" "value" ]
            let options = { tinyOptions with PartitionSizeBytes = 300 }
            let table = openOrFail (build options (modelFrom 1UL writes))
            let file = build options (modelFrom 1UL writes)
            Expect.isGreaterThan table.PartitionCount 10 "there are many"

            for number in 0 .. table.PartitionCount - 1 do
                match openPartition file table number with
                // One block more, and the rest of a line of the filter.
                | Ok partition -> Expect.isLessThan partition.Content.Length (300 + 100 + 64) $"partition %d{number}"
                | Error corruption -> failtest $"%O{corruption}"
        }

        test "every damaged byte is detected" {
            let file = build smallOptions smallModel
            Expect.equal (dataBlocks file (openOrFail file)).Length 3 "blocks"
            Expect.equal (readWhole file) (Ok(List.ofSeq smallModel.Values)) "whole"

            for offset in 0 .. file.Length - 1 do
                for flip in [ 1uy; 2uy; 4uy; 8uy; 16uy; 32uy; 64uy; 128uy; 255uy; 0x5Auy ] do
                    file[offset] <- file[offset] ^^^ flip
                    detected $"flip of %d{flip} at %d{offset}" file
                    file[offset] <- file[offset] ^^^ flip
        }

        propertyOf
            50
            "any damaged byte of any table is detected"
            (fun (first: Write) (rest: Write list) (at: int) (flip: byte) ->
                let file = build tinyOptions (modelFrom 1UL (first :: rest))
                let offset = int (uint32 at % uint32 file.Length)
                file[offset] <- file[offset] ^^^ max 1uy flip
                detected $"flip of %d{flip} at %d{offset}" file)

        test "every truncation, and every byte too many, is detected" {
            let file = build smallOptions smallModel

            for length in 0 .. file.Length - 1 do
                detected $"truncation to %d{length}" (Array.truncate length file)

            detected "a byte too many" (Array.append file [| 0uy |])
            detected "a byte too many in front" (Array.append [| 0uy |] file)
            detected "a file twice" (Array.append file file)
        }

        test "a block in the place of another is detected" {
            let options = { tinyOptions with BlockSizeBytes = 60 }
            let writes = [ for letter in 'a' .. 'f' -> plain (string letter) "value" ]
            let file = build options (modelFrom 1UL writes)
            let table = openOrFail file
            let blocks = dataBlocks file table
            Expect.equal blocks.Length 3 "blocks"

            for source, target in Seq.allPairs [ 0..2 ] [ 0..2 ] do
                if source <> target then
                    let from, into = blocks[source].Handle, blocks[target].Handle
                    Expect.equal from.LengthBytes into.LengthBytes "blocks of one size"
                    let damaged = Array.copy file
                    Array.Copy(file, from.OffsetBytes, damaged, into.OffsetBytes, int64 from.LengthBytes)
                    detected $"block %d{source} at the place of block %d{target}" damaged
        }

        test "one builder builds many tables" {
            let builder = TableBuilder smallOptions

            for _ in 1..3 do
                for entry in smallModel.Values do
                    builder.Add(span entry)

                builder.Finish() |> ignore
                Expect.equal (builder.Output.ToArray()) (build smallOptions smallModel) "the same bytes"
                builder.Reset()
        }

        test "a builder refuses what is no table" {
            let refuses (what: string) (body: TableBuilder -> unit) =
                Expect.throwsT<InvalidOperationException> (fun () -> body (TableBuilder smallOptions)) what

            let a, b = encode 1UL (plain "a" "1"), encode 2UL (plain "b" "2")
            refuses "a table without entries" (fun builder -> builder.Finish() |> ignore)

            refuses "a descending key" (fun builder ->
                builder.Add(span b)
                builder.Add(span a))

            refuses "a key twice" (fun builder ->
                builder.Add(span a)
                builder.Add(span a))

            refuses "half an entry" (fun builder -> builder.Add(span a[..16]))
            refuses "an entry and a half" (fun builder -> builder.Add(span (Array.append a b[..10])))

            refuses "a flush" (fun builder ->
                a[6] <- byte EntryKind.FlushAll
                builder.Add(span a))

            refuses "entries after the end" (fun builder ->
                builder.Add(span b)
                builder.Finish() |> ignore
                builder.Add(span b))

            Expect.throwsT<InvalidOperationException>
                (fun () -> TableBuilder { smallOptions with BlockSizeBytes = 65537 } |> ignore)
                "a block size past what offsets can say"
        }

        test "a value larger than the largest block is kept" {
            let model = modelFrom 1UL [ plain "a" "1"; plain "b" (String('x', 200_000)); plain "c" "3" ]
            let file = build { tinyOptions with BlockSizeBytes = 65536 } model
            let table = openOrFail file
            Expect.equal (readAll file table) (Ok(List.ofSeq model.Values)) "entries"
            Expect.equal (dataBlocks file table).Length 3 "a block of its own"
        }
    ]
