module LsmFs.Engine.Tests.SalvageTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

/// A table, its file with some bytes changed in data blocks and partitions, and its entries: those that can be saved, and those that cannot.
type private Damaged = {
    Table: Table
    EndDamage: Corruption voption
    File: byte[]
    DamagedPartitions: int64 list
    Saved: (BlockHandle * Entry list) list
    Lost: (BlockHandle * Entry list) list
} with

    member damaged.SavedEntries: Entry list = damaged.Saved |> List.collect snd
    member damaged.LostEntries: Entry list = damaged.Lost |> List.collect snd

let private entriesIn (file: byte[]) (table: Table) (block: DataBlock) : Entry list =
    match openData file table block with
    | Ok content -> entriesOfBlock content |> List.map entryOf
    | Error corruption -> failtest $"%O{corruption}"

/// Of data blocks in order, those that can be saved: whole ones, and, of damaged partitions that follow each other, those before the first damaged one.
let private splitBySaved (isWholePartition: int -> bool) (isWhole: BlockHandle -> bool) (blocks: DataBlock list) =
    let isSaved (isLeadBroken: bool) (block: DataBlock) =
        if isWholePartition block.In.Number then
            (block, isWhole block.Handle), false
        else
            let isBroken = isLeadBroken || not (isWhole block.Handle)
            (block, not isBroken), isBroken

    let marked = blocks |> List.mapFold isSaved false |> fst
    let saved, lost = marked |> List.partition snd
    List.map fst saved, List.map fst lost

/// Different places within a length, anywhere in it though generated numbers are small.
let private placesIn (length: int) (positions: uint16 list) : int list =
    positions |> List.map (fun position -> int position * 7919 % length) |> List.distinct

let private damage (number: uint64) (positions: uint16 list) (model: Model) : Damaged =
    let codecs = [| Compression.None; Compression.Lz4; Compression.Zstd |]
    let file = build { tinyOptions with Compression = codecs[positions.Length % 3] } model
    let name = FileName.ofFile (StoreFile.Table(FileNumber number))

    let table =
        match openNamed (FileNumber number) name file with
        | Ok table -> table
        | Error corruption -> failtest $"%O{corruption}"

    let last = table.PartitionHandle(table.PartitionCount - 1)
    let length = int last.OffsetBytes + last.LengthBytes
    let changed = Array.copy file

    for position in positions |> placesIn length do
        changed[position] <- changed[position] ^^^ 0x55uy

    let isWhole (handle: BlockHandle) =
        let at (bytes: byte[]) = Array.sub bytes (int handle.OffsetBytes) handle.LengthBytes
        at file = at changed

    let isWholePartition (partition: int) = isWhole (table.PartitionHandle partition)
    let saved, lost = dataBlocks file table |> splitBySaved isWholePartition isWhole
    let withEntries (block: DataBlock) = block.Handle, entriesIn file table block

    {
        Table = table
        EndDamage = ValueNone
        File = changed
        DamagedPartitions = [
            for partition in 0 .. table.PartitionCount - 1 do
                if not (isWholePartition partition) then
                    (table.PartitionHandle partition).OffsetBytes
        ]
        Saved = saved |> List.map withEntries
        Lost = lost |> List.map withEntries
    }

/// What comes out of the merge, with every read carried out on the damaged files.
let private salvage (tables: Damaged list) : Entry list * Loss list * Corruption list =
    let sources =
        tables |> List.map (fun table -> SalvageSource(table.Table, table.EndDamage, 300)) |> Array.ofList

    let merge = Merge [| for source in sources -> source :> EntrySource |]

    let rec go (entries: Entry list) =
        match merge.MoveNext() with
        | SourceState.Ready ->
            let entry = merge.Current
            go (entryOf (entry.Bytes.ToArray()) :: entries)
        | SourceState.NeedsBlock ->
            let read = merge.Wanted
            let file = tables |> List.find (fun table -> obj.ReferenceEquals(table.Table, read.Table)) |> _.File
            Array.Copy(file, read.Handle.OffsetBytes, read.Destination, 0L, int64 read.Handle.LengthBytes)
            Expect.isOk (merge.Supply()) "damage stops nothing"
            go entries
        | _ -> List.rev entries

    let entries = go []
    entries, sources |> Seq.collect _.Losses |> List.ofSeq, sources |> Seq.collect _.Notes |> List.ofSeq

let private keyOf (entry: Entry) = modelKey (entry.Key.ToArray())
let private bytesOf (entry: Entry) = entry.Bytes.ToArray()

let private newest (entries: Entry list) : Map<string, Entry> =
    entries
    |> List.sortBy _.Sequence.Value
    |> List.fold (fun map entry -> Map.add (keyOf entry) entry map) Map.empty

/// Tables of ascending sequence numbers.
let private tablesOf (flushes: (Write list * uint16 list) list) : Damaged list =
    flushes
    |> List.filter (fst >> List.isEmpty >> not)
    |> List.mapFold
        (fun first (writes, positions) ->
            damage first (List.truncate 3 positions) (modelFrom first writes), first + uint64 writes.Length)
        1UL
    |> fst

