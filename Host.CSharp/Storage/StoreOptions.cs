using LsmFs.Engine;

namespace LsmFs.Host;

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
    public Options? EngineOptions { get; init; }

    /// <summary>The clock; for tests.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;
}
