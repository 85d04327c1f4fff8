namespace LsmFs.Engine

// Mutable, one owner. Invariants between calls:
//   1. `order[0 .. orderCount - 1]` are the sources that stand on an entry, last the one with the smallest key; among equal keys the newest entry is last.
//   2. `behind[0 .. behindCount - 1]` are the sources to be moved on before anything can be said; none when MoveNext answered Ready or Exhausted.
//   3. The smallest keys of sources in `order` are larger than every key that was yielded before, but for the one that stands now.

open System

/// Several sources as one: ascending keys, and of each key the entry with the largest sequence number.
/// Keeps the sources in order by insertion, which for the few runs of a tree (20 at most) beats a heap: the source that was moved on
/// seldom moves far.
[<Sealed>]
type Merge(sources: EntrySource[]) =
    let entries: Entry[] = Array.zeroCreate sources.Length
    let heads: uint64[] = Array.zeroCreate sources.Length
    let order: int[] = Array.zeroCreate sources.Length
    let behind: int[] = Array.init sources.Length id
    let mutable orderCount = 0
    let mutable behindCount = sources.Length
    let mutable shadowedCount = 0L

    let haveSameKey (left: int) (right: int) : bool =
        heads[left] = heads[right]
        && (let leftEntry = entries[left]
            let rightEntry = entries[right]
            let leftKey = leftEntry.Key
            leftKey.SequenceEqual rightEntry.Key)

    let isBefore (left: int) (right: int) : bool =
        if heads[left] <> heads[right] then
            heads[left] < heads[right]
        else
            let leftEntry = entries[left]
            let rightEntry = entries[right]
            let leftKey = leftEntry.Key
            let (SequenceNumber leftSequence) = leftEntry.Sequence
            let (SequenceNumber rightSequence) = rightEntry.Sequence
            let order = leftKey.SequenceCompareTo rightEntry.Key
            order < 0 || (order = 0 && leftSequence > rightSequence)

    let insert (source: int) =
        let entry = sources[source].Current
        entries[source] <- entry
        heads[source] <- KeyHead.compute entry.Key 0
        let mutable at = orderCount

        while at > 0 && isBefore order[at - 1] source do
            order[at] <- order[at - 1]
            at <- at - 1

        order[at] <- source
        orderCount <- orderCount + 1

    /// Takes the sources that stand on the smallest key out of the order.
    let retire () =
        let smallest = order[orderCount - 1]
        orderCount <- orderCount - 1
        behind[0] <- smallest
        behindCount <- 1

        while orderCount > 0 && haveSameKey order[orderCount - 1] smallest do
            orderCount <- orderCount - 1
            behind[behindCount] <- order[orderCount]
            behindCount <- behindCount + 1
            shadowedCount <- shadowedCount + 1L

    /// To the next key. What `Current` was before is no longer valid. O(sources) at worst, no allocation.
    member _.MoveNext() : SourceState =
        if behindCount = 0 && orderCount > 0 then
            retire ()

        let mutable isWaiting = false

        while behindCount > 0 && not isWaiting do
            let source = behind[behindCount - 1]

            match sources[source].MoveNext() with
            | SourceState.Ready ->
                insert source
                behindCount <- behindCount - 1
            | SourceState.NeedsBlock -> isWaiting <- true
            | _ -> behindCount <- behindCount - 1

        if isWaiting then SourceState.NeedsBlock
        elif orderCount > 0 then SourceState.Ready
        else SourceState.Exhausted

    /// The newest entry of the key that `MoveNext` came to.
    member _.Current: Entry = entries[order[orderCount - 1]]

    /// The read that `NeedsBlock` asked for.
    member _.Wanted: BlockRead = sources[behind[behindCount - 1]].Wanted

    /// Says that the wanted bytes are in their destination. After an error the merge is of no use.
    member _.Supply() : Result<unit, Corruption> = sources[behind[behindCount - 1]].Supply()

    /// Entries passed over because another source had a newer one of their key.
    member _.ShadowedCount: int64 = shadowedCount
