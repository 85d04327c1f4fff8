namespace LsmFs.Engine

/// What an acknowledged write survives.
type Durability =
    /// A power cut: the reply follows the sync of the log.
    | Sync = 0
    /// The end of the process: the reply follows the write of the log, which the operating system syncs when it likes.
    | Os = 1
    /// Nothing: there is no log. A clean stop still writes everything to tables.
    | Memory = 2

/// How blocks of new tables are compressed. Every block says its own, so tables of all kinds live side by side.
type Compression =
    | None = 0
    /// Fast both ways.
    | Lz4 = 1
    /// Smaller, at several times the processor time.
    | Zstd = 2

/// The sizes an engine works with. They follow from one memory budget (`Options.ofBudget`); tests make them small.
type Options = {
    /// Memory for memtables, the block cache, and the metadata of tables together.
    MemoryBudgetBytes: int64
    /// Memory for the block cache and the metadata of tables together.
    CacheSizeBytes: int64
    /// A memtable is frozen when its arena holds this much.
    MemtableSizeBytes: int64
    /// Frozen memtables that may wait for their flush before writes wait too.
    FrozenMemtableCountMax: int
    /// The unit in which memtables take memory.
    ChunkSizeBytes: int
    /// A data block is closed when it holds this much.
    BlockSizeBytes: int
    /// A partition (the index and filter of some data blocks) is closed when it holds this much.
    PartitionSizeBytes: int
    /// How blocks of new tables are compressed.
    Compression: Compression
    /// A compaction starts a new table when the current one holds this much.
    TableSizeBytes: int64
    /// Bits of bloom filter for each key of the store; `FilterBudget` divides them among the levels. In a `TableBuilder`, those of each key of its tables.
    BloomBitsPerKey: int
    /// Tables in level 0 that make it due for compaction.
    LevelZeroTableCountTrigger: int
    /// Tables in level 0 at which writes wait for compaction.
    LevelZeroTableCountMax: int
    /// The most that level 1 may hold. A store with data for more levels than one may hold `LevelSizeMultiplier` times as much in each.
    LevelOneSizeBytes: int64
    /// How many times as much a level holds as the one above it.
    LevelSizeMultiplier: int
    /// Levels, level 0 included.
    LevelCount: int
}

/// Deriving the sizes from the budget.
[<RequireQualifiedAccess>]
module Options =

    let private mebibyte = 1024L * 1024L

    /// The smallest memory budget a store can work with, in bytes.
    let memoryBudgetBytesMin = 8L * mebibyte

    let private frozenMemtableCountMax = 2

    /// The sizes for a memory budget in bytes. One memtable fills while up to two wait to be flushed; each gets a sixth of the budget, but not
    /// more than 256 MiB, and the cache gets the rest.
    let ofBudget (memoryBudgetBytes: int64) : Options =
        let memtable = memoryBudgetBytes / 6L |> max mebibyte |> min (256L * mebibyte)

        {
            MemoryBudgetBytes = memoryBudgetBytes
            CacheSizeBytes = memoryBudgetBytes - int64 (1 + frozenMemtableCountMax) * memtable |> max 0L
            MemtableSizeBytes = memtable
            FrozenMemtableCountMax = frozenMemtableCountMax
            ChunkSizeBytes = 1 <<< 20
            BlockSizeBytes = 4096
            PartitionSizeBytes = 8192
            Compression = Compression.Lz4
            TableSizeBytes = memtable |> max (8L * mebibyte) |> min (64L * mebibyte)
            BloomBitsPerKey = 10
            LevelZeroTableCountTrigger = 8
            LevelZeroTableCountMax = 20
            LevelOneSizeBytes = memtable * 8L |> max (32L * mebibyte)
            LevelSizeMultiplier = 10
            LevelCount = 7
        }

    /// The same sizes with another compression of new tables.
    let withCompression (compression: Compression) (options: Options) : Options = {
        options with
            Compression = compression
    }

    /// Memory of flushed memtables that is kept for the next ones: as much as may be frozen, which the budget has anyway. A memtable takes a chunk more than its size
    /// where the last write passes it.
    let recycledBytesMax (options: Options) : int64 =
        let chunk = int64 options.ChunkSizeBytes
        let chunkCount = (options.MemtableSizeBytes + chunk - 1L) / chunk + 1L
        int64 options.FrozenMemtableCountMax * chunkCount * chunk

    /// What the cache may take beside this much metadata of opened tables: the rest of their common share, but never less than an eighth of it, since
    /// a store without any cache would read every block again and again.
    let cacheSizeBytes (options: Options) (tableMemoryBytes: int64) : int64 =
        max (options.CacheSizeBytes / 8L) (options.CacheSizeBytes - tableMemoryBytes)
