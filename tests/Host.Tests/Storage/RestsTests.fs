module LsmFs.Host.Tests.RestsTests

open System
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Simulation

[<Tests>]
let tests =
    testList "Rests" [
        test "a rest is due when enough was done since the last one" {
            let clock = SimulatedClock()
            let work = TimeSpan.FromMicroseconds(float Resting.workNanoseconds / 1000.0)
            let mutable askedCount = 0

            let rests =
                Rests(
                    (fun () ->
                        askedCount <- askedCount + 1
                        askedCount % 2 = 0),
                    clock
                )

            rests.RestWhenDue()
            clock.Advance(work / 2.0)
            rests.RestWhenDue()
            askedCount |> Expect.equal "too early" 0

            for number in 1..4 do
                clock.Advance work
                rests.RestWhenDue()
                rests.RestWhenDue()
                askedCount |> Expect.equal "once, whether it may or not" number
        }
    ]
