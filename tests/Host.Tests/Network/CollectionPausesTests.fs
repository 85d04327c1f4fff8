module LsmFs.Host.Tests.CollectionPausesTests

open System
open System.Threading
open Expecto
open LsmFs.Host

let private milliseconds (numbers: float list) = numbers |> List.map TimeSpan.FromMilliseconds |> Array.ofList

[<Tests>]
let tests =
    testSequenced
    <| testList "CollectionPauses" [
        testCase "of one collection the longest pause, of several all that is known" (fun () ->
            let pauses = milliseconds [ 1.0; 3.0; 2.0 ]
            let sum = TimeSpan.FromMilliseconds 9.0
            let pauseOf (count: int64) = CollectionPauses.PauseOf(count, sum, ReadOnlySpan<TimeSpan> pauses)
            Expect.equal (pauseOf 1L) pauses[1] "one"
            Expect.equal (pauseOf 2L) sum "two"
            // A background collection has ended that began before the one that was noted last.
            Expect.equal (pauseOf 0L) sum "none that is newer")

        testCase "a collection is noted, and forgotten by a reset" (fun () ->
            CollectionPauses.Start()
            CollectionPauses.Reset()
            let before = CollectionPauses.Total
            GC.Collect()
            let longest = CollectionPauses.Longest
            Expect.isGreaterThan longest TimeSpan.Zero "it took some time"
            CollectionPauses.Reset()
            // Other tests of this process may have collected meanwhile, and times are told in whole microseconds.
            let atMost = CollectionPauses.Total - before + TimeSpan.FromMilliseconds 1.0
            Expect.isLessThanOrEqual longest atMost "no more than all of them")

        testCase "collections are noted when nobody asks" (fun () ->
            CollectionPauses.Start()
            let before = GC.GetGCMemoryInfo(GCKind.Any).Index
            GC.Collect()

            Expect.isTrue
                (SpinWait.SpinUntil((fun () -> CollectionPauses.NotedIndex > before), 30_000))
                "the finalizer has come by")
    ]