let private isTold (losses: Loss list) (entry: Entry) : bool =
    losses
    |> List.exists (fun loss ->
        match loss.Keys with
        | ValueNone -> false
        | ValueSome keys ->
            let low = entry.Key.SequenceCompareTo(span keys.From)
            let high = entry.Key.SequenceCompareTo(span keys.To)

            (low > 0 || (low = 0 && keys.IncludesFrom))
            && (high < 0 || (high = 0 && keys.IncludesTo))
            && entry.Sequence <= keys.Newest)

let private frameOf (buffer: ByteBuffer) (seed: uint32) (payload: byte[]) =
    let start = LogFile.startFrame buffer
    buffer.Append(span payload)
    LogFile.finishFrame buffer seed start

[<Tests>]
let tests =
    testList "Salvage" [
        property
            "everything outside damaged blocks is saved, everything lost is told, nothing is invented"
            (fun (flushes: (Write list * uint16 list) list) ->
                let tables = tablesOf flushes
                let saved, losses, notes = salvage tables
                let expected = tables |> List.collect _.SavedEntries |> newest

                Expect.equal
                    (saved |> List.map keyOf)
                    (saved |> List.map keyOf |> List.sortWith (fun left right -> String.CompareOrdinal(left, right)))
                    "in order"

                Expect.equal
                    (saved |> List.map (fun entry -> keyOf entry, bytesOf entry) |> Map.ofList)
                    (expected |> Map.map (fun _ entry -> bytesOf entry))
                    "the newest whole entry of each key"

                for table in tables do
                    let isIn (handle: BlockHandle) (loss: Loss) =
                        loss.Damage.File = table.Table.File
                        && loss.Damage.OffsetBytes < handle.OffsetBytes + int64 handle.LengthBytes
                        && handle.OffsetBytes < loss.Damage.OffsetBytes + loss.LengthBytes

                    for handle, _ in table.Lost do
                        Expect.isTrue (losses |> List.exists (isIn handle)) "every lost block is told"

                    for handle, _ in table.Saved do
                        Expect.isFalse (losses |> List.exists (isIn handle)) "no saved block is told to be lost"

                Expect.equal
                    (losses |> List.sumBy _.LengthBytes)
                    (tables |> List.collect _.Lost |> List.sumBy (fun (handle, _) -> int64 handle.LengthBytes))
                    "the bytes that are lost"

                Expect.equal
                    (notes |> List.map (fun note -> note.File, note.OffsetBytes))
                    [
                        for table in tables do
                            for offset in table.DamagedPartitions -> table.Table.File, offset
                    ]
                    "every damaged partition is noted"

                for entry in tables |> List.collect _.LostEntries do
                    Expect.isTrue (isTold losses entry) $"{keyOf entry} is in what was lost"

                if losses.Length = 1 then
                    for table in tables |> List.filter (fun table -> not table.Lost.IsEmpty) do
                        for entry in table.SavedEntries do
                            Expect.isFalse (isTold losses entry) $"{keyOf entry} is whole, and not told to be lost"

                // Asked in the order of keys, as a scan does.
                let staleness = Salvage.Staleness losses
                let lost = tables |> List.collect _.LostEntries |> newest

                for entry in saved do
                    let mayBeStale = staleness.MayBeStale entry

                    match lost.TryFind(keyOf entry) with
                    | Some newer when newer.Sequence > entry.Sequence ->
                        Expect.isTrue mayBeStale $"{keyOf entry} has a newer entry that is lost"
                    | _ -> Expect.equal mayBeStale (isTold losses entry) (keyOf entry))

        property
            "of a table that was cut off, what lies before the cut is saved, and the rest is told"
            (fun (first: Write) (rest: Write list) (cut: uint16) ->
                let whole = damage 1UL [] (modelFrom 1UL (first :: rest))

                let cut =
                    if cut % 2us = 0us then
                        // Between two blocks, or before the first one.
                        int (fst whole.Saved[int cut / 2 % whole.Saved.Length]).OffsetBytes
                    else
                        int cut * 7919 % whole.File.Length

                let name = whole.Table.File
                let reason = { File = name; OffsetBytes = int64 cut; Reason = "it is cut off" }

                let saved, losses, notes =
                    salvage [
                        {
                            whole with
                                Table = TableReader.withoutEnd whole.Table.Meta name (int64 cut)
                                EndDamage = ValueSome reason
                                File = Array.truncate cut whole.File
                        }
                    ]

                let isBefore (handle: BlockHandle) = handle.OffsetBytes + int64 handle.LengthBytes <= int64 cut
                let before, behind = whole.Saved |> List.partition (fst >> isBefore)

                Expect.equal
                    (saved |> List.map bytesOf)
                    (before |> List.collect snd |> List.map bytesOf)
                    "the blocks before"

                Expect.equal notes [ reason ] "what is wrong"
                Expect.equal losses.Length (if behind.IsEmpty then 0 else 1) "a loss, if there is one"

                for entry in behind |> List.collect snd do
                    Expect.isTrue (isTold losses entry) $"{keyOf entry} is in what was lost"

                for entry in saved do
                    Expect.isFalse (isTold losses entry) $"{keyOf entry} is whole, and not told to be lost")

        property
            "the whole frames of a log are saved, behind damage too, and the rest is told"
            (fun (payloads: byte[] list) (positions: uint16 list) ->
                let number = FileNumber 9UL
                let buffer = ByteBuffer 64
                let seed = LogFile.appendHeader buffer WriteAheadLog number 77UL
                payloads |> List.iter (frameOf buffer seed)
                let file = buffer.ToArray()
                let changed = Array.copy file

                for position in positions |> List.truncate 3 |> placesIn file.Length do
                    changed[position] <- changed[position] ^^^ 0x55uy

                let whole =
                    payloads
                    |> List.mapFold
                        (fun offset payload ->
                            let finish = offset + LogFile.frameHeaderLength + payload.Length
                            (offset, finish, payload), finish)
                        LogFile.headerLength
                    |> fst
                    |> List.filter (fun (start, finish, _) ->
                        ReadOnlySpan<byte>(file, start, finish - start)
                            .SequenceEqual(ReadOnlySpan<byte>(changed, start, finish - start)))

                let struct (frames, gaps) = LogFile.salvage WriteAheadLog number changed

                // Damage in both halves of the header takes the seed with it.
                let isSeedLost = changed[28..31] <> file[28..31] && changed[0..27] <> file[0..27]

                if not isSeedLost then
                    Expect.equal
                        (frames
                         |> Array.map (fun frame -> Array.sub changed frame.PayloadOffset frame.PayloadLength)
                         |> List.ofArray)
                        (whole |> List.map (fun (_, _, payload) -> payload))
                        "the whole frames"

                let told = gaps |> Array.sumBy (fun struct (_, length) -> length)
                let saved = frames |> Array.sumBy (fun frame -> frame.PayloadLength + LogFile.frameHeaderLength)

                let header =
                    if changed[0..31] = file[0..31] then
                        LogFile.headerLength
                    else
                        0

                Expect.equal (told + saved + header) file.Length "every byte is saved or told")

        testCase "a torn end is a note, and a loss when a later log has records" (fun () ->
            let logOf (number: uint64) (tail: byte[]) =
                let buffer = ByteBuffer 64
                let seed = LogFile.appendHeader buffer WriteAheadLog (FileNumber number) 77UL

                frameOf buffer seed (encode number (plainWrite "k"B "v"B))

                buffer.Append(span tail)
                Salvage.log (FileNumber number) (buffer.ToArray())

            let struct (losses, notes) = Salvage.logLosses [ logOf 1UL [||]; logOf 2UL "FRAM"B ]
            Expect.isEmpty losses "nothing is lost"
            Expect.equal (notes |> List.map _.File) [ "000002.wal" ] "a note"
            let struct (losses, notes) = Salvage.logLosses [ logOf 1UL "FRAM"B; logOf 2UL [||] ]

            Expect.equal
                (losses |> List.map (fun loss -> loss.Damage.File, loss.LengthBytes))
                [ "000001.wal", 4L ]
                "a loss"

            Expect.isEmpty notes "no note")

        testCase "tables that the manifest does not name are read when files that it needs are gone" (fun () ->
            let state = {
                ManifestReplay.initial (Options.ofBudget Options.memoryBudgetBytesMin).LevelCount with
                    OldestLog = FileNumber 5UL
                    NextFile = FileNumber 6UL
            }

            let read (files: StoreFile list) =
                let misfit = Salvage.misfit (FileNumber 1UL) state files
                Salvage.tables (ValueSome state) misfit.IsSome files |> List.map fst

            let table = StoreFile.Table(FileNumber 7UL)
            // A crash before the edit that would have named it.
            Expect.isEmpty (read [ table; StoreFile.Log(FileNumber 5UL) ]) "a leftover"
            // The edit that named it, after which log 5 was deleted, is gone.
            Expect.equal (read [ table; StoreFile.Log(FileNumber 6UL) ]) [ FileNumber 7UL ] "what log 5 had"

            Expect.equal
                (Salvage.tables ValueNone false [ table ] |> List.map fst)
                [ FileNumber 7UL ]
                "without a manifest")

        testCase "a log of an unknown version is refused by name" (fun () ->
            let buffer = ByteBuffer 64
            LogFile.appendHeader buffer WriteAheadLog (FileNumber 1UL) 77UL |> ignore
            let bytes = buffer.ToArray()
            Coding.writeU32 (Span<byte> bytes) 8 9u
            Coding.writeU32 (Span<byte> bytes) 28 (Checksum.compute (ReadOnlySpan<byte>(bytes, 0, 28)))
            let log = Salvage.log (FileNumber 1UL) bytes
            Expect.stringContains (string log.Losses.Head.Damage) "format version 9 is not known" "the reason")
    ]
