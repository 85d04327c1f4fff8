module LsmFs.Engine.Tests.ItemCountTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.ManifestGenerators

/// A table with these many entries and tombstones whose newest write is `sequence`.
let private table (sequence: uint64) (entries: int64) (tombstones: int64) (latestExpiry: uint32) : TableMeta =
    let table = tableOf sequence "a"B "z"B 1000L

    {
        table with
            Properties = {
                table.Properties with
                    EntryCount = entries
                    TombstoneCount = tombstones
                    LatestExpirySeconds = latestExpiry
            }
    }

let private estimate (tables: TableMeta list) (flush: FlushState) (lastSequence: uint64) : int64 =
    let version = { Levels = [| Array.ofList tables; [||] |] }
    let memtable = Memtable.Create(ChunkPool(4096, 4096L))

    let snapshot =
        Snapshot.recovered
            memtable
            (FileNumber 1UL)
            [||]
            version
            (fun _ -> Unchecked.defaultof<Table>)
            flush
            (SequenceNumber lastSequence)

    ItemCount.estimate snapshot 1000u

let private flushed (through: uint64) : FlushState = { Through = SequenceNumber through; PendingAtSeconds = 0u }

[<Tests>]
let tests =
    testList "ItemCount" [
        test "nothing was ever written" { Expect.equal (estimate [] FlushState.none 0UL) 0L "none" }

        test "writes that are in no table yet count one each" {
            Expect.equal (estimate [ table 60UL 50L 0L 0u ] FlushState.none 65UL) 55L "50 and 5"
        }

        test "a tombstone is no item, and hides one" {
            Expect.equal (estimate [ table 60UL 10L 4L 0u; table 50UL 50L 0L 0u ] FlushState.none 60UL) 52L "6 and 46"

            Expect.equal (estimate [ table 9UL 4L 4L 0u ] FlushState.none 9UL) 0L "never below zero"
        }

        test "what is flushed counts no more" {
            let tables = [ table 60UL 10L 0L 0u; table 50UL 50L 0L 0u ]
            Expect.equal (estimate tables (flushed 50UL) 60UL) 10L "the older table"
            Expect.equal (estimate tables (flushed 61UL) 61UL) 0L "all"
            Expect.equal (estimate tables (flushed 61UL) 64UL) 3L "all but what came later"

            let due: FlushState = { flushed 0UL with PendingAtSeconds = 1000u }
            let pending: FlushState = { flushed 0UL with PendingAtSeconds = 1001u }
            Expect.equal (estimate tables due 60UL) 0L "a flush whose time has come"
            Expect.equal (estimate tables pending 60UL) 60L "one that waits"
        }

        test "a table that has expired whole counts no more" {
            let tables = [ table 60UL 10L 0L 1000u; table 50UL 50L 0L 1001u ]
            Expect.equal (estimate tables FlushState.none 60UL) 50L "the one that goes on"
        }
    ]
