namespace LsmFs.Engine

// Invariants
// 1. The run holds what the version shows of one leaf; `position` is the current slot in it, -1 before the first.
// 2. path[level] is the inner node whose child at indexes[level] leads to that leaf; level 0 is the leaf's parent.

open System

/// A walk over one version of a memtable in key order: the newest entry of every key, tombstones included. It starts before the first entry.
/// One owner; O(1) amortised a step, no allocation after its creation.
[<Sealed>]
type MemtableCursor(memtable: Memtable) =
    // Entries lie where their writes came, so a walk in key order misses the cache with each. So many are fetched ahead.
    let aheadCount = 8
    let aheadBytes = 192
    let tree = memtable.Tree
    let trunk = memtable.Trunk
    let version = memtable.Version
    let run = SortedRun tree
    let path: uint32[] = Array.zeroCreate (max 0 trunk.Height)
    let indexes: int[] = Array.zeroCreate (max 0 trunk.Height)
    let mutable position = -1
    let mutable isStarted = false
    let mutable isFinished = false

    let loadLeaf (node: uint32) : unit =
        let leaf = &tree.Nodes.Locate node
        let slotCount = Node.count &leaf
        let limit = Tree.LimitFor(version.Limit, trunk.Forks, Node.stamp &leaf)
        run.Load(&leaf, slotCount, limit, Node.prefixLength &leaf)
        position <- -1

        for slot in 0 .. min aheadCount run.Count - 1 do
            tree.Entries.Prefetch(run.Entry slot, aheadBytes)

    let childAt (node: uint32) (index: int) : uint32 =
        let inner = &tree.Nodes.Locate node
        Node.child &inner index

    let separatorCount (node: uint32) : int =
        let inner = &tree.Nodes.Locate node
        Node.count &(tree.Nodes.Locate(Node.innerKeys &inner))

    /// Loads the first leaf below a node that stands `height` levels above the leaves.
    let descendFirst (start: uint32) (height: int) : unit =
        let mutable node = start

        for level in height - 1 .. -1 .. 0 do
            path[level] <- node
            indexes[level] <- 0
            node <- childAt node 0

        loadLeaf node

    /// Loads the leaf after the current one; false when there is none.
    let nextLeaf () : bool =
        let mutable level = 0

        while level < path.Length && indexes[level] = separatorCount path[level] do
            level <- level + 1

        if level = path.Length then
            false
        else
            indexes[level] <- indexes[level] + 1
            descendFirst (childAt path[level] indexes[level]) level
            true

    /// Goes before the first entry.
    member _.SeekFirst() : unit =
        isStarted <- true
        isFinished <- trunk.Height < 0

        if not isFinished then
            descendFirst version.Root trunk.Height

    /// Goes before the first entry whose key is not smaller than the argument. O(log n).
    member cursor.Seek(key: ReadOnlySpan<byte>) : unit =
        if trunk.Height < 0 || key.SequenceCompareTo(tree.KeyOf version.Smallest) <= 0 then
            cursor.SeekFirst()
        elif key.SequenceCompareTo(tree.KeyOf version.Largest) > 0 then
            isStarted <- true
            isFinished <- true
        else
            isStarted <- true
            isFinished <- false
            let mutable node = version.Root

            for level in trunk.Height - 1 .. -1 .. 0 do
                let inner = &tree.Nodes.Locate node
                let index = tree.ChildIndex(Node.innerKeys &inner, key)
                path[level] <- node
                indexes[level] <- index
                node <- Node.child &inner index

            loadLeaf node
            let mutable low = 0
            let mutable high = run.Count

            while low < high do
                let middle = (low + high) >>> 1

                if key.SequenceCompareTo(tree.KeyOf(run.Entry middle)) > 0 then
                    low <- middle + 1
                else
                    high <- middle

            position <- low - 1

    /// Goes to the next entry; false when there is none.
    member cursor.MoveNext() : bool =
        if not isStarted then
            cursor.SeekFirst()

        if not isFinished then
            position <- position + 1

            while not isFinished && position = run.Count do
                isFinished <- not (nextLeaf ())
                position <- 0

            if position + aheadCount < run.Count then
                tree.Entries.Prefetch(run.Entry(position + aheadCount), aheadBytes)

        not isFinished

    /// The current entry. Throws `InvalidOperationException` before the first `MoveNext` and when the last one found none.
    member _.Current: Entry =
        if isFinished || position < 0 then
            invalidOp "the cursor is not at an entry"

        tree.Entries.EntryAt(run.Entry position)

/// What a look at some of a memtable's leaves tells of all its keys.
[<NoEquality; NoComparison>]
type MemtableKeys = {
    /// Keys, each counted once, be their newest entry a value or a tombstone: exact when every leaf was looked at, else projected.
    Count: int64
    /// Keys in ascending order, about as many of the others between each two: the first of every leaf that was looked at.
    Sample: byte[][]
}

/// Counting the keys of a memtable. A leaf's tail has overwritten keys twice, so leaves are looked at where a count of writes would not do.
[<RequireQualifiedAccess>]
module MemtableKeys =

    /// Looks at every leaf of a version, or at `leafCountMax` that are evenly spaced when it has more. O(leaves / 8 + `leafCountMax`).
    let look (memtable: Memtable) (leafCountMax: int) : MemtableKeys =
        let tree = memtable.Tree
        let trunk = memtable.Trunk
        let version = memtable.Version
        let leaves = ResizeArray<uint32>()

        let rec addLeaves (node: uint32) (height: int) =
            if height = 0 then
                leaves.Add node
            else
                let inner = &tree.Nodes.Locate node

                for index in 0 .. Node.count &(tree.Nodes.Locate(Node.innerKeys &inner)) do
                    let child = Node.child &(tree.Nodes.Locate node) index
                    addLeaves child (height - 1)

        if trunk.Height >= 0 then
            addLeaves version.Root trunk.Height

        let run = SortedRun tree
        let seen = min leaves.Count leafCountMax
        let sample = ResizeArray<byte[]>()
        let mutable count = 0L

        for number in 0 .. seen - 1 do
            let leaf = &tree.Nodes.Locate leaves[int (int64 number * int64 leaves.Count / int64 seen)]
            let limit = Tree.LimitFor(version.Limit, trunk.Forks, Node.stamp &leaf)
            run.Load(&leaf, Node.count &leaf, limit, Node.prefixLength &leaf)
            count <- count + int64 run.Count

            if run.Count > 0 then
                sample.Add(tree.KeyOf(run.Entry 0).ToArray())

        {
            Count =
                if seen = 0 then
                    0L
                else
                    count * int64 leaves.Count / int64 seen
            Sample = sample.ToArray()
        }
