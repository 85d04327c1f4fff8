module LsmFs.Engine.Tests.FilterBudgetTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators
open LsmFs.Engine.Tests.TableFixtures
open LsmFs.Engine.Tests.CompactionFixtures

/// Levels and a budget: from too little for any filter to more than the most bits take.
type Filters = Filters of levels: LevelRuns list * budgetBits: int64

let private levelGen: Gen<LevelRuns> =
    gen {
        let! runCount = Gen.frequency [ 3, Gen.constant 1; 1, Gen.choose (0, 12) ]
        let! magnitude = Gen.choose (0, 10)
        let! digits = Gen.choose (1, 99)

        return {
            RunCount = runCount
            KeyCount =
                if runCount = 0 then
                    0L
                else
                    int64 digits * pown 10L magnitude
        }
    }

let private filtersGen: Gen<Filters> =
    gen {
        let! count = Gen.choose (1, 7)
        let! levels = Gen.listOfLength count levelGen
        let! tenths = Gen.choose (0, 200)
        let keyCount = levels |> List.sumBy _.KeyCount
        return Filters(levels, keyCount / 10L * int64 tenths + keyCount % 10L)
    }

type FiltersArbitraries =
    static member Filters() = Arb.fromGen filtersGen

let private filtersProperty (name: string) (body: Filters -> bool) =
    let config = config 1000

    ExpectoFsCheck.testPropertyWithConfig
        { config with arbitrary = typeof<FiltersArbitraries> :: config.arbitrary }
        name
        body

let private memoryOf (levels: LevelRuns[]) (bits: int[]) =
    Seq.map2 (fun level count -> level.KeyCount * int64 count) levels bits |> Seq.sum

/// A version whose levels hold tables with these numbers of keys.
let private versionOf (levels: int64 list list) : Version =
    let mutable number = 0UL

    {
        Levels =
            levels
            |> List.map (
                List.map (fun keyCount ->
                    number <- number + 1UL
                    let key = BitConverter.GetBytes number |> Array.rev
                    let table = tableOf number key key (keyCount * 100L)
                    { table with Properties = { table.Properties with EntryCount = keyCount } })
                >> Array.ofList
            )
            |> Array.ofList
    }

let private options = Options.ofBudget (64L <<< 20)

let private bitsOf (version: Version) =
    [ 0 .. version.Levels.Length - 1 ] |> List.map (FilterBudget.bitsPerKey options version)

let private keyCount = 4000

let private entries: Model =
    Map.ofList [
        for number in 1..keyCount ->
            let key = number.ToString "D6" |> keyBytes

            let write = {
                WriteKey = key
                WriteValue = ValueSome [||]
                WriteFlags = 0u
                WriteCas = 0UL
                WriteMarks = EntryMarks.None
                WriteExpirySeconds = 0u
            }

            modelKey key, encode (uint64 number) write
    ]

/// Bytes of what a job writes.
let private sizeOf (disk: Disk) (job: Job) : int =
    match run disk job with
    | Ok outputs -> outputs |> List.sumBy _.File.Length
    | Error corruption -> failtest $"%O{corruption}"

let private snapshotOf (version: Version) (frozen: FrozenMemtable[]) (readerOf: FileNumber -> Table) : Snapshot =
    let active = Memtable.Create(ChunkPool(4096, 4096L))
    Snapshot.recovered active (FileNumber 9UL) frozen version readerOf FlushState.none (SequenceNumber 4000UL)

/// Far more keys than the jobs here write.
let private farLarger = 10_000L * int64 keyCount

/// So many bytes of filter more have the keys of a small level at least, beside a large one.
let private gainedBytes = keyCount * 4 / 8

