namespace LsmFs.Cli

/// What `lsmfs tree` is to do.
type TreeOptions = {
    /// The folder of the data, as given.
    DataFolder: string
}

/// What `lsmfs check` is to do.
type CheckOptions = {
    /// The folder of the data, as given.
    DataFolder: string
}

/// What `lsmfs dump` is to do.
type DumpOptions = {
    /// The folder of the data, as given.
    DataFolder: string
    /// The file to write, as given; none: stdout.
    OutFile: string voption
}

/// What `lsmfs load` is to do.
type LoadOptions = {
    /// The folder of the data, as given.
    DataFolder: string
    /// The file to read, as given; none: stdin.
    InFile: string voption
    /// Memory for memtables, filters and indexes together.
    MemoryBudgetBytes: int64
}

/// What `lsmfs backup` is to do.
type BackupOptions = {
    /// The folder of the data, as given.
    DataFolder: string
    /// The folder of the backup, as given.
    ToFolder: string
    /// Whether the tables that the backup has already are verified, too.
    VerifyAll: bool
}

/// What `lsmfs salvage` is to do.
type SalvageOptions = {
    /// The folder of the damaged store, as given.
    DataFolder: string
    /// The folder of the new one, as given.
    ToFolder: string
    /// Whether items that may be stale are left out.
    Strict: bool
}

/// What `lsmfs compact` is to do.
type CompactOptions = {
    /// The folder of the data, as given.
    DataFolder: string
    /// Memory for memtables, block cache, and filters and indexes of tables. The sizes of tables follow from it.
    MemoryBudgetBytes: int64
}

/// What `lsmfs stats` is to do.
type StatsOptions = {
    /// Where the server listens.
    Server: ListenAddress
}
