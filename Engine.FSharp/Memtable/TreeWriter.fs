namespace LsmFs.Engine

// The one writer of a memtable's tree. It extends a version by a batch of entries, in place wherever no reader can tell.
//
// Invariants
// 1. Nothing that a batch writes can be reached by a reader before `Commit`: nodes it made are linked from its own nodes only, and slots it
//    appended to older leaves are pending.
// 2. A batch that is abandoned leaves no trace: its pending slots are forgotten and its memory is taken back. Its stamp is used again.
// 3. A batch appends to an older leaf only when it extends the newest version and the leaf was made after the version's last fork; any
//    other leaf it copies. So every leaf is filled by one unbroken line of versions.
// 4. A batch changes an inner node in place only when it made that node.
// 5. Sequence numbers ascend along a line of versions.

open System
open System.Collections.Generic
open System.Runtime.InteropServices

/// Builds the next version of a tree. One owner.
[<Sealed>]
type internal TreeWriter(tree: Tree) =
    // A merged leaf this full is split, so that every new leaf has room for a quarter of its slots.
    let splitCount = Node.leafCapacity - Node.leafCapacity / 4
    let nodes = tree.Nodes
    let run = SortedRun tree
    let children: uint32[] = Array.zeroCreate (Node.childCountMax + 1)
    // Older leaves with pending slots.
    let touched = List<uint32>()
    let mutable isOpen = false
    // Counts what started and ended batches, so that an editor knows whether its own is still open.
    let mutable batch = 0UL
    let mutable isReleased = false
    let mutable newest = 0u
    let mutable stamp = 1u
    let mutable entriesMark = Unchecked.defaultof<ArenaMark>
    let mutable nodesMark = Unchecked.defaultof<ArenaMark>
    // The batch so far, as in a TreeTrunk and a TreeVersion.
    let mutable root = 0u
    let mutable height = -1
    let mutable limit = 0UL
    let mutable smallest = 0u
    let mutable largest = 0u
    let mutable forks: Fork = null
    let mutable forkStamp = 0u
    // What a split hands to the level above: the new right half and its first entry.
    let mutable hasSplit = false
    let mutable splitRight = 0u
    let mutable splitSeparator = 0u

    let newInner (keyBlock: uint32) (childCount: int) : uint32 =
        let offset = nodes.Allocate(Node.innerLength childCount)
        let inner = &nodes.Locate offset
        (Node.innerKeys &inner) <- keyBlock
        (Node.innerStamp &inner) <- stamp
        offset

    let storeInner (keyBlock: uint32) (first: int) (childCount: int) : uint32 =
        let offset = newInner keyBlock childCount
        let inner = &nodes.Locate offset

        Span<uint32>(children, first, childCount).CopyTo(MemoryMarshal.CreateSpan(&Node.child &inner 0, childCount))

        offset

    let storeSeparators (first: int) (count: int) (prefixLength: int) : uint32 =
        run.Store(first, count, Node.capacityFor count, prefixLength, stamp)

    let split (right: uint32) (separator: uint32) : unit =
        hasSplit <- true
        splitRight <- right
        splitSeparator <- separator

    /// Copies a leaf with one more entry, into one leaf or two.
    let replaceLeaf
        (leaf: byref<byte>)
        (slotCount: int)
        (prefixLength: int)
        (entry: uint32)
        (low: uint32)
        (high: uint32)
        =
        let leafStamp = Node.stamp &leaf

        let leafLimit =
            if leafStamp >= forkStamp then
                UInt64.MaxValue
            else
                forks.LimitFor leafStamp

        run.Load(&leaf, slotCount, leafLimit, prefixLength)
        run.Add entry
        let count = run.Count

        if count <= splitCount then
            run.Store(0, count, Node.leafCapacity, prefixLength, stamp)
        else
            // Keys that arrive in order leave full leaves behind.
            let isAscending = (high = entry && run.Entry(count - 1) = entry)
            let leftCount = if isAscending then count - 1 else (count + 1) / 2

            let leftCapacity =
                if isAscending then
                    Node.capacityFor leftCount
                else
                    Node.leafCapacity

            let separator = run.Entry leftCount

            let right =
                run.Store(leftCount, count - leftCount, Node.leafCapacity, tree.CommonPrefix(separator, high), stamp)

            let left = run.Store(0, leftCount, leftCapacity, tree.CommonPrefix(low, separator), stamp)
            split right separator
            left

    let insertInLeaf (node: uint32) (entry: uint32) (low: uint32) (high: uint32) (widens: bool) : uint32 =
        let leaf = &nodes.Locate node
        let oldPrefix = Node.prefixLength &leaf

        let prefixLength =
            if widens then
                min oldPrefix (tree.CommonPrefix(low, high))
            else
                oldPrefix

        let committed = Node.count &leaf
        let slotCount = committed + int (Node.pending &leaf)
        let capacity = Node.capacity &leaf
        let leafStamp = Node.stamp &leaf

        if slotCount < capacity && prefixLength = oldPrefix && leafStamp >= forkStamp then
            let isOwn = (leafStamp = stamp)

            if not isOwn && slotCount = committed then
                touched.Add node

            (Node.head &leaf slotCount) <- KeyHead.compute (tree.KeyOf entry) prefixLength
            (Node.entry &leaf capacity slotCount) <- entry

            if isOwn then
                Node.publishCount &leaf (slotCount + 1)
            else
                (Node.pending &leaf) <- uint32 (slotCount + 1 - committed)

            node
        else
            replaceLeaf &leaf slotCount prefixLength entry low high

    /// Replaces child `index` of an inner node by the two halves of a split, and splits the node too when it is full.
    let replaceInner
        (node: uint32)
        (keyBlock: uint32)
        (index: int)
        (left: uint32)
        (entry: uint32)
        (low: uint32)
        (high: uint32)
        =
        let inner = &nodes.Locate node
        let keys = &nodes.Locate keyBlock
        let separatorCount = Node.count &keys
        let prefixLength = Node.prefixLength &keys
        run.Load(&keys, separatorCount, UInt64.MaxValue, prefixLength)
        run.Add splitSeparator
        let before = MemoryMarshal.CreateSpan(&Node.child &inner 0, separatorCount + 1)
        before.Slice(0, index).CopyTo(Span<uint32> children)
        children[index] <- left
        children[index + 1] <- splitRight
        before.Slice(index + 1).CopyTo(Span<uint32>(children, index + 2, separatorCount - index))
        hasSplit <- false
        let childCount = separatorCount + 2

        if childCount <= Node.childCountMax then
            storeInner (storeSeparators 0 (childCount - 1) prefixLength) 0 childCount
        else
            // As for leaves.
            let isAscending = (index = separatorCount && high = entry)
            let leftCount = if isAscending then childCount - 2 else childCount / 2
            let separator = run.Entry(leftCount - 1)
            let leftKeys = storeSeparators 0 (leftCount - 1) (tree.CommonPrefix(low, separator))
            let leftNode = storeInner leftKeys 0 leftCount

            let rightKeys =
                storeSeparators leftCount (childCount - leftCount - 1) (tree.CommonPrefix(separator, high))

            let rightNode = storeInner rightKeys leftCount (childCount - leftCount)
            split rightNode separator
            leftNode

    /// Inserts below a node with the given fences and returns the node that takes its place, which may be itself.
    let rec insert (node: uint32) (height: int) (entry: uint32) (low: uint32) (high: uint32) (widens: bool) : uint32 =
        if height = 0 then
            insertInLeaf node entry low high widens
        else
            let inner = &nodes.Locate node
            let oldKeyBlock = Node.innerKeys &inner

            // A key outside all others may not have the prefix that all others share.
            let keyBlock =
                if not widens then
                    oldKeyBlock
                else
                    let keys = &nodes.Locate oldKeyBlock
                    let prefixLength = tree.CommonPrefix(low, high)

                    if prefixLength >= Node.prefixLength &keys then
                        oldKeyBlock
                    else
                        run.Load(&keys, Node.count &keys, UInt64.MaxValue, prefixLength)
                        storeSeparators 0 run.Count prefixLength

            let keys = &nodes.Locate keyBlock
            let separatorCount = Node.count &keys
            let capacity = Node.capacity &keys
            let index = tree.ChildIndex(keyBlock, tree.KeyOf entry)

            let childLow =
                if index = 0 then
                    low
                else
                    Node.entry &keys capacity (index - 1)

            let childHigh =
                if index = separatorCount then
                    high
                else
                    Node.entry &keys capacity index

            let child = Node.child &inner index
            let newChild = insert child (height - 1) entry childLow childHigh widens

            if hasSplit then
                replaceInner node keyBlock index newChild entry low high
            elif newChild = child && keyBlock = oldKeyBlock then
                node
            elif Node.innerStamp &inner = stamp then
                (Node.innerKeys &inner) <- keyBlock
                (Node.child &inner index) <- newChild
                node
            else
                let copy = newInner keyBlock (separatorCount + 1)
                let target = &nodes.Locate copy

                MemoryMarshal
                    .CreateSpan(&Node.child &inner 0, separatorCount + 1)
                    .CopyTo(MemoryMarshal.CreateSpan(&Node.child &target 0, separatorCount + 1))

                (Node.child &target index) <- newChild
                copy

    let insertFirst (entry: uint32) : uint32 =
        let offset = nodes.AllocateAligned(Node.keyBlockLength Node.leafCapacity, Node.keyBlockHeaderLength)

        let leaf = &nodes.Locate offset
        Node.initialize &leaf stamp 1 Node.leafCapacity (tree.KeyOf(entry).Length)
        (Node.head &leaf 0) <- 0UL
        (Node.entry &leaf Node.leafCapacity 0) <- entry
        offset

    let joinRoots (left: uint32) (low: uint32) (high: uint32) : uint32 =
        run.Clear(tree.CommonPrefix(low, high))
        run.Add splitSeparator
        children[0] <- left
        children[1] <- splitRight
        storeInner (storeSeparators 0 1 (tree.CommonPrefix(low, high))) 0 2

    let close () : unit =
        isOpen <- false
        batch <- batch + 1UL

    let abandon () : unit =
        for offset in touched do
            let leaf = &nodes.Locate offset
            (Node.pending &leaf) <- 0u

        touched.Clear()
        tree.Entries.Rewind entriesMark
        nodes.Rewind nodesMark

    /// Names the open batch; another value when it has ended.
    member _.Batch: uint64 = batch

    /// The last sequence number of the batch so far.
    member _.Limit: uint64 = limit

    /// Levels of inner nodes above the leaves, as the batch has left them so far.
    member _.Height: int = height

    /// The forks behind the batch.
    member _.Forks: Fork = forks

    /// Starts a batch that extends `version`, and abandons the one that may be open. O(1), but for the older leaves an abandoned batch appended to.
    member _.Begin(trunk: TreeTrunk, version: inref<TreeVersion>) : unit =
        if isReleased then
            invalidOp "the memtable was recycled"

        if isOpen then
            abandon ()

        entriesMark <- tree.Entries.Mark
        nodesMark <- nodes.Mark
        root <- version.Root
        height <- trunk.Height
        limit <- version.Limit
        smallest <- version.Smallest
        largest <- version.Largest

        forks <-
            if version.Stamp = newest then
                trunk.Forks
            else
                Fork(stamp, version.Limit, trunk.Forks)

        forkStamp <- if isNull forks then 0u else forks.Stamp
        isOpen <- true
        batch <- batch + 1UL

    /// Copies an encoded entry into the arena and makes it the newest of its key. When memory cannot be had the batch stays as it was:
    /// linking is the last step of every insertion. O(log n).
    member _.Put(bytes: ReadOnlySpan<byte>, sequence: uint64) : unit =
        let entry = tree.Entries.Allocate bytes.Length
        bytes.CopyTo(MemoryMarshal.CreateSpan(&tree.Entries.Locate entry, bytes.Length))

        if height < 0 then
            root <- insertFirst entry
            height <- 0
            smallest <- entry
            largest <- entry
        else
            let key = tree.KeyOf entry
            let isSmallest = key.SequenceCompareTo(tree.KeyOf smallest) < 0
            let isLargest = not isSmallest && key.SequenceCompareTo(tree.KeyOf largest) > 0
            let low = if isSmallest then entry else smallest
            let high = if isLargest then entry else largest
            hasSplit <- false
            let newRoot = insert root height entry low high (isSmallest || isLargest)

            if hasSplit then
                root <- joinRoots newRoot low high
                height <- height + 1
            else
                root <- newRoot

            smallest <- low
            largest <- high

        limit <- sequence

    /// The newest entry of the key, the batch included. O(log n), no allocation.
    member _.Find(key: ReadOnlySpan<byte>) : Entry voption =
        if height < 0 || not (tree.Covers(smallest, largest, key)) then
            ValueNone
        else
            let leaf = &nodes.Locate(tree.FindLeaf(root, height, key))
            let slotCount = Node.count &leaf + int (Node.pending &leaf)
            tree.FindInLeaf(&leaf, slotCount, Tree.LimitFor(limit, forks, Node.stamp &leaf), key)

    /// Ends the batch, which has an entry at least, and returns the version it made. O(older leaves the batch appended to).
    member _.Commit() : TreeVersion =
        for offset in touched do
            let leaf = &nodes.Locate offset
            let slotCount = Node.count &leaf + int (Node.pending &leaf)
            (Node.pending &leaf) <- 0u
            Node.publishCount &leaf slotCount

        touched.Clear()
        close ()
        newest <- stamp
        stamp <- stamp + 1u

        {
            Limit = limit
            Root = root
            Smallest = smallest
            Largest = largest
            Stamp = newest
        }

    /// Ends a batch that put nothing.
    member _.Close() : unit = close ()

    /// Gives all memory back to the pool. Throws `InvalidOperationException` the second time.
    member _.Release() : unit =
        if isReleased then
            invalidOp "the memtable was recycled before"

        isReleased <- true
        close ()
        tree.Entries.Release()
        nodes.Release()
