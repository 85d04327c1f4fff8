/// What salvage decides beside the blocks of tables: which logs are read, which batches are believed, what is told of a loss, and what the new store is.
module LsmFs.Engine.Tests.SalvagePlanTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures
open LsmFs.Engine.Tests.CompactionFixtures

let private smallest = Options.ofBudget Options.memoryBudgetBytesMin

let private stateFrom (oldestLog: uint64) : ManifestState = {
    ManifestReplay.initial smallest.LevelCount with
        OldestLog = FileNumber oldestLog
}

/// Which of these batches ascend, and from what on the next ones must: of one that does not, nothing counts.
let private ascending (last: uint64) (batches: uint64 list list) : bool list * uint64 =
    batches
    |> List.mapFold
        (fun last batch ->
            let isAscending = List.pairwise (last :: batch) |> List.forall (fun (before, next) -> before < next)
            isAscending, (if isAscending then List.last (last :: batch) else last))
        last

[<Tests>]
let tests =
    testList "SalvagePlan" [
        property
            "the logs that the manifest needs are read, oldest first, and one that it needs and that is gone is told"
            (fun (oldest: byte) (numbers: byte list) ->
                let oldest = uint64 oldest % 12UL
                let numbers = numbers |> List.map (fun number -> uint64 number % 16UL) |> List.distinct

                let files =
                    StoreFile.Current
                    :: StoreFile.Table(FileNumber 3UL)
                    :: List.map (FileNumber >> StoreFile.Log) numbers

                let struct (read, losses) = Salvage.logs (ValueSome(stateFrom oldest)) files
                let needed = numbers |> List.filter (fun number -> number >= oldest) |> List.sort
                Expect.equal (read |> List.map _.Value) needed "what is read"
                let isGone = oldest > 0UL && not needed.IsEmpty && needed.Head > oldest

                Expect.equal
                    (losses |> List.map _.Damage.File)
                    (if isGone then
                         [ FileName.ofFile (StoreFile.Log(FileNumber oldest)) ]
                     else
                         [])
                    "what is told"

                let struct (all, none) = Salvage.logs ValueNone files
                Expect.equal (all |> List.map _.Value) (List.sort numbers) "without a manifest"
                Expect.isEmpty none "of which nothing is known to be gone")

        property
            "a batch whose sequence numbers do not ascend from those before is not believed, and is told; the others are"
            (fun (logs: byte list list list) ->
                let logs = logs |> List.map (List.map (List.map uint64))

                let salvaged =
                    logs
                    |> List.mapi (fun index batches ->
                        let number = uint64 index + 1UL
                        Salvage.log (FileNumber number) (CheckTests.logOf number batches))

                let expected = logs |> List.mapFold ascending 0UL |> fst

                for log, before, batches in List.zip3 (Salvage.believable salvaged) salvaged expected do
                    let kept =
                        List.zip (List.ofArray before.Log.Replay.Frames) batches |> List.filter snd |> List.map fst

                    Expect.equal (List.ofArray log.Log.Replay.Frames) kept "the batches that are believed"
                    Expect.equal log.Losses.Length (batches |> List.filter not |> List.length) "the others are told"

                    for loss in log.Losses do
                        Expect.equal loss.Damage.File (FileName.ofFile (StoreFile.Log log.Log.Number)) "by their file")

        property
            "the new store has the newest entry of each key, if it is live, in tables and a manifest that a check finds whole"
            (fun (history: History) (shape: int) (through: byte) (now: uint32) ->
                let disk = Disk()
                let flush = { FlushState.none with Through = SequenceNumber(uint64 through % 8UL) }

                let outputs =
                    match run disk (Salvage.job tinyOptions (openSources disk shape history) flush now) with
                    | Ok outputs -> outputs
                    | Error corruption -> failtest $"{corruption}"

                let live =
                    newest history
                    |> Map.filter (fun _ bytes ->
                        let entry = entryOf bytes

                        entry.Sequence > flush.Through
                        && entry.Kind <> EntryKind.Tombstone
                        && not (entry.IsExpired now))

                Expect.equal (entriesOf outputs) (List.ofSeq live.Values) "what is saved"

                let tables =
                    outputs
                    |> List.mapi (fun index output -> {
                        Number = FileNumber(uint64 index + 1UL)
                        SizeBytes = int64 output.File.Length
                        Properties = output.Properties
                    })

                // Logs may go further than what was saved of them.
                let last = SequenceNumber 3UL
                let state = Salvage.state tinyOptions tables last flush
                let manifest = FileNumber 77UL
                Expect.isEmpty (Check.levels manifest state) "the levels"

                Expect.isEmpty
                    (Check.files manifest state [
                        StoreFile.Current
                        StoreFile.Manifest manifest
                        for table in tables do
                            StoreFile.Table table.Number
                    ])
                    "the files"

                Expect.equal state.Flush flush "the flush"
                Expect.isGreaterThanOrEqual state.LastSequence last "the last sequence number")

        test "a loss is told in one line, with the keys when they are known" {
            let damage = { File = "000007.sst"; OffsetBytes = 12L; Reason = "it is cut off" }
            let unknown = Salvage.lostTable damage 300L ValueNone

            Expect.equal
                (Salvage.describe unknown)
                "000007.sst: offset 12: it is cut off; 300 bytes, which keys were in them is not known"
                "a table that no manifest knows"

            let meta = ManifestGenerators.tableOf 7UL "a b"B "c"B 300L
            let known = Salvage.lostTable damage 300L (ValueSome meta)

            Expect.equal
                (Salvage.describe known)
                "000007.sst: offset 12: it is cut off; 300 bytes, keys from a%20b to c, up to sequence number 7"
                "one that it knows"

            let between = {
                known with
                    Keys =
                        known.Keys
                        |> ValueOption.map (fun keys -> { keys with IncludesFrom = false; IncludesTo = false })
            }

            Expect.stringContains (Salvage.describe between) "keys behind a%20b to before c," "between two keys"
        }

        test "a log that was never used has nothing to save and nothing lost" {
            for bytes in [ [||]; "LsmFs"B; Array.zeroCreate 4096 ] do
                let log = Salvage.log (FileNumber 5UL) bytes
                Expect.isEmpty log.Log.Replay.Frames "frames"
                Expect.isEmpty log.Losses "losses"
                Expect.equal log.TornEnd ValueNone "torn end"
        }
    ]
