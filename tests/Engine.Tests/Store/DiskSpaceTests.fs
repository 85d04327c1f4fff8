module LsmFs.Engine.Tests.DiskSpaceTests

// What is kept for a full disk, who may use it, and which writes a store takes then.

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

let private optionsOf (mebibytes: int) = Options.ofBudget (int64 (8 + abs mebibytes % 4096) <<< 20)

let private uses = [ SpaceUse.Opening; SpaceUse.Manifest; SpaceUse.Flush; SpaceUse.Compaction; SpaceUse.Removal ]

/// Takes for a use until it may take no more.
let rec private exhaust (options: Options) (use': SpaceUse) (shares: ReserveShares) : ReserveShares =
    match DiskSpace.release options use' 1L shares with
    | ValueSome left -> exhaust options use' left
    | ValueNone -> shares

let private options = {
    Options.ofBudget (8L <<< 20) with
        ChunkSizeBytes = 4096
        MemtableSizeBytes = 20000L
        FrozenMemtableCountMax = 1
}

let private whole = DiskSpace.whole options

let private sound = {
    IsFull = false
    Reserve = whole
    FlushTrouble = DiskTrouble.None
    CompactionTrouble = DiskTrouble.None
    IsFlushing = false
    IsCompacting = false
}

let private full = { sound with IsFull = true }

let private usedUp = { full with Reserve = { whole with RemovalBytes = 0L } }

let private memtableOf (entries: int) : Memtable =
    let memtable = Memtable.Create(ChunkPool(options.ChunkSizeBytes, options.MemtableSizeBytes))

    let editor = memtable.Edit()

    for number in 1..entries do
        let buffer = ByteBuffer 64

        let header = {
            Kind = EntryKind.Tombstone
            Sequence = SequenceNumber(uint64 number)
            Flags = 0u
            ExpirySeconds = 0u
            Cas = 0UL
            Marks = EntryMarks.None
        }

        EntryFormat.append
            buffer
            header
            (System.Text.Encoding.ASCII.GetBytes $"key {number:D8}")
            System.ReadOnlySpan.Empty
        |> ignore

        editor.Put buffer.Written

    editor.Commit()

let private snapshotOf (active: Memtable) (frozenCount: int) : Snapshot =
    Snapshot.recovered
        active
        (FileNumber 9UL)
        (Array.init frozenCount (fun _ -> FrozenMemtable(memtableOf 1, FileNumber 1UL)))
        (Version.empty options.LevelCount)
        (fun _ -> failtest "no tables")
        FlushState.none
        SequenceNumber.zero

let private idle = snapshotOf (memtableOf 1) 0

[<Tests>]
let tests =
    testList "DiskSpace" [
        property
            "the reserve holds a memtable as a table, and the log of as many bytes as its flush gives back"
            (fun size ->
                let options = optionsOf size
                let whole = DiskSpace.whole options

                whole.TableBytes >= options.MemtableSizeBytes
                && whole.RemovalBytes > 0L
                && whole.OpeningBytes > 0L
                && whole.TotalBytes < 2L * options.MemtableSizeBytes)

        property
            "shares of any length add up to it, and the most necessary are whole first"
            (fun size (length: uint32) ->
                let options = optionsOf size
                let whole = DiskSpace.whole options
                let length = int64 length % (whole.TotalBytes + 1L)
                let shares = DiskSpace.ofLength options length

                shares.TotalBytes = length
                && (shares.RemovalBytes = 0L || shares.TableBytes = whole.TableBytes)
                && (shares.TableBytes = 0L || shares.ManifestBytes = whole.ManifestBytes)
                && (shares.ManifestBytes = 0L || shares.OpeningBytes = whole.OpeningBytes))

        property
            "a release gives what is needed or all that may be had, and no share grows"
            (fun size (length: uint32) (needed: uint32) ->
                let options = optionsOf size
                let shares = DiskSpace.ofLength options (int64 length % ((DiskSpace.whole options).TotalBytes + 1L))
                let needed = int64 needed % (64L <<< 20)

                uses
                |> List.forall (fun use' ->
                    match DiskSpace.release options use' needed shares with
                    | ValueNone -> exhaust options use' shares = shares
                    | ValueSome left ->
                        left.OpeningBytes <= shares.OpeningBytes
                        && left.ManifestBytes <= shares.ManifestBytes
                        && left.TableBytes <= shares.TableBytes
                        && left.RemovalBytes <= shares.RemovalBytes
                        && left.TotalBytes < shares.TotalBytes
                        && (shares.TotalBytes - left.TotalBytes >= needed
                            || DiskSpace.release options use' 1L left = ValueNone)))

        testCase "nobody takes what is kept for a more necessary use" (fun () ->
            let leaves = {
                OpeningBytes = whole.OpeningBytes
                ManifestBytes = whole.ManifestBytes
                TableBytes = whole.TableBytes
                RemovalBytes = whole.RemovalBytes
            }

            for use', left in
                [
                    SpaceUse.Removal, { leaves with RemovalBytes = 0L }
                    SpaceUse.Compaction, { leaves with TableBytes = 0L }
                    SpaceUse.Flush, { leaves with TableBytes = 0L; RemovalBytes = 0L }
                    SpaceUse.Manifest, { leaves with ManifestBytes = 0L; TableBytes = 0L; RemovalBytes = 0L }
                    SpaceUse.Opening, DiskSpace.ofLength options 0L
                ] do
                Expect.equal (exhaust options use' whole) left $"what {use'} leaves")

        testCase "a sound disk takes everything, a full one removals, any other nothing" (fun () ->
            for condition, admission in
                [
                    sound, Admission.Everything
                    full, Admission.Removals
                    { sound with FlushTrouble = DiskTrouble.Full }, Admission.Removals
                    { sound with CompactionTrouble = DiskTrouble.Full }, Admission.Removals
                    { full with FlushTrouble = DiskTrouble.ReadOnly }, Admission.Nothing
                    { full with CompactionTrouble = DiskTrouble.Failed }, Admission.Nothing
                    { sound with FlushTrouble = DiskTrouble.Failed }, Admission.Nothing
                ] do
                Expect.equal (Work.admits WritePressure.None idle condition) admission $"%A{condition}")

        testCase
            "removals wait for a flush or a compaction that will give space back, and for nothing that will not"
            (fun () ->
                for pressure, snapshot, condition, admission in
                    [
                        WritePressure.Memtables, idle, sound, Admission.Wait
                        WritePressure.Memtables, idle, full, Admission.Wait
                        WritePressure.Memtables, idle, { full with FlushTrouble = DiskTrouble.Full }, Admission.Nothing
                        WritePressure.Memtables,
                        idle,
                        { full with FlushTrouble = DiskTrouble.Full; IsCompacting = true },
                        Admission.Wait
                        WritePressure.None, snapshotOf (memtableOf 1) 1, full, Admission.Removals
                        WritePressure.None, snapshotOf (memtableOf 1) 1, usedUp, Admission.Wait
                        WritePressure.None, idle, { usedUp with IsFlushing = true }, Admission.Wait
                        WritePressure.None, idle, usedUp, Admission.Removals
                        WritePressure.None, idle, { usedUp with IsCompacting = true }, Admission.Wait
                        WritePressure.None, idle, { full with IsCompacting = true }, Admission.Removals
                        WritePressure.None,
                        snapshotOf (memtableOf 1) 1,
                        { usedUp with FlushTrouble = DiskTrouble.Full },
                        Admission.Removals
                        WritePressure.LevelZero, idle, full, Admission.Wait
                        WritePressure.LevelZero,
                        idle,
                        { full with CompactionTrouble = DiskTrouble.Full },
                        Admission.Removals
                    ] do
                    Expect.equal (Work.admits pressure snapshot condition) admission $"%A{condition}")

        testCase "deletes are flushed for a compaction that has no space, in tables that grow" (fun () ->
            let stuck = { full with CompactionTrouble = DiskTrouble.Full }

            let flushes snapshot condition = Work.shouldFlushForCompaction options snapshot condition
            Expect.isTrue (flushes idle stuck) "nothing in level 0"
            Expect.isFalse (flushes idle full) "no compaction that lacks space"
            Expect.isFalse (flushes idle { stuck with FlushTrouble = DiskTrouble.Full }) "flushes fail too"
            Expect.isFalse (flushes (snapshotOf (memtableOf 0) 0) stuck) "an empty memtable"
            Expect.isFalse (flushes (snapshotOf (memtableOf 1) 1) stuck) "a flush waits"

            // The generated table has the writes 0 to its number.
            for newestBytes, newestNumber, last, expected in
                [
                    options.MemtableSizeBytes, 50UL, 51UL, true
                    options.MemtableSizeBytes / 2L - 1L, 50UL, 51UL, false
                    100L, 50UL, 150UL, false
                    100L, 50UL, 151UL, true
                ] do
                let edit = {
                    VersionEdit.empty with
                        Added = [ 0, tableOf newestNumber "a"B "z"B newestBytes ]
                }

                let snapshot =
                    Snapshot.recovered
                        (memtableOf 1)
                        (FileNumber 99UL)
                        [||]
                        (Version.apply edit (Version.empty options.LevelCount))
                        (fun _ -> Unchecked.defaultof<Table>)
                        FlushState.none
                        (SequenceNumber last)

                Expect.equal
                    (flushes snapshot stuck)
                    expected
                    $"{last} writes, {newestNumber} of them in {newestBytes} bytes")

        testCase "a memtable is frozen early only for the space of its log" (fun () ->
            let freezes snapshot condition logBytes = Work.shouldFreezeForSpace options snapshot condition logBytes
            Expect.isTrue (freezes idle usedUp whole.RemovalBytes) "a long log, and nothing left to lengthen it"
            Expect.isFalse (freezes idle usedUp (whole.RemovalBytes - 1L)) "a short log"
            Expect.isFalse (freezes idle full whole.RemovalBytes) "something left"
            Expect.isFalse (freezes (snapshotOf (memtableOf 0) 0) usedUp whole.RemovalBytes) "an empty memtable"
            Expect.isFalse (freezes (snapshotOf (memtableOf 1) 1) usedUp whole.RemovalBytes) "a flush waits"

            Expect.isFalse
                (freezes idle { usedUp with FlushTrouble = DiskTrouble.Full } whole.RemovalBytes)
                "a flush failed")
    ]
