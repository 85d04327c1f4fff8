namespace LsmFs.Host;

/// <summary>What an acknowledged write survives.</summary>
public enum Durability
{
    /// <summary>A power failure: the reply follows the sync of the log.</summary>
    Sync,

    /// <summary>A crash of the process: the reply follows the write of the log, and the operating system syncs when it likes.</summary>
    Os,

    /// <summary>Nothing: there is no log. A clean stop still writes everything to tables.</summary>
    Memory,
}

/// <summary>Where a store lives and what it may use.</summary>
public sealed record StoreOptions
{
    /// <summary>The folder with the store's files; created when it is not there.</summary>
    public required string DataFolder { get; init; }

    /// <summary>What an acknowledged write survives.</summary>
    public Durability Durability { get; init; } = Durability.Sync;

    /// <summary>Memory for memtables, filters and indexes, in bytes.</summary>
    public long MemoryBudgetBytes { get; init; } = 64L << 20;

    /// <summary>Sizes that replace those derived from the memory budget; for tests.</summary>
    public LsmFs.Engine.Options? EngineOptions { get; init; }

    /// <summary>The clock; for tests.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;
}
