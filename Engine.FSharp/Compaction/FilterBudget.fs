namespace LsmFs.Engine

// How many bits of bloom filter the keys of a level get: N. Dayan, M. Athanassoulis, S. Idreos, Monkey: Optimal Navigable Key-Value Store, SIGMOD 2017.
// A lookup asks every sorted run once, so what counts is the sum of the runs' false-positive rates. One bit more for each key of a small run costs
// little memory and takes as much from that sum as one bit more for each key of a large one. So bits go, one at a time, to the level where they
// take most from the sum for their memory. Bits are whole numbers, and a level as large as the others together may miss its last one by a few keys;
// the same number everywhere is kept where it is the better choice.

/// The sorted runs of a level that a lookup may have to ask.
[<Struct>]
type LevelRuns = {
    /// 1 in every level but level 0, where each table is a run.
    RunCount: int
    /// Of all runs together.
    KeyCount: int64
}

/// Dividing the memory of the filters among the levels.
[<RequireQualifiedAccess>]
module FilterBudget =

    /// No level gets fewer bits for each key, whatever the budget: a filter that lets much through costs more reads than it saves memory.
    [<Literal>]
    let bitsPerKeyMin = 5

    /// The fewest bits for each key of the store, on average, whatever the budget: with those, upper levels still get more than the bottom.
    [<Literal>]
    let private bitsPerKeyMeanMin = 6

    /// No level gets more: what is let through then is less than what is worth saving.
    [<Literal>]
    let bitsPerKeyMax = 16

    let private rates = Array.init (bitsPerKeyMax + 1) BloomFilter.falsePositiveRate

    /// Bits that the filters take with `bits` for each key of a level.
    let private bitsOf (levels: LevelRuns[]) (bits: int[]) : int64 =
        Array.fold2 (fun sum (level: LevelRuns) (count: int) -> sum + level.KeyCount * int64 count) 0L levels bits

    /// Runs that a lookup of an absent key reads in vain with `bits` for each key of a level, on average.
    let expectedFalsePositives (levels: LevelRuns[]) (bits: int[]) : float =
        Array.fold2
            (fun sum (level: LevelRuns) (count: int) ->
                sum + float level.RunCount * BloomFilter.falsePositiveRate count)
            0.0
            levels
            bits

    let private uniform (levels: LevelRuns[]) (budgetBits: int64) : int[] =
        let keyCount = levels |> Array.sumBy _.KeyCount |> max 1L
        let bits = budgetBits / keyCount |> max (int64 bitsPerKeyMin) |> min (int64 bitsPerKeyMax)
        Array.replicate levels.Length (int bits)

    /// What one bit more for each key of a level takes from the false positives, for each bit of memory.
    let private gain (level: LevelRuns) (bits: int) : float =
        float level.RunCount * (rates[bits] - rates[bits + 1]) / float (max 1L level.KeyCount)

    let rec private divideFrom (levels: LevelRuns[]) (bits: int[]) (remainingBits: int64) : int[] =
        let candidates =
            [ 0 .. levels.Length - 1 ]
            |> List.filter (fun index -> bits[index] < bitsPerKeyMax && levels[index].KeyCount <= remainingBits)

        match candidates with
        | [] -> bits
        | _ ->
            let best = candidates |> List.maxBy (fun index -> gain levels[index] bits[index])
            divideFrom levels (Array.updateAt best (bits[best] + 1) bits) (remainingBits - levels[best].KeyCount)

    /// Bits for each key of every level. Their sum is at most `budgetBits` unless even the fewest are more, and a lookup reads no more in vain than
    /// with the same number of bits, from the same budget, in every level. O(levels squared).
    let divide (levels: LevelRuns[]) (budgetBits: int64) : int[] =
        let fewest = Array.replicate levels.Length bitsPerKeyMin
        let divided = divideFrom levels fewest (budgetBits - bitsOf levels fewest)
        let same = uniform levels budgetBits

        if expectedFalsePositives levels divided <= expectedFalsePositives levels same then
            divided
        else
            same

    /// The runs of every level of a store to which a job adds a table in `outputLevel`. A level without tables yet will hold what comes down
    /// from above, and level 0 is taken to be as full as it is before its compaction.
    let private runsOf (options: Options) (version: Version) (outputLevel: int) : LevelRuns[] =
        let keyCounts =
            version.Levels |> Array.map (Array.sumBy (fun (table: TableMeta) -> table.Properties.EntryCount))

        if keyCounts[outputLevel] = 0L then
            let above = Array.truncate outputLevel keyCounts |> Array.filter (fun count -> count > 0L)
            keyCounts[outputLevel] <- above |> Array.tryLast |> Option.defaultValue 0L

        keyCounts
        |> Array.mapi (fun level keyCount ->
            let tableCount = version.Levels[0].Length

            if level > 0 || tableCount = 0 then
                { RunCount = (if keyCount = 0L then 0 else 1); KeyCount = keyCount }
            else
                let runCount = max tableCount options.LevelZeroTableCountTrigger

                { RunCount = runCount; KeyCount = keyCount / int64 tableCount * int64 runCount })

    /// Bits of filter for each key of a table that a job writes to `outputLevel`. All filters together may take `BloomBitsPerKey` for each key of the
    /// store, but not more than half of what the cache and the metadata of tables share, as long as that is enough for 6. A store that holds nothing says nothing about its
    /// levels, and one that wants no filters gets none: both get `BloomBitsPerKey`. O(tables).
    let bitsPerKey (options: Options) (version: Version) (outputLevel: int) : int =
        let levels = runsOf options version outputLevel
        let keyCount = levels |> Array.sumBy _.KeyCount

        if keyCount = 0L || options.BloomBitsPerKey <= 0 then
            options.BloomBitsPerKey
        else
            let shareBits = options.CacheSizeBytes / 2L * 8L

            let budgetBits =
                min (keyCount * int64 options.BloomBitsPerKey) (max (keyCount * int64 bitsPerKeyMeanMin) shareBits)

            (divide levels budgetBits)[outputLevel]
