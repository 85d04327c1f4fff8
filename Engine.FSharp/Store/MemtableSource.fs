namespace LsmFs.Engine

/// The entries of a memtable as a source of a merge.
[<Sealed>]
type MemtableSource(memtable: Memtable) =
    inherit EntrySource()
    let cursor = MemtableCursor memtable
    do cursor.SeekFirst()

    override _.MoveNext() =
        if cursor.MoveNext() then
            SourceState.Ready
        else
            SourceState.Exhausted

    override _.Current = cursor.Current
