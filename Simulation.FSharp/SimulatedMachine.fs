namespace LsmFs.Simulation

open System
open Microsoft.Extensions.Logging
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host

/// A machine with one disk and one clock, on which a store runs without a thread of its own, so that a test decides what happens when, and what a crash leaves.
/// What is done to it is done from one thread.
///
///     let machine = SimulatedMachine()
///     let store = machine.OpenStore Durability.Sync
///     store.Write(WriteBatch().Put("key"B, "value"B))
///     machine.Crash NothingUnsynced
///     use store = machine.OpenStore Durability.Sync
///     store.Get "key"B // "value"B
[<Sealed>]
type SimulatedMachine(start: DiskImage) =
    let mutable disk = SimulatedDisk start
    let clock = SimulatedClock()

    /// A machine with a new disk.
    new() = SimulatedMachine DiskImage.Empty

    /// Sizes for which a few hundred small writes are enough to reach every level; the default of `StoreOptions`.
    static member SmallSizes: Options = {
        Options.ofBudget (8L <<< 20) with
            CacheSizeBytes = 32768L
            ChunkSizeBytes = 4096
            MemtableSizeBytes = 6000L
            BlockSizeBytes = 256
            PartitionSizeBytes = 512
            TableSizeBytes = 3000L
            LevelZeroTableCountTrigger = 2
            LevelZeroTableCountMax = 12
            LevelOneSizeBytes = 6000L
            LevelSizeMultiplier = 3
    }

    /// The disk: fill it, let operations fail, look at it.
    member _.Disk: SimulatedDisk = disk

    /// The clock.
    member _.Clock: SimulatedClock = clock

    /// Options of a store on a disk and a clock; `idle` lets time pass.
    static member internal OptionsOn
        (disk: SimulatedDisk, clock: SimulatedClock, durability: Durability, sizes: Options, idle: unit -> unit)
        : StoreOptions =
        StoreOptions(
            DataFolder = "/simulated",
            Durability = durability,
            EngineOptions = sizes,
            Clock = clock,
            Scheduling = Scheduling.Manual,
            FileSystem = disk.FileSystem,
            CompactionThreadCount = 2,
            ManifestEditBytesMax = 400L,
            Idle = idle
        )

    /// Options of a store on this machine, for `Store.Open`, as long as it does not crash.
    member _.StoreOptions(durability: Durability, sizes: Options) : StoreOptions =
        let idle () =
            clock.Advance(TimeSpan.FromMilliseconds 1.0)
            clock.RunTimers() |> ignore

        SimulatedMachine.OptionsOn(disk, clock, durability, sizes, idle)

    /// Options of a store with small sizes.
    member machine.StoreOptions(durability: Durability) : StoreOptions =
        machine.StoreOptions(durability, SimulatedMachine.SmallSizes)

    /// Opens the store in the one folder of the disk. Throws `StoreException` as `Store.Open` does.
    member machine.OpenStore(durability: Durability) : Store =
        Store.Open(machine.StoreOptions durability, NullLogger.Instance)

    /// Opens the store with a log of what it tells its operator.
    member machine.OpenStore(durability: Durability, log: ILogger) : Store =
        Store.Open(machine.StoreOptions durability, log)

    /// Ends the process, and with it every store that is open: forget them. The machine starts again with what its disk has kept.
    member _.Crash(loss: PowerLoss) : unit =
        let image = disk.Stop()
        clock.DropTimers()
        disk <- SimulatedDisk(image.After loss, CapacityBytes = disk.CapacityBytes)
