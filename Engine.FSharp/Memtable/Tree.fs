namespace LsmFs.Engine

// The tree that all versions of one memtable share, as readers see it. TreeWriter.fs changes it.
//
// Invariants
// 1. What is reachable from a version and visible in it never changes: a block's slots below its count, its sorted slots, and every
//    inner node of a version that was committed are final.
// 2. Slots after a leaf's sorted ones hold sequence numbers in ascending order, from one unbroken line of versions. A version sees those
//    up to its limit; where it forked off the line, up to the limit it had there (`Fork`).
// 3. All keys between a node's fences begin with the node's prefix, and every key that is searched for lies between the fences of
//    the nodes it passes: it was compared with the version's smallest and largest key first.
// 4. A reader reads a leaf's count (acquire) before anything that the count covers.

open System
open System.Numerics
open System.Runtime.CompilerServices
open System.Runtime.InteropServices

/// Where a version left the line of versions it came from: leaves made before the batch `stamp` may go on to be filled by others, and count
/// only up to the sequence number `limit`.
[<Sealed; AllowNullLiteral>]
type internal Fork(stamp: uint32, limit: uint64, older: Fork) =
    member _.Stamp: uint32 = stamp
    member _.Limit: uint64 = limit
    member _.Older: Fork = older

    /// The limit for a leaf of an older stamp than this fork's: that of the first fork after the leaf was made.
    member fork.LimitFor(leafStamp: uint32) : uint64 =
        let mutable first = fork

        while not (isNull first.Older) && leafStamp < first.Older.Stamp do
            first <- first.Older

        first.Limit

/// The part of a version that nearly all share: it changes when the tree grows by a level, and at a fork. It stands apart so that the rest is small, of
/// which there is one for each commit.
[<AllowNullLiteral>]
type internal TreeTrunk(height: int, forks: Fork) =
    /// Levels of inner nodes above the leaves; -1 without a root.
    member _.Height: int = height
    member _.Forks: Fork = forks

/// The part of a version that is its own.
[<Struct; NoEquality; NoComparison>]
type internal TreeVersion = {
    /// Entries with sequence numbers up to this are part of the version.
    Limit: uint64
    Root: uint32
    /// Entries with the smallest and the largest key.
    Smallest: uint32
    Largest: uint32
    /// The batch that made this version.
    Stamp: uint32
} with

    static member Empty = { Limit = 0UL; Root = 0u; Smallest = 0u; Largest = 0u; Stamp = 0u }

