namespace LsmFs.Engine

// Invariants
// 1. A version never changes for whoever holds it, on any thread, whatever is written, committed or abandoned beside it.
// 2. A batch becomes visible whole, in the version that its `Commit` returns, or not at all.
// 3. One editor is open at a time: `Edit` and `Recycle` end the one before, and an ended editor refuses to work.
// 4. The arena goes back to the pool once.

open System
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics.X86

/// A key that will be looked for soon: where it stands in a text, and what `Memtable.Fetch` remembers of it.
[<Struct; NoEquality; NoComparison>]
type ComingKey = {
    Offset: int
    Length: int
    mutable Leaf: uint32
} with

    static member At(offset: int, length: int) : ComingKey = { Offset = offset; Length = length; Leaf = 0u }

/// The trunk of a tree, with the tree and its writer: all that versions of one memtable share.
[<Sealed; AllowNullLiteral>]
type internal MemtableTrunk(tree: Tree, writer: TreeWriter, height: int, forks: Fork) =
    inherit TreeTrunk(height, forks)
    member _.Tree: Tree = tree
    member _.Writer: TreeWriter = writer

/// The newest writes in key order, in memory: a persistent B+tree whose nodes and entries lie in an arena. A value is an immutable version:
/// whoever holds it never sees it change. Versions of one memtable share its arena. Readers on any thread, one writer at a time, no locks.
/// A version has several words, a struct so that what holds it is all that a commit makes: it is handed to other threads inside of an object
/// (a `Snapshot` is one), by a release write such as `Volatile.Write`. The default value is empty, and takes no writes.
///
/// Leaves have room to append to, and a version shows of them what is not newer than itself. (Leaves with an unsorted tail: Chen and Jin,
/// "Persistent B+-Trees in Non-Volatile Main Memory", VLDB 2015. Path copying: Driscoll et al., "Making Data Structures Persistent", 1989.)
[<Struct; IsReadOnly; NoEquality; NoComparison>]
type Memtable =
    val private trunk: MemtableTrunk
    val private version: TreeVersion

    internal new(trunk: MemtableTrunk, version: TreeVersion) = { trunk = trunk; version = version }

    /// An empty memtable that will take its memory from the pool. The pool must not be used by another thread while this one is written to.
    static member Create(pool: ChunkPool) : Memtable =
        let tree = Tree pool
        Memtable(MemtableTrunk(tree, TreeWriter tree, -1, null), TreeVersion.Empty)

    /// The trunk, which the default value does not have. Throws `InvalidOperationException`.
    member internal memtable.Trunk: MemtableTrunk =
        if isNull memtable.trunk then
            invalidOp "this memtable was not made by Memtable.Create"

        memtable.trunk

    member internal memtable.Tree: Tree = memtable.Trunk.Tree
    member internal memtable.Version: TreeVersion = memtable.version
    member internal memtable.Limit: uint64 = memtable.version.Limit

    /// The version that the writer has just made of this one, or of another of the same memtable.
    member internal memtable.Next(next: TreeVersion) : Memtable =
        let trunk = memtable.trunk
        let writer = trunk.Writer

        if writer.Height = trunk.Height && obj.ReferenceEquals(writer.Forks, trunk.Forks) then
            Memtable(trunk, next)
        else
            Memtable(MemtableTrunk(trunk.Tree, writer, writer.Height, writer.Forks), next)

    /// Whether both are versions of the same memtable: their entries lie in one arena.
    member memtable.SharesArena(other: Memtable) : bool = obj.ReferenceEquals(memtable.Tree, other.Tree)

    /// Whether no entry was ever put.
    member memtable.IsEmpty: bool = isNull memtable.trunk || memtable.trunk.Height < 0

    /// Memory taken by the arena for all versions and the open batch, in bytes. The writer's to ask.
    member memtable.SizeBytes: int64 =
        if isNull memtable.trunk then
            0L
        else
            memtable.trunk.Tree.SizeBytes

    /// The largest sequence number in this version; zero when it is empty.
    member memtable.LastSequence: SequenceNumber = SequenceNumber memtable.version.Limit

    /// The newest entry of the key in this version, tombstones included. O(log n), no allocation.
    member memtable.TryFind(key: ReadOnlySpan<byte>) : Entry voption =
        if isNull memtable.trunk then
            ValueNone
        else
            memtable.trunk.Tree.Find(memtable.trunk, &memtable.version, key)

    /// Whether `Fetch` saves time: not in a tree so low that the processor's caches hold it.
    member memtable.IsWorthFetching: bool =
        Sse.IsSupported && not (isNull memtable.trunk) && memtable.trunk.Height > Node.cachedHeight

    /// Has the processor fetch what `TryFind` will read for these keys, which stand in `text`. A lookup waits for memory several times, one after the
    /// other; the waits of different keys pass side by side. Changes nothing that is found; O(log n) a key, no allocation.
    member memtable.Fetch(text: ReadOnlySpan<byte>, keys: Span<ComingKey>) : unit =
        if Sse.IsSupported && not memtable.IsEmpty then
            let trunk = memtable.trunk
            let tree = trunk.Tree

            for index in 0 .. keys.Length - 1 do
                let key = &keys[index]
                key.Leaf <- tree.FetchLeaf(trunk, &memtable.version, text.Slice(key.Offset, key.Length))

            for index in 0 .. keys.Length - 1 do
                let key = &keys[index]
                tree.FetchEntry(key.Leaf, text.Slice(key.Offset, key.Length))

    /// Starts a batch that extends this version, and abandons the one that may be open on any version of this memtable: it leaves no trace,
    /// and its sequence numbers and memory are used again. Extending a version that is not the newest forks off it. The writer's to call.
    /// Throws `InvalidOperationException` after `Recycle`.
    member memtable.Edit() : MemtableEditor =
        let trunk = memtable.Trunk
        trunk.Writer.Begin(trunk, &memtable.version)
        MemtableEditor(memtable, trunk.Writer, trunk.Writer.Batch)

    /// Gives every chunk of the arena back to the pool, and with it every version and entry: the caller guarantees that no reader of any is left.
    /// Throws `InvalidOperationException` the second time.
    member memtable.Recycle() : unit = memtable.Trunk.Writer.Release()

