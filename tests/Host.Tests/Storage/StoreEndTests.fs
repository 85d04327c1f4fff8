module LsmFs.Host.Tests.StoreEndTests

// A store may be closed at any time: in the middle of writes, flushes, compactions and waits. Every submission is answered, and what was acknowledged is there.

open System
open System.Text
open System.Threading
open Expecto
open Expecto.Flip
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders
open LsmFs.Simulation
open LsmFs.Host.Tests.DiskScript

let private soon = TimeSpan.FromSeconds 60.0

/// Runs `body` on a thread of its own and fails when it does not end.
let private ends (label: string) (body: unit -> unit) : unit =
    let mutable failure: exn option = None

    let thread =
        Thread(
            (fun () ->
                try
                    body ()
                with error ->
                    failure <- Some error),
            IsBackground = true
        )

    thread.Start()
    thread.Join soon |> Expect.isTrue $"{label}: ends"
    failure |> Option.iter (fun error -> failtest $"{label}: {error}")

let private durabilities = [ Durability.Sync; Durability.Os; Durability.Memory ]

[<Tests>]
let tests =
    testList "StoreEnd" [
        for durability in durabilities do
            testCase $"after the end writes and flushes are refused, durability {durability}" (fun () ->
                withFolder (fun folder ->
                    let store = openWith durability TimeProvider.System folder
                    store.Dispose()
                    store.Dispose()

                    ends "a write" (fun () ->
                        let writes = Writes [ Put(1, "one"B) ]
                        store.Submit writes
                        writes.Wait() |> Expect.equal "the reason" (Some "server is shutting down"))

                    ends "a flush" (fun () -> Expect.throwsT<StoreException> "the flush" (fun () -> store.Flush()))))

            testCase $"writers that are surprised by the end are all answered, durability {durability}" (fun () ->
                for round in 1..15 do
                    withFolder (fun folder ->
                        let store = openWith durability TimeProvider.System folder
                        let accepted = Array.zeroCreate<int> 4

                        let writers = [
                            for writer in 0..3 ->
                                Thread(
                                    (fun () ->
                                        let mutable count = 0

                                        while accepted[writer] = count do
                                            count <- count + 1
                                            let value = Encoding.ASCII.GetBytes((string count).PadLeft 200)
                                            let writes = Writes [ Put(writer, value) ]
                                            store.Submit writes

                                            if (writes.Wait()).IsNone then
                                                accepted[writer] <- count),
                                    IsBackground = true
                                )
                        ]

                        writers |> List.iter _.Start()
                        Thread.Sleep(round * 2)

                        ends "a flush meanwhile" (fun () ->
                            let closing = Thread((fun () -> store.Dispose()), IsBackground = true)
                            closing.Start()

                            try
                                store.Flush()
                            with :? StoreException ->
                                ()

                            closing.Join())

                        for writer in writers do
                            writer.Join soon |> Expect.isTrue "the writer ends"

                        use store = openWith durability TimeProvider.System folder
                        let contents = read store

                        for writer in 0..3 do
                            let found =
                                Map.tryFind writer contents
                                |> Option.map (Encoding.ASCII.GetString >> int)
                                |> Option.defaultValue 0

                            found |> Expect.equal $"the last write of {writer}" accepted[writer]))

        testCase "writes that wait for a flush are refused when the store is closed" (fun () ->
            let disk = SimulatedDisk()
            use flushes = new ManualResetEventSlim(false)

            disk.FailWith(fun operation ->
                if operation.File.EndsWith ".sst" then
                    flushes.Wait()

                None)

            let store = openOn disk
            let writes = [ for number in 0..99 -> Writes [ Put(number % keyCount, Array.zeroCreate 1000) ] ]
            writes |> List.iter store.Submit
            let answered () = writes |> List.filter _.IsAnswered |> List.length

            SpinWait.SpinUntil((fun () -> store.Current.Frozen.Length >= tinyOptions.FrozenMemtableCountMax), soon)
            |> ignore

            Expect.isLessThan "answered while the flush waits" (answered (), 100)

            ends "the end" (fun () ->
                let closing = Thread((fun () -> store.Dispose()), IsBackground = true)
                closing.Start()
                SpinWait.SpinUntil((fun () -> answered () = 100), soon) |> Expect.isTrue "all are answered"
                flushes.Set()
                closing.Join())

            writes
            |> List.filter (fun written -> (written.Wait()).IsSome)
            |> List.length
            |> fun count -> Expect.isGreaterThan "refused" (count, 0))

        testCase "a refused record that was cut off is off the disk before the next log is written" (fun () ->
            let disk = SimulatedDisk()
            let operations = Collections.Concurrent.ConcurrentQueue<string>()
            let mutable toFail = 0
            use store = openOn disk

            disk.FailWith(fun operation ->
                operations.Enqueue $"{operation.Kind} {operation.File}"

                if operation.Kind = "write" && toFail > 0 then
                    toFail <- toFail - 1
                    Some(IO.IOException("No space left on device", 28))
                else
                    None)

            let write () =
                let writes = Writes [ Put(1, "one"B) ]
                store.Submit writes
                writes.Wait()

            let log = FileName.ofFile (StoreFile.Log store.Current.ActiveLog)
            write () |> Expect.isNone "accepted"
            toFail <- 1
            write () |> Expect.equal "refused" (Some "out of disk space")
            operations.Clear()
            store.Flush()
            let next = FileName.ofFile (StoreFile.Log store.Current.ActiveLog)

            operations
            |> Seq.filter (fun operation -> operation = $"sync {log}" || operation = $"create {next}")
            |> List.ofSeq
            |> Expect.equal "the order" [ $"sync {log}"; $"create {next}" ])

        testCase "a clean end under os makes the logs of waiting memtables durable too" (fun () ->
            let disk = SimulatedDisk()

            disk.FailWith(fun operation ->
                if operation.Kind = "create" && operation.File.EndsWith ".sst" then
                    Some(IO.IOException("No space left on device", 28))
                else
                    None)

            let store =
                Store.Open(optionsOn disk Durability.Os, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance)

            let mutable expected = Map.empty

            for number in 0..19 do
                let change = [ Put(number, Array.create 900 (byte number)) ]
                let writes = Writes change
                store.Submit writes

                if (writes.Wait()).IsNone then
                    expected <- apply expected change

            Expect.isNonEmpty "frozen memtables" store.Current.Frozen
            store.Dispose()
            use store = openOn (SimulatedDisk(disk.Image.After NothingUnsynced))
            read store |> show |> Expect.equal "what was acknowledged" (show expected))
    ]
