namespace LsmFs.Engine

open System
open System.Runtime.CompilerServices

/// How a lookup ended, or what it needs to go on.
type LookupOutcome =
    /// The key has a live value.
    | Found = 0
    /// The key has no value.
    | Missing = 1
    /// The key's value has expired.
    | Expired = 2
    /// The key's value was flushed.
    | Flushed = 3
    /// The block that may hold the key has to be read.
    | ReadBlock = 4
    /// The block could not be read, or is damaged: the host's answer where the engine asked for a block.
    | Unreadable = 5

/// One step of a lookup. A struct of plain fields, so that both languages read it without a copy of its cases.
[<Struct; NoEquality; NoComparison>]
type LookupStep = {
    Outcome: LookupOutcome
    /// The value, when found.
    Entry: Entry
    /// The block that is needed.
    Request: BlockRequest
    /// The hash of the key, once a table was asked.
    Hash: uint64
    /// Where the lookup goes on: a level, and a place in it.
    Level: int
    Index: int
}

/// Finding the newest entry of a key: newest memtable first, then the tables by level; of a table first the partition with filter and index, then the
/// data block.
/// The caller reads the blocks: `start` and `resume` only compute. Nothing is allocated.
[<RequireQualifiedAccess>]
module Lookup =

    let inline private ended (outcome: LookupOutcome) : LookupStep = {
        Outcome = outcome
        Entry = Unchecked.defaultof<Entry>
        Request = Unchecked.defaultof<BlockRequest>
        Hash = 0UL
        Level = 0
        Index = 0
    }

    /// What the newest entry of a key means for its readers.
    let private judge (flush: FlushState) (nowSeconds: uint32) (entry: Entry) : LookupStep =
        if entry.Kind <> EntryKind.Value then
            ended LookupOutcome.Missing
        elif flush.Covers(entry.Sequence, nowSeconds) then
            ended LookupOutcome.Flushed
        elif entry.IsExpired nowSeconds then
            ended LookupOutcome.Expired
        else
            { ended LookupOutcome.Found with Entry = entry }

    /// The first table of a deeper level whose largest key is not below `key`; the level's length when there is none.
    let private tableAt (tables: Table[]) (key: ReadOnlySpan<byte>) : int =
        let mutable low = 0
        let mutable high = tables.Length

        while low < high do
            let middle = (low + high) >>> 1

            if ReadOnlySpan<byte>(tables[middle].Properties.LargestKey).SequenceCompareTo key < 0 then
                low <- middle + 1
            else
                high <- middle

        low

    /// The next table, from `level` and `index` on, that may hold the key.
    let private search
        (snapshot: Snapshot)
        (key: ReadOnlySpan<byte>)
        (hash: uint64)
        (level: int)
        (index: int)
        : LookupStep =
        let levels = snapshot.Tables
        let mutable level = level
        let mutable index = index
        let mutable step = ended LookupOutcome.Missing

        while level < levels.Length do
            let tables = levels[level]

            // A deeper level has at most one table for the key.
            if level > 0 then
                index <- if index = 0 then tableAt tables key else tables.Length

            if index >= tables.Length then
                level <- level + 1
                index <- 0
            else
                match tables[index].TryLocate key with
                | ValueSome partition ->
                    step <- {
                        Outcome = LookupOutcome.ReadBlock
                        Entry = Unchecked.defaultof<Entry>
                        Request = {
                            Table = tables[index]
                            Handle = tables[index].PartitionHandle partition
                            Kind = BlockKind.Partition
                            Partition = partition
                        }
                        Hash = hash
                        Level = level
                        Index = index + 1
                    }

                    level <- levels.Length
                | ValueNone -> index <- index + 1

        step

    let private tryFindFrozen (snapshot: Snapshot) (key: ReadOnlySpan<byte>) : Entry voption =
        let mutable found = ValueNone
        let mutable index = 0

        while found.IsNone && index < snapshot.Frozen.Length do
            found <- snapshot.Frozen[index].Memtable.TryFind key
            index <- index + 1

        found

    /// Goes on below the memtable that takes writes, which has nothing of the key.
    let private startBelowActive
        (snapshot: Snapshot)
        (flush: FlushState)
        (key: ReadOnlySpan<byte>)
        (nowSeconds: uint32)
        : LookupStep =
        match tryFindFrozen snapshot key with
        | ValueSome entry -> judge flush nowSeconds entry
        | ValueNone -> search snapshot key (KeyHash.compute key) 0 0

    /// Whether keys that are known before their turn should be given to `fetch`.
    let isWorthFetching (snapshot: Snapshot) : bool = snapshot.Active.IsWorthFetching

    /// Has the processor fetch what lookups of these keys, which stand in `text`, read first (`Memtable.Fetch`). A hint; no allocation.
    let fetch (snapshot: Snapshot) (text: ReadOnlySpan<byte>) (keys: Span<ComingKey>) : unit =
        snapshot.Active.Fetch(text, keys)

    /// Starts a lookup at Unix time `nowSeconds`.
    let start (snapshot: Snapshot) (key: ReadOnlySpan<byte>) (nowSeconds: uint32) : LookupStep =
        match snapshot.Active.TryFind key with
        | ValueSome entry -> judge snapshot.Flush nowSeconds entry
        | ValueNone -> startBelowActive snapshot snapshot.Flush key nowSeconds

    /// Starts a lookup for a writer, who sees his own batch and the flush it may contain before anybody else does.
    let startInBatch
        (snapshot: Snapshot)
        (batch: MemtableEditor)
        (flush: FlushState)
        (key: ReadOnlySpan<byte>)
        (nowSeconds: uint32)
        : LookupStep =
        match batch.TryFind key with
        | ValueSome entry -> judge flush nowSeconds entry
        | ValueNone -> startBelowActive snapshot flush key nowSeconds

    /// Goes on with the block that `step` asked for, opened and lying in the first `length` bytes of `block`.
    let resume
        (snapshot: Snapshot)
        (flush: FlushState)
        (key: ReadOnlySpan<byte>)
        (nowSeconds: uint32)
        (step: LookupStep)
        (block: byte[])
        (length: int)
        : LookupStep =
        if step.Request.Kind = BlockKind.Partition then
            let partition = { Bytes = block; Start = 0; Length = length }

            if Partition.mayContain partition step.Hash then
                {
                    step with
                        Request = {
                            step.Request with
                                Handle = Partition.handle partition (Partition.find partition key)
                                Kind = BlockKind.Data
                        }
                }
            else
                search snapshot key step.Hash step.Level step.Index
        else
            match Block.tryFind block 0 length key step.Hash with
            | ValueSome entry -> judge flush nowSeconds entry
            | ValueNone -> search snapshot key step.Hash step.Level step.Index
