module LsmFs.Engine.Tests.ItemCountTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.StoreModel

let private now = 1_000_000u

let private write (index: int) (value: byte[] voption) (expiry: uint32) : Write = {
    WriteKey = Text.Encoding.ASCII.GetBytes $"key %06d{index}"
    WriteValue = value
    WriteFlags = 0u
    WriteExpirySeconds = expiry
    WriteCas = 0UL
    WriteMarks = EntryMarks.None
}

let private put (index: int) : Write = write index (ValueSome [| byte index |]) 0u
let private delete (index: int) : Write = write index ValueNone 0u

/// Commits writes, a few at a time, and every so often flushes and compacts what is due.
let private commit (store: Store) (writes: Write seq) : unit =
    for chunk in Seq.chunkBySize 50 writes do
        store.Commit(List.ofArray chunk, ValueNone, now)

        if store.Snapshot.Active.SizeBytes > options.MemtableSizeBytes * 4L then
            store.Freeze()
            store.Flush now
            store.Compact now |> ignore

let private exact (store: Store) : int64 =
    let count, isWhole = store.CountItems(now, Int64.MaxValue, 1)
    Expect.isTrue isWhole "counted whole"
    count

/// Fails unless a count by walks is within so many per cent of the truth.
let private expectNear (percent: int64) (expected: int64) (store: Store) (what: string) : unit =
    let count, isWhole = store.CountItems(now, 0L, 128)
    Expect.isFalse isWhole "projected"
    Expect.equal (exact store) expected what

    Expect.isLessThanOrEqual
        (abs (count - expected) * 100L)
        (percent * expected)
        $"%s{what}: %d{count}, not %d{expected}"

/// Keys in an order of chance, each `times` times.
let private shuffled (seed: int) (count: int) (times: int) : int[] =
    let all = Array.init (count * times) (fun index -> index % count)
    Random(seed).Shuffle all
    all

[<Tests>]
let tests =
    testList "ItemCount" [
        test "invariant 1: keys overwritten and deleted in a memtable count once, or not at all" {
            let store = Store()
            Expect.equal (exact store) 0L "nothing was ever written"

            for round in 0..9_999 do
                store.Commit([ put (round % 5) ], ValueNone, now)

            Expect.equal (exact store) 5L "five keys"
            store.Commit([ delete 3; delete 77 ], ValueNone, now)
            Expect.equal (exact store) 4L "one deleted, and one that was never there"
            store.Commit([ write 9 (ValueSome "x"B) (now + 1u); write 1 (ValueSome "x"B) now ], ValueNone, now)
            Expect.equal (exact store) 4L "one that will expire, and one that has"
            store.Freeze()
            store.Flush now
            Expect.equal (exact store) 4L "in a table"
            store.Commit([ put 0; put 1 ], ValueNone, now)
            Expect.equal (exact store) 5L "over a table"
            store.Commit([], ValueSome 0u, now)
            Expect.equal (exact store) 0L "flushed"
            store.Commit([ put 0 ], ValueNone, now)
            Expect.equal (exact store) 1L "written again"
            store.Commit([], ValueSome(now + 1u), now)
            Expect.equal (exact store) 1L "a flush that waits"
            Expect.equal (store.CountItems(now + 1u, Int64.MaxValue, 1)) (0L, true) "and comes due"
        }

        test "invariant 2: a count by walks is near what there is" {
            let count = 20_000
            let seed = Random.Shared.Next()
            let store = Store()
            commit store (Seq.init count put)
            expectNear 1L (int64 count) store $"seed %d{seed}: written once, in order"
            commit store (shuffled seed count 3 |> Seq.map put)
            expectNear 5L (int64 count) store $"seed %d{seed}: overwritten"
            commit store (shuffled (seed + 1) count 1 |> Seq.filter (fun index -> index % 2 = 0) |> Seq.map delete)
            expectNear 5L (int64 count / 2L) store $"seed %d{seed}: half of them deleted, here and there"
            commit store (Seq.init (count / 2) delete)
            expectNear 15L (int64 count / 4L) store $"seed %d{seed}: the first half deleted"
            store.Commit([], ValueSome 0u, now)
            Expect.equal (store.CountItems(now, 0L, 128) |> fst) 0L "flushed"
        }
    ]