[<Tests>]
let tests =
    testList "FilterBudget" [
        filtersProperty
            "stays within the budget, unless that is not enough for the fewest bits"
            (fun (Filters(levels, budgetBits)) ->
                let levels = Array.ofList levels
                let bits = FilterBudget.divide levels budgetBits
                let fewest = Array.replicate levels.Length FilterBudget.bitsPerKeyMin

                Array.forall
                    (fun count -> count >= FilterBudget.bitsPerKeyMin && count <= FilterBudget.bitsPerKeyMax)
                    bits
                && memoryOf levels bits <= max budgetBits (memoryOf levels fewest))

        filtersProperty "lets no more through than the same bits in every level" (fun (Filters(levels, budgetBits)) ->
            let levels = Array.ofList levels
            let bits = FilterBudget.divide levels budgetBits
            let expected = FilterBudget.expectedFalsePositives levels bits

            Seq.init (FilterBudget.bitsPerKeyMax + 1) (Array.replicate levels.Length)
            |> Seq.filter (fun same -> memoryOf levels same <= budgetBits)
            |> Seq.forall (fun same -> expected <= FilterBudget.expectedFalsePositives levels same))

        filtersProperty
            "gives a run with fewer keys no fewer bits, within what whole bits allow"
            (fun (Filters(levels, budgetBits)) ->
                let levels =
                    levels |> List.filter (fun level -> level.RunCount = 1) |> List.sortBy _.KeyCount |> Array.ofList

                let bits = FilterBudget.divide levels budgetBits
                bits |> Array.pairwise |> Array.forall (fun (smaller, larger) -> smaller >= larger))

        testCase "a grown store has more bits above and fewer below, and reads half as much in vain" (fun () ->
            let keyCounts = [ 80_000L; 640_000L; 5_000_000L ]

            let version =
                versionOf ([ 20_000L; 20_000L; 20_000L; 20_000L ] :: (keyCounts |> List.map List.singleton))

            let bits = bitsOf version
            Expect.equal bits (List.sortDescending bits) "from many to few"
            Expect.isGreaterThan bits[0] options.BloomBitsPerKey "level 0"
            Expect.isLessThanOrEqual (List.last bits) options.BloomBitsPerKey "the bottom"

            let levels =
                keyCounts
                |> List.map (fun keyCount -> { RunCount = 1; KeyCount = keyCount })
                |> List.append [ { RunCount = 4; KeyCount = 80_000L } ]
                |> Array.ofList

            let expected = FilterBudget.expectedFalsePositives levels (Array.ofList bits)
            let same = FilterBudget.expectedFalsePositives levels (Array.replicate 4 options.BloomBitsPerKey)
            Expect.isLessThan expected (same / 2.0) "false positives")

        testCase
            "a store far larger than its memory has fewer bits, but not too few, and upper levels keep theirs"
            (fun () ->
                let version = versionOf [ []; [ 1_000_000L ]; [ 8_000_000L ]; [ 64_000_000L; 64_000_000L ] ]
                let bits = bitsOf version
                Expect.equal (List.last bits) FilterBudget.bitsPerKeyMin "the bottom"
                Expect.equal bits[1] FilterBudget.bitsPerKeyMax "level 1")

        testCase "an empty store, and one without filters, get what was asked for" (fun () ->
            Expect.equal (bitsOf (versionOf [ []; []; [] ])) [ 10; 10; 10 ] "empty"
            let none = { options with BloomBitsPerKey = 0 }
            Expect.equal (FilterBudget.bitsPerKey none (versionOf [ [ 100L ]; [ 1000L ] ]) 1) 0 "none")

        testCase "a flush gives its table the bits of level 0" (fun () ->
            let sizeBeside (deeper: int64 list list) =
                let memtable = Memtable.Create(ChunkPool(4096, 1L <<< 20))
                let editor = memtable.Edit()
                // In the order of their sequence numbers, which is that of their keys here.
                entries.Values |> Seq.iter (fun entry -> editor.Put(span entry))
                let frozen = FrozenMemtable(editor.Commit(), FileNumber 1UL)
                let version = versionOf ([ int64 keyCount ] :: deeper)
                // A flush reads no table.
                let snapshot = snapshotOf version [| frozen |] (fun _ -> Unchecked.defaultof<Table>)
                sizeOf (Disk()) (Work.flushJob (JobMemory()) options snapshot frozen 1u)

            let alone = sizeBeside [ []; [] ]
            let above = sizeBeside [ []; [ farLarger ] ]
            Expect.isGreaterThanOrEqual (above - alone) gainedBytes "bytes of filter")

        testCase "a compaction gives its tables the bits of the level they join" (fun () ->
            let disk = Disk()
            let table = disk.Store(options, entries)

            let sizeBeside (deepest: int64 list) =
                let others = versionOf [ []; []; []; deepest ]
                let version = { Levels = Array.updateAt 1 [| table.Meta |] others.Levels }

                let plan = {
                    Reason = CompactionReason.LevelOverTarget
                    Kind = CompactionKind.Merge
                    Inputs = [| 1, table.Meta |]
                    OutputLevel = 2
                }

                sizeOf
                    disk
                    (Work.compactionJob (JobMemory()) options (snapshotOf version [||] (fun _ -> table)) plan 1u)

            Expect.isGreaterThanOrEqual (sizeBeside [ farLarger ] - sizeBeside []) gainedBytes "bytes of filter")
    ]
