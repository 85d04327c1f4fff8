/// What background work does by itself: it makes room without being asked, and goes around what it cannot read.
module LsmFs.Host.Tests.CompactionTests

open System
open System.Collections.Concurrent
open System.IO
open System.Text
open System.Threading
open Expecto
open Expecto.Flip
open Microsoft.Extensions.Logging
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders

let private key (number: int) = Encoding.ASCII.GetBytes $"key {number:D6}"

/// A clock that is set.
type private SetClock() =
    inherit TimeProvider()
    let mutable seconds = 1_000_000L
    member _.Advance(by: int64) = Interlocked.Add(&seconds, by) |> ignore
    override _.GetUtcNow() = DateTimeOffset.FromUnixTimeSeconds(Interlocked.Read &seconds)

/// A clock that jumps between two looks at it by the threads that compact: after it is armed they see the old time so many times more.
type private JumpingClock(seconds: int64, by: int64) =
    inherit TimeProvider()
    let mutable looks = Int32.MaxValue
    member _.Arm(count: int) = Volatile.Write(&looks, count)

    override _.GetUtcNow() =
        let isCompactor =
            match Thread.CurrentThread.Name with
            | null -> false
            | name -> name.StartsWith "lsmfs-compact"

        let hasJumped =
            if isCompactor && Volatile.Read &looks <> Int32.MaxValue then
                Interlocked.Decrement &looks < 0
            else
                Volatile.Read &looks < 0

        DateTimeOffset.FromUnixTimeSeconds(if hasJumped then seconds + by else seconds)

/// Keeps the lines of errors.
type private ErrorLines() =
    let lines = ConcurrentQueue<string>()
    member _.Lines = List.ofSeq lines

    interface ILogger with
        member _.BeginScope _ = null
        member _.IsEnabled _ = true

        member _.Log(level, _, state, cause, format) =
            if level >= LogLevel.Error then
                lines.Enqueue(format.Invoke(state, cause))

/// Bytes that do not shrink, so that sizes of tables say how much is in them.
let private value (number: int) : byte[] =
    let bytes = Array.zeroCreate 100
    Random(number).NextBytes bytes
    bytes

let private put (store: Store) (expirySeconds: uint32) (numbers: int seq) =
    for chunk in Seq.chunkBySize 50 numbers do
        let batch = WriteBatch()

        for number in chunk do
            batch.Put(ReadOnlySpan<byte>(key number), ReadOnlySpan<byte>(value number), 0u, expirySeconds)
            |> ignore

        store.Write batch

let private delete (store: Store) (numbers: int seq) =
    for chunk in Seq.chunkBySize 50 numbers do
        let batch = WriteBatch()

        for number in chunk do
            batch.Delete(key number) |> ignore

        store.Write batch

/// Declares everything dead, now or at a time.
type private FlushAll(atSeconds: uint32) =
    inherit Submission()
    let isDone = new ManualResetEventSlim(false)
    member _.Wait() = isDone.Wait()
    override _.Execute context = context.FlushAll atSeconds
    override _.Completed _ = isDone.Set()

let private flushAll (store: Store) (atSeconds: uint32) =
    let submission = FlushAll atSeconds
    store.Submit submission
    submission.Wait()

let private await (what: string) (isSo: unit -> bool) =
    SpinWait.SpinUntil(isSo, TimeSpan.FromSeconds 60.0) |> Expect.isTrue what

let private tableCount (store: Store) = Seq.sum store.Statistics.TableCounts

let private fileCount (folder: string) = Directory.GetFiles(folder, "*.sst").Length

let private settled (store: Store) =
    await "compacted" (fun () -> store.Statistics.FrozenMemtableCount = 0 && (nextPlan store).IsNone)

