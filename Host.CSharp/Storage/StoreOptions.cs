using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Where a store lives and what it may use.</summary>
public sealed record StoreOptions
{
    /// <summary>The folder with the store's files; created when it is not there.</summary>
    public required string DataFolder { get; init; }

    /// <summary>What an acknowledged write survives.</summary>
    public Durability Durability { get; init; } = Durability.Sync;

    /// <summary>Memory for memtables, block cache, and filters and indexes of tables, in bytes.</summary>
    public long MemoryBudgetBytes { get; init; } = 64L << 20;

    /// <summary>How blocks of new tables are compressed. Every block says its own, so it may be changed at any start.</summary>
    public Compression Compression { get; init; } = Compression.Lz4;

    /// <summary>Sizes that replace those derived from the memory budget; for tests.</summary>
    public Options? EngineOptions { get; init; }

    /// <summary>The clock; for tests.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Who carries out the store's work; <see cref="Host.Scheduling.Manual"/> for simulations and tests.</summary>
    public Scheduling Scheduling { get; init; } = Scheduling.Threads;

    /// <summary>What a call that waits does under <see cref="Host.Scheduling.Manual"/> when there is no work that would help: it lets time pass.</summary>
    internal Action Idle { get; init; } = () => Thread.Sleep(1);

    /// <summary>The files; for tests.</summary>
    internal FileSystem FileSystem { get; init; } = FileSystem.OfOperatingSystem;

    /// <summary>How many compactions may go on at a time; for tests.</summary>
    internal int CompactionThreadCount { get; init; } = Math.Clamp(Environment.ProcessorCount / 2, 1, 4);

    /// <summary>How long failed background work waits until it is tried again; for tests.</summary>
    internal TimeSpan RetryDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Whether flushes and compactions leave their processors to others now and then while they are ahead; not where someone waits for their end.</summary>
    internal bool RestsInBackground { get; init; } = true;

    /// <summary>Which compaction comes next.</summary>
    internal Func<Options, PickingInput, Microsoft.FSharp.Core.FSharpOption<CompactionPlan>?> Pick { get; init; } = Picking.pick;

    /// <summary>How many bytes of edits a manifest takes before it is replaced by a new one; for tests.</summary>
    internal long ManifestEditBytesMax { get; init; } = 4 << 20;
}
