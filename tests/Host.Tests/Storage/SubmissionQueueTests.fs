module LsmFs.Host.Tests.SubmissionQueueTests

open System
open System.Collections.Generic
open System.Threading
open Expecto
open Expecto.Flip
open FsCheck
open LsmFs.Host

[<Sealed>]
type private Numbered(producer: int, number: int) =
    inherit Submission()
    member _.Producer = producer
    member _.Number = number
    override _.Execute _ = ()
    override _.Completed _ = ()

let private numberOf (submission: Submission | null) : int voption =
    match submission with
    | :? Numbered as numbered -> ValueSome numbered.Number
    | _ -> ValueNone

[<Tests>]
let tests =
    testList "SubmissionQueue" [
        testProperty
            "a queue like any other, whose submissions can be added again when they were taken"
            (fun (steps: bool list) ->
                let queue = SubmissionQueue()
                let model = Queue<int>()
                let idle = Stack<Submission>([ for number in 0 .. steps.Length -> Numbered(0, number) :> Submission ])

                for isAdding in steps do
                    if isAdding then
                        let submission = idle.Pop()
                        model.Enqueue (numberOf submission).Value
                        queue.Enqueue submission
                    else
                        let expected =
                            if model.Count > 0 then
                                ValueSome(model.Dequeue())
                            else
                                ValueNone

                        numberOf (queue.Peek()) |> Expect.equal "the oldest" expected

                        match queue.TryDequeue() with
                        | null -> Expect.isTrue "nothing is there" expected.IsNone
                        | taken ->
                            numberOf taken |> Expect.equal "taken" expected
                            idle.Push taken

                    queue.IsEmpty |> Expect.equal "empty (invariant 3)" (model.Count = 0)

                true)

        testCase "invariant 1: a submission that is in the queue is refused" (fun () ->
            let queue = SubmissionQueue()
            let first, second = Numbered(0, 1), Numbered(0, 2)
            queue.Enqueue first
            Expect.throwsT<InvalidOperationException> "the only one" (fun () -> queue.Enqueue first)
            queue.Enqueue second
            Expect.throwsT<InvalidOperationException> "the oldest" (fun () -> queue.Enqueue first)
            queue.Peek() |> ignore

            Expect.throwsT<InvalidOperationException> "the newest, of those that were looked at" (fun () ->
                queue.Enqueue second)

            [ numberOf (queue.TryDequeue()); numberOf (queue.TryDequeue()); numberOf (queue.TryDequeue()) ]
            |> Expect.equal "each once" [ ValueSome 1; ValueSome 2; ValueNone ])

        testCase "with threads nothing is lost, and what one thread adds is taken in its order" (fun () ->
            let queue = SubmissionQueue()
            let threadCount, count = 4, 20_000

            let producers = [
                for producer in 0 .. threadCount - 1 ->
                    Thread(
                        (fun () ->
                            for number in 0 .. count - 1 do
                                queue.Enqueue(Numbered(producer, number))),
                        IsBackground = true
                    )
            ]

            let next: int[] = Array.zeroCreate threadCount
            let mutable taken = 0
            producers |> List.iter _.Start()

            while taken < threadCount * count do
                match queue.TryDequeue() with
                | :? Numbered as numbered ->
                    numbered.Number |> Expect.equal "order" next[numbered.Producer]
                    next[numbered.Producer] <- numbered.Number + 1
                    taken <- taken + 1
                | _ -> Thread.Yield() |> ignore

            producers |> List.iter _.Join()
            Expect.isTrue "empty" queue.IsEmpty)
    ]
