namespace LsmFs.Engine

open System

/// The entries of a memtable whose keys are within bounds, as a source of a merge. It starts at the first of them: O(log n).
[<Sealed>]
type MemtableSource(memtable: Memtable, bounds: KeyBounds) =
    inherit EntrySource()
    let cursor = MemtableCursor memtable

    do
        match bounds.From with
        | ValueSome from -> cursor.Seek from
        | ValueNone -> cursor.SeekFirst()

    let isBeyond () =
        match bounds.Until with
        | ValueSome until ->
            let entry = cursor.Current
            entry.Key.SequenceCompareTo until >= 0
        | ValueNone -> false

    /// All entries of a memtable.
    new(memtable: Memtable) = MemtableSource(memtable, KeyBounds.all)

    override _.MoveNext() =
        if cursor.MoveNext() && not (isBeyond ()) then
            SourceState.Ready
        else
            SourceState.Exhausted

    override _.Current = cursor.Current