/// The arenas of a memtable and the searches in them. Any thread may search a version that it was given.
[<Sealed>]
type internal Tree(pool: ChunkPool) =
    let entries = Arena pool
    let nodes = Arena pool

    /// Encoded entries.
    member _.Entries: Arena = entries

    /// Key blocks and inner nodes.
    member _.Nodes: Arena = nodes

    /// Bytes taken from the pool, apart from what is left of the last chunks.
    member _.SizeBytes: int64 = entries.SizeBytes + nodes.SizeBytes

    /// The sequence number of an entry.
    member _.SequenceOf(entry: uint32) : uint64 =
        let view = entries.EntryAt entry
        let sequence = view.Sequence
        sequence.Value

    /// The key of an entry.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member _.KeyOf(entry: uint32) : ReadOnlySpan<byte> =
        let view = entries.EntryAt entry
        view.Key

    /// The bytes that all keys from one entry's to another's begin with.
    member tree.CommonPrefix(low: uint32, high: uint32) : int =
        MemoryExtensions.CommonPrefixLength(tree.KeyOf low, tree.KeyOf high)

    /// Searches the run of slots from `first` on whose heads equal `head` for the key itself: its slot, or the complement of the slot
    /// where it would be inserted. O(log count) comparisons.
    member tree.SearchEqualHeads
        (heads: byref<uint64>, slots: byref<uint32>, count: int, first: int, head: uint64, key: ReadOnlySpan<byte>)
        : int =
        let mutable high = first + 1

        while high < count && Unsafe.Add(&heads, high) = head do
            high <- high + 1

        let mutable low = first
        let mutable found = -1

        while low < high do
            let middle = (low + high) >>> 1
            let order = key.SequenceCompareTo(tree.KeyOf(Unsafe.Add(&slots, middle)))

            if order = 0 then
                found <- middle
                low <- high
            elif order < 0 then
                high <- middle
            else
                low <- middle + 1

        if found >= 0 then found else ~~~low

    /// The child of an inner node that holds the key, by the node's separators.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member tree.ChildIndex(keyBlock: uint32, key: ReadOnlySpan<byte>) : int =
        let block = &nodes.Locate keyBlock
        let head = KeyHead.compute key (Node.prefixLength &block)
        let capacity = Node.capacity &block
        let count = Node.count &block
        let rank = HeadSearch.rank &(Node.head &block 0) capacity head

        if rank < count && Node.head &block rank = head then
            let slot =
                tree.SearchEqualHeads(&Node.head &block 0, &Node.entry &block capacity 0, count, rank, head, key)

            if slot >= 0 then slot + 1 else ~~~slot
        else
            rank

    /// The leaf that holds the key if there is one that does (invariant 3).
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member tree.FindLeaf(root: uint32, height: int, key: ReadOnlySpan<byte>) : uint32 =
        let mutable node = root

        for _ in 1..height do
            let inner = &nodes.Locate node
            let index = tree.ChildIndex(Node.innerKeys &inner, key)
            node <- Node.child &inner index

        node

    /// Whether the key lies between the smallest and the largest one.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member tree.Covers(smallest: uint32, largest: uint32, key: ReadOnlySpan<byte>) : bool =
        key.SequenceCompareTo(tree.KeyOf smallest) >= 0 && key.SequenceCompareTo(tree.KeyOf largest) <= 0

    /// The newest entry of the key in the first `count` slots of a leaf, of those with a sequence number up to the limit.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    member _.FindInLeaf(leaf: byref<byte>, count: int, limit: uint64, key: ReadOnlySpan<byte>) : Entry voption =
        let head = KeyHead.compute key (Node.prefixLength &leaf)
        let capacity = Node.capacity &leaf
        let mutable candidates = HeadSearch.equalMask &(Node.head &leaf 0) count head
        let mutable found = ValueNone

        while candidates <> 0UL do
            // Later slots are newer.
            let slot = 63 - BitOperations.LeadingZeroCount candidates
            let entry = entries.EntryAt(Node.entry &leaf capacity slot)

            let sequence = entry.Sequence

            if sequence.Value <= limit && key.SequenceEqual entry.Key then
                found <- ValueSome entry
                candidates <- 0UL
            else
                candidates <- candidates &&& ~~~(1UL <<< slot)

        found

    /// The sequence number up to which a leaf of the given stamp counts in a version with this limit and these forks (invariant 2).
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    static member LimitFor(limit: uint64, forks: Fork, leafStamp: uint32) : uint64 =
        if isNull forks || leafStamp >= forks.Stamp then
            limit
        else
            forks.LimitFor leafStamp

    /// The newest entry of the key in the version. O(log n), no allocation.
    member tree.Find(trunk: TreeTrunk, version: inref<TreeVersion>, key: ReadOnlySpan<byte>) : Entry voption =
        if trunk.Height < 0 || not (tree.Covers(version.Smallest, version.Largest, key)) then
            ValueNone
        else
            let leaf = &nodes.Locate(tree.FindLeaf(version.Root, trunk.Height, key))
            let count = Node.count &leaf
            let limit = Tree.LimitFor(version.Limit, trunk.Forks, Node.stamp &leaf)
            tree.FindInLeaf(&leaf, count, limit, key)

    /// Finds the leaf of a key for `FetchEntry`, and has the processor fetch it. The version is not empty.
    member tree.FetchLeaf(trunk: TreeTrunk, version: inref<TreeVersion>, key: ReadOnlySpan<byte>) : uint32 =
        let leaf = tree.FindLeaf(version.Root, trunk.Height, key)
        nodes.Prefetch(leaf, Node.keyBlockLength Node.leafCapacity)
        leaf

    /// Has the processor fetch the newest entry in the leaf whose key has the head of this one: nearly always the one that `Find` will look at.
    member _.FetchEntry(leaf: uint32, key: ReadOnlySpan<byte>) : unit =
        let block = &nodes.Locate leaf
        let head = KeyHead.compute key (Node.prefixLength &block)
        let candidates = HeadSearch.equalMask &(Node.head &block 0) (Node.count &block) head

        if candidates <> 0UL then
            let slot = 63 - BitOperations.LeadingZeroCount candidates
            entries.Prefetch(Node.entry &block (Node.capacity &block) slot, 192)

