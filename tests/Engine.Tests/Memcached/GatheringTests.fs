module LsmFs.Engine.Tests.GatheringTests

open Expecto
open FsCheck
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private windowNanoseconds = 1L <<< 27

/// Connections served in a window of a loop that gathers, and of one that does not.
type private World = { Gathering: int; Otherwise: int }

/// The windows from `first` on, and what is known in each: so many are served, in two calls, as the world is by then.
let private live (first: int64) (count: int) (worldOf: int64 -> World) (start: Gathering) : (int64 * Gathering) list =
    let step (known: Gathering) (window: int64) =
        let entered = Gathering.next (window * windowNanoseconds) 0 &known
        let world = worldOf window

        let served =
            if Gathering.isOn &entered then
                world.Gathering
            else
                world.Otherwise

        let half = Gathering.next (window * windowNanoseconds + 1L) (served / 2) &entered
        let full = Gathering.next (window * windowNanoseconds + 2L) (served - served / 2) &half
        full, (window, full)

    // `mapFold` threads the state from window to window.
    [ first .. first + int64 count - 1L ]
    |> List.mapFold (fun known window -> let next, seen = step known window in seen, next) start
    |> fst

let private isOn (known: Gathering) = Gathering.isOn &known

/// The share of the windows in which the loop gathers.
let private shareOn (windows: (int64 * Gathering) list) : float =
    let on = windows |> List.filter (snd >> isOn) |> List.length
    float on / float windows.Length

let private worldOf gathering otherwise = fun (_: int64) -> { Gathering = gathering; Otherwise = otherwise }

[<Tests>]
let tests =
    testList "Gathering" [
        property "1: a loop that serves little never gathers" (fun (first: uint16) (gathering: uint16) ->
            let windows = live (int64 first) 300 (worldOf (int gathering) 1500) Gathering.initial
            Expect.equal (shareOn windows) 0.0 "there is no hurry")

        property
            "gathering that brings a fifth is found, and kept but for trials"
            (fun (first: uint16) (more: uint16) ->
                let otherwise = 2000 + int more
                let world = worldOf (otherwise * 6 / 5) otherwise
                let windows = live (int64 first) 400 world Gathering.initial

                Expect.isTrue
                    (windows |> List.take 12 |> List.exists (snd >> isOn))
                    "it is tried in the first twelve windows"

                Expect.isGreaterThan (shareOn (List.skip 12 windows)) 0.9 "and kept")

        property "2: gathering that brings nothing is tried ever less often" (fun (first: uint16) (more: uint16) ->
            let otherwise = 2000 + int more
            let windows = live (int64 first) 2000 (worldOf (otherwise * 21 / 20) otherwise) Gathering.initial
            let tried = windows |> List.filter (snd >> isOn) |> List.map fst
            Expect.isNonEmpty tried "it is tried"
            Expect.isLessThan (shareOn (List.skip 200 windows)) 0.02 "one window in 64"

            for earlier, later in List.pairwise (List.pairwise tried |> List.map (fun (a, b) -> b - a)) do
                Expect.isGreaterThanOrEqual later (earlier / 2L) "no sooner for having failed")

        property
            "3: loops that began at different times try in the same windows"
            (fun (first: uint16) (later: uint16) ->
                let later = later % 500us
                let world = worldOf 5000 5000
                let one = live (int64 first) 1500 world Gathering.initial
                let other = live (int64 first + int64 later) 1500 world Gathering.initial
                let triesOf windows = windows |> List.filter (fun (_, known) -> known.IsTrial) |> List.map fst |> set
                let whenBothAreSlow = set [ int64 first + int64 later + 400L .. int64 first + 1499L ]

                Expect.equal
                    (Set.intersect (triesOf one) whenBothAreSlow)
                    (Set.intersect (triesOf other) whenBothAreSlow)
                    "multiples of the same power of two")

        property
            "when threads that compute come along, gathering ends in 2.5 s, and begins again when they have gone"
            (fun (first: uint16) ->
                let first = int64 first
                let busy = { Gathering = 2000; Otherwise = 9000 }
                let free = { Gathering = 14000; Otherwise = 9000 }

                let world window =
                    if window >= first + 100L && window < first + 300L then
                        busy
                    else
                        free

                let windows = live first 500 world Gathering.initial
                let during = windows |> List.skip 119 |> List.take 180
                let afterwards = windows |> List.skip 370
                Expect.isLessThan (shareOn during) 0.06 "while they are there"
                Expect.isGreaterThan (shareOn afterwards) 0.9 "afterwards")

        testCase "a loop that was idle remembers, but does not compare across the gap" (fun () ->
            let on = live 0L 20 (worldOf 9000 5000) Gathering.initial |> List.last |> snd
            Expect.isTrue on.IsBetter "gathering was found better"
            let mutable known = Gathering.next (1000L * windowNanoseconds) 3000 &on
            Expect.isFalse (Gathering.isOn &known) "nothing is known of the last window"
            known <- Gathering.next (1001L * windowNanoseconds) 0 &known
            Expect.isTrue (Gathering.isOn &known) "it is busy again")
    ]