/// A batch that will be the next version of a memtable. Entries that it finds are good until it ends. Its copies are the same batch.
and [<Struct; IsReadOnly; NoEquality; NoComparison>] MemtableEditor =
    val private start: Memtable
    val private writer: TreeWriter
    val private batch: uint64

    internal new(start: Memtable, writer: TreeWriter, batch: uint64) = { start = start; writer = writer; batch = batch }

    member private editor.CheckOpen() : unit =
        if editor.writer.Batch <> editor.batch then
            invalidOp "the batch was committed, or abandoned by another one"

    /// Adds an encoded entry. O(log n); allocates only when the arena needs another chunk, or an array for an entry larger than one.
    /// Throws `InvalidOperationException` when its sequence number is not larger than all before, when the bytes are no whole entry of a key,
    /// and when the batch has ended.
    member editor.Put(entry: ReadOnlySpan<byte>) : unit =
        editor.CheckOpen()

        if EntryFormat.measure entry 0 <> entry.Length || entry[6] = byte EntryKind.FlushAll then
            invalidOp "a memtable takes one whole entry of a key at a time"

        let sequence = Coding.readU64 entry 8

        if sequence <= editor.writer.Limit then
            invalidOp "an entry must have a larger sequence number than all before it"

        editor.writer.Put(entry, sequence)

    /// The newest entry of the key, the batch so far included. O(log n), no allocation.
    member editor.TryFind(key: ReadOnlySpan<byte>) : Entry voption =
        editor.CheckOpen()
        editor.writer.Find key

    /// Memory taken by the arena for all versions and this batch, in bytes.
    member editor.SizeBytes: int64 = editor.start.Tree.SizeBytes

    /// Ends the batch and returns the version that has it; without a `Put` that is the version the batch started from.
    /// O(leaves the batch appended to).
    member editor.Commit() : Memtable =
        editor.CheckOpen()

        if editor.writer.Limit = editor.start.Limit then
            editor.writer.Close()
            editor.start
        else
            editor.start.Next(editor.writer.Commit())
