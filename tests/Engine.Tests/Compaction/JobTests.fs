module LsmFs.Engine.Tests.JobTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures
open LsmFs.Engine.Tests.CompactionFixtures

/// Disjoint ranges from any keys: each two that follow each other.
let private rangesOf (keys: Key list) : KeyRange[] =
    keys
    |> List.map (fun (Key key) -> modelKey key)
    |> List.distinct
    |> List.sortWith (fun left right -> String.CompareOrdinal(left, right))
    |> List.chunkBySize 2
    |> List.map (fun keys -> { Smallest = keyBytes (List.head keys); Largest = keyBytes (List.last keys) })
    |> Array.ofList

let private isBottom (rules: JobRules) (key: string) : bool =
    rules.OlderRanges
    |> Seq.concat
    |> Seq.forall (fun range ->
        String.CompareOrdinal(key, modelKey range.Smallest) < 0
        || String.CompareOrdinal(key, modelKey range.Largest) > 0)

let private tombstoneFor (entry: Entry) : byte[] =
    encode entry.Sequence.Value {
        WriteKey = entry.Key.ToArray()
        WriteValue = ValueNone
        WriteFlags = 0u
        WriteExpirySeconds = 0u
        WriteCas = 0UL
        WriteMarks = EntryMarks.None
    }

/// What becomes of the newest entry of a key, by the rules as they are told: an entry to write, and what to count.
let private fate (rules: JobRules) (key: string) (bytes: byte[]) : byte[] option * string =
    let entry = entryOf bytes

    if entry.Sequence.Value <= rules.FlushedThrough.Value then
        None, "flushed"
    else
        match entry.Kind = EntryKind.Tombstone, entry.IsExpired rules.NowSeconds, isBottom rules key with
        | true, _, true -> None, "tombstone"
        | true, _, false -> Some bytes, "written"
        | false, true, true -> None, "expired"
        | false, true, false -> Some(tombstoneFor entry), "buried"
        | false, false, _ -> Some bytes, "written"

let private keepAll: JobRules = {
    NowSeconds = 0u
    FlushedThrough = SequenceNumber.zero
    OlderRanges = [||]
    GrandparentRanges = [||]
}

let private firstKeyByte (bytes: byte[]) : byte =
    let entry = entryOf bytes
    entry.Key[0]

let private plain (key: string) (value: byte[]) : Write = plainWrite (keyBytes key) value

