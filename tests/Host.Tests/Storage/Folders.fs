/// Stores in folders of their own.
module LsmFs.Host.Tests.Folders

open System
open System.IO
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host

/// Calls `body` with a new folder and removes it afterwards.
let withFolder (body: string -> 'result) : 'result =
    let folder = Directory.CreateTempSubdirectory "lsmfs-test-"

    try
        body folder.FullName
    finally
        folder.Delete true

/// Sizes that make a few hundred writes go through every level.
let tinyOptions: Options = {
    Options.ofBudget (8L <<< 20) with
        ChunkSizeBytes = 4096
        MemtableSizeBytes = 6000L
        BlockSizeBytes = 256
        TableSizeBytes = 3000L
        LevelZeroTableCountTrigger = 2
        LevelOneSizeBytes = 6000L
        LevelSizeMultiplier = 3
}

/// Opens a store with these sizes that compacts on so many threads.
let openSized
    (options: Options)
    (threadCount: int)
    (durability: Durability)
    (clock: TimeProvider)
    (folder: string)
    : Store =
    Store.Open(
        StoreOptions(
            DataFolder = folder,
            Durability = durability,
            EngineOptions = options,
            Clock = clock,
            CompactionThreadCount = threadCount
        ),
        NullLogger.Instance
    )

/// Opens a store with tiny sizes. It compacts on more threads than the machine would have, so that plans meet.
let openWith: Durability -> TimeProvider -> string -> Store = openSized tinyOptions 3

let openStore (folder: string) : Store = openWith Durability.Os TimeProvider.System folder

/// The compaction that is due, if one is.
let nextPlan (store: Store) : CompactionPlan option =
    Picking.pick store.EngineOptions (Work.pickingInput store.Current (store.NowSeconds()) [] store.QuarantinedTables)
