namespace LsmFs.CompactionBench

open System
open System.Buffers.Binary
open LsmFs.Engine

/// Entries of a simulated table or memtable: one for each key, in ascending order. Keys are numbers, values only their expiry.
[<NoEquality; NoComparison>]
type SortedRun = {
    Keys: int[]
    /// What each key has: `SortedRun.tombstone`, `SortedRun.lasting`, or the second in which it expires.
    Marks: int[]
}

/// Merging simulated runs by the rules of the engine's `Job`.
[<RequireQualifiedAccess>]
module SortedRun =

    /// The mark of a tombstone.
    [<Literal>]
    let tombstone = -1

    /// The mark of a value that never expires.
    [<Literal>]
    let lasting = 0

    /// Bytes of an entry with a value of 100 bytes, and of a tombstone.
    let entryBytes (mark: int) : int64 = if mark = tombstone then 40L else 140L

    let sizeBytes (run: SortedRun) : int64 =
        let mutable bytes = 0L

        for mark in run.Marks do
            bytes <- bytes + entryBytes mark

        bytes

    let keyBytes (key: int) : byte[] =
        let bytes: byte[] = Array.zeroCreate 4
        BinaryPrimitives.WriteInt32BigEndian(Span<byte> bytes, key)
        bytes

    let keyOf (bytes: byte[]) : int = BinaryPrimitives.ReadInt32BigEndian(ReadOnlySpan<byte> bytes)

    /// Tables of one level, which do not overlap, as one run.
    let concat (runs: SortedRun[]) : SortedRun = {
        Keys = runs |> Array.map _.Keys |> Array.concat
        Marks = runs |> Array.map _.Marks |> Array.concat
    }

    /// Both runs in one; of equal keys the newer run's.
    let merge (newer: SortedRun) (older: SortedRun) : SortedRun =
        let keys = Array.zeroCreate (newer.Keys.Length + older.Keys.Length)
        let marks = Array.zeroCreate keys.Length
        let mutable left = 0
        let mutable right = 0
        let mutable count = 0

        while left < newer.Keys.Length || right < older.Keys.Length do
            let isNewer =
                right = older.Keys.Length || (left < newer.Keys.Length && newer.Keys[left] <= older.Keys[right])

            if isNewer then
                if right < older.Keys.Length && newer.Keys[left] = older.Keys[right] then
                    right <- right + 1

                keys[count] <- newer.Keys[left]
                marks[count] <- newer.Marks[left]
                left <- left + 1
            else
                keys[count] <- older.Keys[right]
                marks[count] <- older.Marks[right]
                right <- right + 1

            count <- count + 1

        { Keys = Array.sub keys 0 count; Marks = Array.sub marks 0 count }

    /// Leaves out what nobody can see: expired values and tombstones at the bottom; elsewhere expired values become tombstones.
    /// `older` are the key ranges of everything older, a level each, ascending.
    let prune (nowSeconds: int) (older: struct (int * int)[][]) (run: SortedRun) : SortedRun =
        let positions: int[] = Array.zeroCreate older.Length

        let isBottom (key: int) =
            let mutable isBottom = true
            let mutable level = 0

            while isBottom && level < older.Length do
                let ranges = older[level]
                let mutable position = positions[level]

                let isBefore (struct (_, largest)) = largest < key
                let startsAfter (struct (smallest, _)) = smallest > key

                while position < ranges.Length && isBefore ranges[position] do
                    position <- position + 1

                positions[level] <- position
                isBottom <- position = ranges.Length || startsAfter ranges[position]
                level <- level + 1

            isBottom

        let keys = Array.zeroCreate run.Keys.Length
        let marks = Array.zeroCreate run.Keys.Length
        let mutable count = 0

        for index in 0 .. run.Keys.Length - 1 do
            let mark = run.Marks[index]
            let isGone = mark = tombstone || (mark <> lasting && mark <= nowSeconds)

            if not isGone || not (isBottom run.Keys[index]) then
                keys[count] <- run.Keys[index]
                marks[count] <- if isGone then tombstone else mark
                count <- count + 1

        { Keys = Array.sub keys 0 count; Marks = Array.sub marks 0 count }

    /// The run in pieces of a table's size, as `Job` cuts them: also at a border of the level below, when a piece overlaps `JobRules.grandparentCountMax` tables there or
    /// has at least `alignedShare` of a table's size. `borders` are the largest keys of that level's tables, ascending.
    let split (tableSizeBytes: int64) (alignedShare: float) (borders: int[]) (run: SortedRun) : SortedRun list =
        let alignedBytes = int64 (alignedShare * float tableSizeBytes)
        let made = System.Collections.Generic.List<SortedRun>()
        let mutable border = 0
        let mutable firstBorder = 0
        let mutable first = 0
        let mutable bytes = 0L

        let close (next: int) =
            if next > first then
                made.Add {
                    Keys = Array.sub run.Keys first (next - first)
                    Marks = Array.sub run.Marks first (next - first)
                }

            first <- next
            firstBorder <- border
            bytes <- 0L

        for next in 0 .. run.Keys.Length - 1 do
            let before = border

            while border < borders.Length && run.Keys[next] > borders[border] do
                border <- border + 1

            let isBorder = border > before

            if
                bytes >= tableSizeBytes
                || (isBorder && (bytes >= alignedBytes || border - firstBorder >= JobRules.grandparentCountMax))
            then
                close next

            bytes <- bytes + entryBytes run.Marks[next]

        close run.Keys.Length
        List.ofSeq made

    /// What the manifest would know of the run as a table. Sequence numbers are those of the flush that wrote it.
    let meta (number: uint64) (sequence: uint64) (run: SortedRun) : TableMeta =
        let expiries = run.Marks |> Array.filter (fun mark -> mark > lasting)
        let tombstones = run.Marks |> Array.filter ((=) tombstone) |> Array.length |> int64

        {
            Number = FileNumber number
            SizeBytes = sizeBytes run
            Properties = {
                EntryCount = int64 run.Keys.Length
                TombstoneCount = tombstones
                KeyBytes = 4L * int64 run.Keys.Length
                ValueBytes = 100L * (int64 run.Keys.Length - tombstones)
                SmallestKey = keyBytes (Array.head run.Keys)
                LargestKey = keyBytes (Array.last run.Keys)
                SmallestSequence = SequenceNumber sequence
                LargestSequence = SequenceNumber sequence
                EarliestExpirySeconds =
                    if expiries.Length = 0 then
                        0u
                    else
                        uint32 (Array.min expiries)
                LatestExpirySeconds =
                    if expiries.Length < run.Keys.Length then
                        0u
                    else
                        uint32 (Array.max expiries)
            }
        }
