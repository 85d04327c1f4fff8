namespace LsmFs.CompactionBench

open System

/// A stream of writes, the same in every run: the generator of random numbers has a fixed seed.
[<NoEquality; NoComparison>]
type Workload = {
    Name: string
    /// Keys are below this.
    KeyCount: int
    WriteCount: int
    /// Writes before measuring starts.
    WarmUpCount: int
    /// The key and mark of a write, from its place in the stream and the second in which it happens. Called in order, once for each.
    Make: unit -> (int -> int -> struct (int * int))
}

[<RequireQualifiedAccess>]
module Workload =

    /// Writes in a second of simulated time.
    [<Literal>]
    let writesPerSecond = 1000

    let private shuffled (random: Random) (keyCount: int) : int[] =
        let keys = Array.init keyCount id
        random.Shuffle keys
        keys

    /// Every key once, in random order; then what `following` says.
    let private afterLoad (keyCount: int) (following: Random -> int -> int -> struct (int * int)) () =
        let random = Random 1
        let order = shuffled random keyCount
        let next = following random

        fun write second ->
            if write < keyCount then
                struct (order[write], SortedRun.lasting)
            else
                next write second

    let private measuredAfterLoad
        (name: string)
        (keyCount: int)
        (following: Random -> int -> int -> struct (int * int))
        : Workload = {
        Name = name
        KeyCount = keyCount
        WriteCount = keyCount * 4
        WarmUpCount = keyCount * 2
        Make = afterLoad keyCount following
    }

    let private uniform (keyCount: int) : Workload =
        measuredAfterLoad "uniform" keyCount (fun random _ _ -> struct (random.Next keyCount, SortedRun.lasting))

    /// Key ranks by a zipfian distribution with exponent 0.99 (YCSB's), scattered over the key space.
    let private zipfian (keyCount: int) : Workload =
        measuredAfterLoad "zipfian" keyCount (fun random ->
            let cumulative =
                Array.init keyCount (fun rank -> 1.0 / Math.Pow(float rank + 1.0, 0.99))
                |> Array.scan (+) 0.0
                |> Array.tail

            let keys = shuffled random keyCount

            fun _ _ ->
                let place = Array.BinarySearch(cumulative, random.NextDouble() * cumulative[keyCount - 1])

                let rank = if place < 0 then ~~~place else place
                struct (keys[min rank (keyCount - 1)], SortedRun.lasting))

    /// Ascending keys, each once.
    let private sequential (keyCount: int) : Workload = {
        Name = "sequential"
        KeyCount = keyCount * 2
        WriteCount = keyCount * 2
        WarmUpCount = 0
        Make = fun () -> fun write _ -> struct (write, SortedRun.lasting)
    }

    /// Half sets, half deletes, of any key.
    let private deletes (keyCount: int) : Workload =
        measuredAfterLoad "deletes" keyCount (fun random _ _ ->
            let mark =
                if random.Next 2 = 0 then
                    SortedRun.tombstone
                else
                    SortedRun.lasting

            struct (random.Next keyCount, mark))

    /// Sets at the head, deletes at the tail of a window: the range behind it holds nothing but tombstones and what they hide.
    let private queue (keyCount: int) : Workload = {
        Name = "queue"
        KeyCount = keyCount * 2
        WriteCount = keyCount * 3
        WarmUpCount = keyCount
        Make =
            fun () ->
                let window = keyCount / 3

                fun write _ ->
                    if write < window then
                        struct (write, SortedRun.lasting)
                    elif (write - window) % 2 = 0 then
                        struct (window + (write - window) / 2, SortedRun.lasting)
                    else
                        struct ((write - window) / 2, SortedRun.tombstone)
    }

    /// Sets of any key that live for 200 seconds.
    let private expiring (keyCount: int) : Workload = {
        Name = "ttl"
        KeyCount = keyCount * 4
        WriteCount = keyCount * 4
        WarmUpCount = keyCount * 2
        Make =
            fun () ->
                let random = Random 1
                fun _ second -> struct (random.Next(keyCount * 4), second + 200)
    }

    /// Every workload, for a store of about so many keys.
    let all (keyCount: int) : Workload list =
        [ uniform; zipfian; sequential; deletes; queue; expiring ]
        |> List.map (fun workload -> workload keyCount)