[<Tests>]
let tests =
    testList "Compaction" [
        testCase "after flush_all every table goes unread, in one edit, and its file with it" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder
                put store 0u (seq { 0..999 })
                store.Flush()
                settled store
                let compactions = store.Statistics.CompactionCount
                let tables = tableCount store
                flushAll store 0u
                await "no table is left" (fun () -> tableCount store = 0)
                await "nor a file" (fun () -> fileCount folder = 0)
                store.Statistics.DroppedTableCount |> Expect.equal "all were dropped" (int64 tables)
                store.Statistics.CompactionCount |> Expect.equal "none was read" compactions

                store.Get(key 1) |> Expect.isNull "nothing is there"))

        testCase "a delayed flush comes due although nobody writes, and survives a restart" (fun () ->
            withFolder (fun folder ->
                let clock = SetClock()

                (use store = openWith Durability.Os clock folder
                 put store 0u (seq { 0..199 })
                 store.Flush()
                 flushAll store 1_000_100u
                 store.Get(key 1) |> Expect.isNotNull "not yet"
                 clock.Advance 100L
                 store.Get(key 1) |> Expect.isNull "now"
                 await "no table is left" (fun () -> tableCount store = 0)
                 store.Current.Flush.PendingAtSeconds |> Expect.equal "it is a watermark" 0u
                 // What comes after it stays.
                 put store 0u [ 1 ])

                clock.Advance -50L
                use store = openWith Durability.Os clock folder
                store.Get(key 1) |> Expect.isNotNull "written after the flush"
                store.Get(key 2) |> Expect.isNull "flushed for good, even with the clock set back"))

        testCase "what has expired goes although nobody asks" (fun () ->
            withFolder (fun folder ->
                let clock = SetClock()
                use store = openWith Durability.Os clock folder
                put store 1_000_500u (seq { 0..499 })
                put store 1_000_900u (seq { 500..999 })
                store.Flush()
                settled store
                clock.Advance 900L
                await "no table is left" (fun () -> tableCount store = 0)
                await "nor a file" (fun () -> fileCount folder = 0)
                store.Statistics.DroppedTableCount |> (fun count -> Expect.isGreaterThan "unread" (count, 0L))))

        for looks in 0..8 do
            testCase $"time that passes between two looks at the clock is not missed, {looks}" (fun () ->
                withFolder (fun folder ->
                    let clock = JumpingClock(1_000_000L, 900L)
                    // Another thread would notice what one has missed.
                    use store = openSized tinyOptions 1 Durability.Os clock folder
                    put store 1_000_900u (seq { 0..99 })
                    store.Flush()
                    settled store
                    clock.Arm looks
                    await "no table is left" (fun () -> tableCount store = 0)))

        testCase "space comes back after deletes, without another write" (fun () ->
            withFolder (fun folder ->
                // Tombstones at rest in a level may hide as large a part of the store as the level may hold: as in a real one.
                let options = {
                    tinyOptions with
                        LevelSizeMultiplier = (Options.ofBudget Options.memoryBudgetBytesMin).LevelSizeMultiplier
                }

                use store = openSized options 3 Durability.Os TimeProvider.System folder
                put store 0u (seq { 0..3999 })
                store.Flush()
                settled store
                let before = Seq.sum store.Statistics.TableBytes
                delete store (seq { 0..3999 } |> Seq.filter (fun number -> number % 20 <> 0))
                store.Flush()
                settled store
                let after = store.Statistics

                Seq.sum after.TableBytes
                |> (fun bytes -> Expect.isLessThan "at most twice the twentieth that is left" (bytes, before / 10L))

                // What a scan walks over.
                after.Levels
                |> Seq.sumBy _.TombstoneCount
                |> (fun count -> Expect.isLessThan "few tombstones" (count, 200L))))

        testCase
            "a damaged table is set aside: writes and reads of what is whole go on, one line says what to do"
            (fun () ->
                withFolder (fun folder ->
                    (use store = openStore folder
                     put store 0u (seq { 0..299 })
                     store.Flush()
                     settled store)

                    // The first data block of the first table that there is.
                    let damaged = Directory.GetFiles(folder, "*.sst") |> Array.sort |> Array.head

                    (use stream = File.Open(damaged, FileMode.Open, FileAccess.ReadWrite)
                     stream.Position <- 20L
                     let value = stream.ReadByte()
                     stream.Position <- 20L
                     stream.WriteByte(byte (value ^^^ 1)))

                    let log = ErrorLines()

                    use store =
                        Store.Open(
                            StoreOptions(DataFolder = folder, Durability = Durability.Os, EngineOptions = tinyOptions),
                            log
                        )

                    // Many times what level 0 may hold: overwrites of every key.
                    for round in 1..30 do
                        put store 0u (seq { 300 * (round % 2) .. 300 * (round % 2) + 299 })

                    store.Flush()
                    await "it is found" (fun () -> store.Statistics.QuarantinedTables.Count = 1)
                    store.Statistics.WriteRefusal |> Expect.isNull "writes go on"
                    put store 0u (seq { 0..599 })

                    for number in 0..599 do
                        store.Get(key number) |> Expect.equal $"key {number}" (value number)

                    let lines = log.Lines |> List.filter (fun line -> line.Contains "set aside")
                    lines.Length |> Expect.equal "one line" 1
                    lines.Head |> Expect.stringStarts "names the file" (Path.GetFileName damaged |> string)
                    lines.Head |> Expect.stringContains "says what to do" "lsmfs check"))

        testCase "once compaction has caught up, nothing slows writes" (fun () ->
            withFolder (fun folder ->
                use store = openStore folder

                for _ in 1..20 do
                    put store 0u (seq { 0..1999 })

                settled store
                store.Statistics.Pace.Reason |> Expect.equal "nothing is owed" WritePressure.None
                store.Statistics.Pressure |> Expect.equal "nor at a bound" WritePressure.None))
    ]
