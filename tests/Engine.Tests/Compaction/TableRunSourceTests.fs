module LsmFs.Engine.Tests.TableRunSourceTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures
open LsmFs.Engine.Tests.CompactionFixtures

/// Walks a source to its end and checks what it reads on the way.
let private walk (disk: Disk) (bounds: KeyBounds) (readLengthBytesMax: int) (source: TableRunSource) : byte[] list =
    let entries = ResizeArray()
    let mutable state = source.MoveNext()

    while state <> SourceState.Exhausted do
        if state = SourceState.Ready then
            let entry = source.Current
            entries.Add(entry.Bytes.ToArray())
        else
            Expect.equal (source.MoveNext()) SourceState.NeedsBlock "it waits until it is supplied"
            let read = source.Wanted

            let blocks =
                [ for number in 0 .. read.Table.PartitionCount - 1 -> read.Table.PartitionHandle number ]
                @ (dataBlocks (disk.File read.Table) read.Table |> List.map _.Handle)

            let isOneBlock = List.contains read.Handle blocks
            Expect.isTrue (isOneBlock || read.Handle.LengthBytes <= readLengthBytesMax) "reads keep to their size"
            Expect.exists blocks (fun block -> block.OffsetBytes = read.Handle.OffsetBytes) "and begin with a block"

            match bounds.Until with
            | ValueSome until ->
                let order = ReadOnlySpan<byte>(read.Table.Properties.SmallestKey).SequenceCompareTo until
                Expect.isLessThan order 0 "no table beyond the bounds is read"
            | ValueNone -> ()

            disk.Read read
            Expect.isOk (source.Supply()) "supplied"

        state <- source.MoveNext()

    Expect.equal (source.MoveNext()) SourceState.Exhausted "it stays exhausted"
    List.ofSeq entries

let private bounded (from: Key option) (until: Key option) (model: Model) : Model =
    model
    |> Map.filter (fun key _ ->
        (match from with
         | Some(Key from) -> String.CompareOrdinal(key, modelKey from) >= 0
         | None -> true)
        && (match until with
            | Some(Key until) -> String.CompareOrdinal(key, modelKey until) < 0
            | None -> true))

let private boundsOf (from: Key option) (until: Key option) : KeyBounds =
    let bytes =
        function
        | Some(Key key) -> ValueSome key
        | None -> ValueNone

    { From = bytes from; Until = bytes until }

[<Tests>]
let tests =
    testList "TableRunSource" [
        property
            "yields the run's entries within the bounds, whatever it reads at once"
            (fun (writes: Write list) (from: Key option) (until: Key option) (perTable: byte) (readLength: uint16) ->
                let model = modelFrom 1UL writes
                let disk = Disk()
                let tables = disk.StoreRun(tinyOptions, 1 + int perTable % 20, model)
                let readLength = int readLength % 4000
                let bounds = boundsOf from until
                let source = TableRunSource(tables, bounds, readLength)

                Expect.equal
                    (walk disk bounds readLength source)
                    (List.ofSeq (bounded from until model).Values)
                    "entries")

        property
            "a walk from a key begins with one block, reads at most twice as much from read to read, and ends with as much as it may"
            (fun (first: Write) (rest: Write list) (from: Key) ->
                let model = modelFrom 1UL (first :: rest)
                let disk = Disk()
                let table = disk.Store(tinyOptions, model)
                let source = TableRunSource([| table |], boundsOf (Some from) None, 20_000)

                let blockOffsets = dataBlocks (disk.File table) table |> List.map _.Handle.OffsetBytes |> Set.ofList

                let reads = System.Collections.Generic.List<int>()
                let mutable state = source.MoveNext()

                while state <> SourceState.Exhausted do
                    if state = SourceState.NeedsBlock then
                        let read = source.Wanted
                        let stop = read.Handle.OffsetBytes + int64 read.Handle.LengthBytes

                        let blocksRead =
                            blockOffsets
                            |> Set.filter (fun offset -> offset >= read.Handle.OffsetBytes && offset < stop)

                        if not blocksRead.IsEmpty then
                            if reads.Count = 0 then
                                Expect.equal blocksRead.Count 1 "one block"
                            elif blocksRead.Count > 1 then
                                Expect.isLessThanOrEqual
                                    read.Handle.LengthBytes
                                    (min 20_000 (4096 <<< reads.Count))
                                    "no longer than that"

                            reads.Add read.Handle.LengthBytes

                        disk.Read read
                        Expect.isOk (source.Supply()) "supplied"

                    state <- source.MoveNext())

        property
            "reads nothing outside of the bounds"
            (fun (first: Write) (rest: Write list) (from: Key) (until: Key) ->
                let model = modelFrom 1UL (first :: rest)
                let disk = Disk()
                let table = disk.Store(tinyOptions, model)
                let source = TableRunSource([| table |], boundsOf (Some from) (Some until), 1_000_000)
                let (Key from), (Key until) = from, until
                let blocks = dataBlocks (disk.File table) table

                /// The last separator up to which everything is smaller than a key is before it.
                let isBefore (key: byte[]) (block: DataBlock) =
                    (Partition.separator block.In.Content block.Block).SequenceCompareTo(span key) < 0

                let mutable state = source.MoveNext()

                while state <> SourceState.Exhausted do
                    if state = SourceState.NeedsBlock then
                        let read = source.Wanted
                        let stop = read.Handle.OffsetBytes + int64 read.Handle.LengthBytes

                        for block in blocks do
                            let isRead =
                                block.Handle.OffsetBytes >= read.Handle.OffsetBytes && block.Handle.OffsetBytes < stop

                            if isRead then
                                Expect.isFalse (isBefore from block) "nothing before the first block for the first key"

                                match blocks |> List.tryFind (isBefore until >> not) with
                                | Some last ->
                                    Expect.isLessThanOrEqual
                                        block.Handle.OffsetBytes
                                        last.Handle.OffsetBytes
                                        "nothing behind the last for the last"
                                | None -> ()

                        disk.Read read
                        Expect.isOk (source.Supply()) "supplied"

                    state <- source.MoveNext())

        test "tables that overlap are no run" {
            let disk = Disk()

            let write key : Write = {
                WriteKey = keyBytes key
                WriteValue = ValueNone
                WriteFlags = 0u
                WriteExpirySeconds = 0u
                WriteCas = 0UL
                WriteMarks = EntryMarks.None
            }

            let left = disk.Store(tinyOptions, modelFrom 1UL [ write "a"; write "c" ])
            let right = disk.Store(tinyOptions, modelFrom 1UL [ write "c"; write "d" ])

            Expect.throwsT<InvalidOperationException>
                (fun () -> TableRunSource([| left; right |], KeyBounds.all, 100) |> ignore)
                "one key in both"
        }
    ]