/// Slots in key order, each key once: where leaves are sorted, merged and split. One owner; it grows to one slot more than a leaf has.
[<Sealed>]
type internal SortedRun(tree: Tree) =
    let capacity = Node.capacityFor (Node.leafCapacity + 1)
    let heads: uint64[] = Array.zeroCreate capacity
    let entries: uint32[] = Array.zeroCreate capacity
    let mutable count = 0
    let mutable prefixLength = 0

    /// Slots in the run.
    member _.Count: int = count

    /// The entry in a slot.
    member _.Entry(slot: int) : uint32 = entries[slot]

    /// Empties the run. Heads leave out `newPrefixLength` bytes.
    member _.Clear(newPrefixLength: int) : unit =
        count <- 0
        prefixLength <- newPrefixLength
        Array.Fill(heads, UInt64.MaxValue)

    /// Adds an entry in its place; it replaces one of the same key. O(count).
    member run.Add(entry: uint32, head: uint64) : unit =
        let rank = HeadSearch.rank &heads[0] (Node.capacityFor count) head

        let slot =
            if rank < count && heads[rank] = head then
                tree.SearchEqualHeads(&heads[0], &entries[0], count, rank, head, tree.KeyOf entry)
            else
                ~~~rank

        if slot >= 0 then
            entries[slot] <- entry
        else
            let slot = ~~~slot
            Array.Copy(heads, slot, heads, slot + 1, count - slot)
            Array.Copy(entries, slot, entries, slot + 1, count - slot)
            heads[slot] <- head
            entries[slot] <- entry
            count <- count + 1

    /// Adds an entry in its place; it replaces one of the same key. O(count).
    member run.Add(entry: uint32) : unit = run.Add(entry, KeyHead.compute (tree.KeyOf entry) prefixLength)

    /// Has the processor fetch the entries that slots behind the sorted ones are going to be compared with, and their own, all at once.
    member private _.FetchEqual(block: byref<byte>, sorted: int, visible: int) : unit =
        for slot in sorted .. visible - 1 do
            let head = Node.head &block slot
            let rank = HeadSearch.rank &heads[0] (Node.capacityFor sorted) head

            if rank < sorted && heads[rank] = head then
                tree.Entries.Prefetch(entries[rank], 128)
                tree.Entries.Prefetch(Node.entry &block (Node.capacity &block) slot, 128)

    /// Loads the first `slotCount` slots of a key block, in order, without those past the limit, with heads after `newPrefixLength` bytes.
    member run.Load(block: byref<byte>, slotCount: int, limit: uint64, newPrefixLength: int) : unit =
        let blockCapacity = Node.capacity &block
        let sorted = Node.sorted &block
        let sameHeads = (newPrefixLength = Node.prefixLength &block)
        prefixLength <- newPrefixLength
        count <- sorted
        MemoryMarshal.CreateSpan(&Node.entry &block blockCapacity 0, sorted).CopyTo(Span<uint32> entries)

        if sameHeads then
            MemoryMarshal.CreateSpan(&Node.head &block 0, sorted).CopyTo(Span<uint64> heads)
        else
            for slot in 0 .. sorted - 1 do
                heads[slot] <- KeyHead.compute (tree.KeyOf entries[slot]) newPrefixLength

        Span<uint64>(heads, sorted, capacity - sorted).Fill UInt64.MaxValue
        // The sequence numbers ascend, so what is past the limit is at the end.
        let mutable visible = slotCount

        if limit <> UInt64.MaxValue then
            while visible > sorted && tree.SequenceOf(Node.entry &block blockCapacity (visible - 1)) > limit do
                visible <- visible - 1

        if sameHeads then
            run.FetchEqual(&block, sorted, visible)

        for slot in sorted .. visible - 1 do
            let entry = Node.entry &block blockCapacity slot

            if sameHeads then
                run.Add(entry, Node.head &block slot)
            else
                run.Add entry

    /// Writes a part of the run into a new key block of the tree, with heads after `newPrefixLength` bytes, and returns the block.
    member _.Store(first: int, length: int, blockCapacity: int, newPrefixLength: int, stamp: uint32) : uint32 =
        let offset = tree.Nodes.AllocateAligned(Node.keyBlockLength blockCapacity, Node.keyBlockHeaderLength)

        let block = &tree.Nodes.Locate offset
        Node.initialize &block stamp length blockCapacity newPrefixLength
        let blockHeads = MemoryMarshal.CreateSpan(&Node.head &block 0, blockCapacity)

        if newPrefixLength = prefixLength then
            Span<uint64>(heads, first, length).CopyTo blockHeads
        else
            for slot in 0 .. length - 1 do
                blockHeads[slot] <- KeyHead.compute (tree.KeyOf entries[first + slot]) newPrefixLength

        blockHeads.Slice(length).Fill UInt64.MaxValue

        Span<uint32>(entries, first, length)
            .CopyTo(MemoryMarshal.CreateSpan(&Node.entry &block blockCapacity 0, length))

        offset