[<Tests>]
let tests =
    testList "Job" [
        property
            "writes what the rules leave of the fold of its sources, and counts the rest"
            (fun (history: History) (shape: int) (older: Key list list) (now: uint32) (flushed: byte) ->
                let rules = {
                    NowSeconds = now % 3_000_000u
                    FlushedThrough = SequenceNumber(uint64 flushed % 8UL)
                    OlderRanges = older |> List.map rangesOf |> Array.ofList
                    GrandparentRanges = List.tryHead older |> Option.map rangesOf |> Option.defaultValue [||]
                }

                let disk = Disk()
                let job = Job(tinyOptions, openSources disk shape history, rules)

                match run disk job with
                | Error corruption -> failtest $"%O{corruption}"
                | Ok outputs ->
                    let fates = newest history |> Map.toList |> List.map (fun (key, entry) -> fate rules key entry)
                    Expect.equal (entriesOf outputs) (List.choose fst fates) "entries"
                    let count what = fates |> List.filter (fun (_, fate) -> fate = what) |> List.length |> int64

                    Expect.equal
                        job.Counts
                        {
                            WrittenCount = count "written" + count "buried"
                            ShadowedCount = int64 ((sourcesOf history |> List.sumBy _.Count) - fates.Length)
                            FlushedCount = count "flushed"
                            ExpiredCount = count "expired"
                            BuriedCount = count "buried"
                            TombstoneCount = count "tombstone"
                        }
                        "counts")

        property
            "a table overlaps ten tables two levels down at most, and ends no sooner than it must"
            (fun (history: History) (shape: int) ->
                // One table there for each first byte of a key, and one size for all that a job could write.
                let ranges = [|
                    for first in 0..255 -> { Smallest = [| byte first |]; Largest = Array.create 300 (byte first) }
                |]

                let rules = {
                    keepAll with
                        OlderRanges = [| [| { Smallest = [||]; Largest = Array.create 300 255uy } |] |]
                        GrandparentRanges = ranges
                }

                let options = { tinyOptions with TableSizeBytes = System.Int64.MaxValue }
                let disk = Disk()

                match run disk (Job(options, openSources disk shape history, rules)) with
                | Error corruption -> failtest $"%O{corruption}"
                | Ok outputs ->
                    Expect.equal (entriesOf outputs) (newest history |> Map.toList |> List.map snd) "all entries"

                    for output in outputs do
                        let first, last = output.Properties.SmallestKey[0], output.Properties.LargestKey[0]
                        Expect.isLessThan (int last - int first) JobRules.grandparentCountMax "few below it"

                    for left, right in List.pairwise outputs do
                        Expect.isGreaterThanOrEqual
                            (int right.Properties.SmallestKey[0] - int left.Properties.SmallestKey[0])
                            JobRules.grandparentCountMax
                            "the next entry was beyond them")

        property "starts a new table when one is large enough" (fun (history: History) ->
            let disk = Disk()

            match
                run
                    disk
                    (Job(
                        tinyOptions,
                        openSources disk 0 history,
                        {
                            keepAll with
                                OlderRanges = [| [| { Smallest = [||]; Largest = Array.create 300 255uy } |] |]
                        }
                    ))
            with
            | Error corruption -> failtest $"%O{corruption}"
            | Ok outputs ->
                Expect.equal (List.length (entriesOf outputs)) (newest history).Count "nothing is left out"

                for index, output in List.indexed outputs do
                    let entries = entriesOf [ output ]
                    // Entries and their slots, without what each block adds.
                    let least = entries |> List.sumBy (fun entry -> entry.Length + 3)
                    let blockCount = (dataBlocks output.File (openOrFail output.File)).Length
                    let overhead = (2 + StoredBlock.trailerLengthBytes) * blockCount

                    if index < outputs.Length - 1 then
                        Expect.isGreaterThanOrEqual
                            (least + overhead |> int64)
                            tinyOptions.TableSizeBytes
                            "large enough"

                    let withoutLast = least - (List.last entries).Length - 3
                    Expect.isLessThan (int64 withoutLast) tinyOptions.TableSizeBytes "and not larger than need be")

        property "a table that is large enough ends where one below it does" (fun (history: History) ->
            let ranges = [|
                for first in 0..255 ->
                    {
                        Smallest = [| byte first |]
                        Largest = Array.append [| byte first |] (Array.create 300 255uy)
                    }
            |]

            let rules = { keepAll with OlderRanges = [| ranges |]; GrandparentRanges = ranges }
            let disk = Disk()

            match run disk (Job(tinyOptions, openSources disk 0 history, rules)) with
            | Error corruption -> failtest $"%O{corruption}"
            | Ok outputs ->
                Expect.equal (entriesOf outputs) (newest history |> Map.toList |> List.map snd) "all entries"

                for output in outputs do
                    let entries = entriesOf [ output ]
                    // Entries and their slots, without what each block adds.
                    let sizes = entries |> List.scan (fun size entry -> size + int64 (entry.Length + 3)) 0L

                    for (left, right), size in
                        List.zip (List.pairwise entries) (List.truncate (entries.Length - 1) sizes.Tail) do
                        if firstKeyByte left <> firstKeyByte right then
                            Expect.isLessThan size (JobRules.alignedSizeBytes tinyOptions) "too small to end there")

        property
            "names the damaged file instead of believing it"
            (fun (first: Write) (rest: Write list) (at: int) (flip: byte) (readLength: uint16) ->
                let disk = Disk()
                let tables = disk.StoreRun(tinyOptions, 6, modelFrom 1UL (first :: rest))
                let victim = tables[int (uint32 at % uint32 tables.Length)]
                let file = disk.File victim
                let last = victim.PartitionHandle(victim.PartitionCount - 1)
                let offset = uint32 at % uint32 (last.OffsetBytes + int64 last.LengthBytes) |> int
                file[offset] <- file[offset] ^^^ max 1uy flip
                let source = TableRunSource(tables, KeyBounds.all, int readLength)

                match run disk (Job(tinyOptions, [| ListSource(modelFrom 1000UL rest); source |], keepAll)) with
                | Ok _ -> failtest "the damage was not seen"
                | Error corruption ->
                    Expect.equal corruption.File fileName "the file"
                    Expect.isTrue (corruption.OffsetBytes <= int64 offset) "where the damaged block begins")

        property
            "memory that other jobs had before, whether they came to their end or were given up, makes no difference"
            (fun (histories: (History * int) list) (held: uint16) ->
                let memory = JobMemory(int64 held)

                for history, shape in histories do
                    let disk = Disk()
                    let job = Job(tinyOptions, openSourcesIn memory disk shape history, keepAll, memory)

                    if shape % 3 = 0 then
                        job.Next() |> ignore
                    else
                        let files job =
                            match run disk job with
                            | Ok outputs -> outputs |> List.map _.File
                            | Error corruption -> failtest $"%O{corruption}"

                        Expect.equal
                            (files job)
                            (files (Job(tinyOptions, openSources disk shape history, keepAll)))
                            "the same tables"

                    memory.TakeBack()
                    Expect.isLessThanOrEqual memory.HeldBytes (int64 held) "no more is held than may be")

        test "memory is lent again" {
            let memory = JobMemory(1L <<< 20)
            let take () = memory.Take(JobBuffer.Output, 1000)
            let first = take ()
            Expect.isFalse (obj.ReferenceEquals(first, take ())) "what is lent is not lent again"
            memory.TakeBack()
            Expect.equal memory.HeldBytes 2000L "both"
            Expect.isTrue (obj.ReferenceEquals(first, take ()) || obj.ReferenceEquals(first, take ())) "again"
        }

        test "a job that leaves everything out finishes no table" {
            let model = modelFrom 1UL [ plain "a" "1"B; plain "b" "2"B ]
            let job = Job(tinyOptions, [| ListSource model |], { keepAll with FlushedThrough = SequenceNumber 2UL })
            Expect.isTrue (job.Next().IsDone) "done at once"
            Expect.equal job.Counts.FlushedCount 2L "both"
        }

        test "large tables are written piece by piece, without allocating for entries" {
            let options = { tinyOptions with BlockSizeBytes = 4096; TableSizeBytes = 1_000_000L }

            let modelOf (first: int) =
                modelFrom (uint64 first) [
                    for number in 0..9_999 -> plain $"key:%08d{number * 3 + first}" (Array.create 100 (byte number))
                ]

            let models = [ for first in 1..3 -> modelOf first ]
            let disk = Disk()

            let sources () : EntrySource[] = [|
                for model in models -> TableRunSource(disk.StoreRun(options, 4_000, model), KeyBounds.all, 65536)
            |]

            match run disk (Job(options, sources (), keepAll)) with
            | Error corruption -> failtest $"%O{corruption}"
            | Ok outputs ->
                let expected = models |> List.fold (fun all model -> Map.foldBack Map.add model all) Map.empty
                Expect.equal (entriesOf outputs) (List.ofSeq expected.Values) "entries"
                Expect.equal outputs.Length 4 "tables of a megabyte"

            let job = Job(options, sources (), keepAll)
            let before = GC.GetAllocatedBytesForCurrentThread()
            let mutable writes = 0
            let mutable longestStretch = 0L
            let mutable isDone = false

            while not isDone do
                let takenBytes = job.TakenBytes

                match job.Next() with
                | JobStep.Read read ->
                    disk.Read read
                    job.Supply()
                | JobStep.Write _ -> writes <- writes + 1
                | JobStep.Done -> isDone <- true
                | _ -> ()

                longestStretch <- max longestStretch (job.TakenBytes - takenBytes)

            let allocated = GC.GetAllocatedBytesForCurrentThread() - before
            Expect.isGreaterThan writes 12 "pieces"
            // About 850,000 for the buffers of three sources and a builder and the hashes of a table's keys;
            // the smallest object for each of the 30,000 entries would add 720,000.
            Expect.isLessThan allocated 1_200_000L "bytes allocated"

            let longestEntry = models |> Seq.collect Map.values |> Seq.map Array.length |> Seq.max |> int64

            Expect.isLessThan longestStretch (JobRules.stretchBytesMax + longestEntry) "bytes between two steps"

            let allBytes =
                models
                |> List.fold (fun all model -> Map.foldBack Map.add model all) Map.empty
                |> _.Values
                |> Seq.sumBy (fun entry -> int64 entry.Length)

            Expect.equal job.TakenBytes allBytes "bytes of all entries that were not hidden"
        }
    ]
