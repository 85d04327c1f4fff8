module LsmFs.Load.Tests.DistributionTests

open Expecto
open LsmFs.Load

[<Tests>]
let tests =
    testList "Distribution" [
        test "a permutation hits every number once" {
            for count in [ 1u; 2u; 3u; 4u; 5u; 1000u; 4096u; 4097u ] do
                let permutation = Permutation(count, 9UL)
                let numbers = [ for ordinal in 0u .. count - 1u -> permutation.At ordinal ]
                Expect.equal (List.sort numbers) [ 0u .. count - 1u ] $"{count} numbers"
        }

        test "zipfian ranks come as often as their probability says" {
            let count, theta, draws = 1000u, 0.99, 400_000
            let zipfian = Zipfian(count, theta)
            let mutable random = Random64 5UL
            let seen = Array.zeroCreate<int>(int count)

            for _ in 1..draws do
                let rank = int (zipfian.Next &random)
                seen[rank] <- seen[rank] + 1

            let weight rank = float (rank + 1) ** -theta
            let zeta = Seq.sumBy weight (seq { 0 .. int count - 1 })
            let share first last = float (Array.sum seen[first..last]) / float draws
            let probability first last = Seq.sumBy weight (seq { first..last }) / zeta

            // The first two ranks are exact; the others come from a continuous approximation, checked in broad ranges.
            for first, last, tolerance in [ 0, 0, 0.01; 1, 1, 0.02; 2, 9, 0.10; 10, 99, 0.05; 100, 999, 0.05 ] do
                let expected = probability first last

                Expect.floatClose
                    { absolute = tolerance * expected; relative = 0.0 }
                    (share first last)
                    expected
                    $"ranks {first} to {last}"
        }

        testProperty
            "as many arrivals are due as have a due time that is past"
            (fun (count: uint8) (interval: uint16) (now: uint32) ->
                let schedule = ArrivalSchedule(1000L, float interval / 7.0 + 0.5, int64 count)
                let now = int64 (now % 3_000_000u)
                let due = [ 0L .. int64 count - 1L ] |> List.filter (fun ordinal -> schedule.At ordinal <= now)
                Expect.equal (schedule.DueCount now) (int64 due.Length) "due")
    ]
