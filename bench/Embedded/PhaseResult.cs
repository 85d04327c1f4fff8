namespace LsmFs.Embedded;

/// <summary>What one kind of operation did in a phase, by the second in which each ended. Latencies in microseconds.</summary>
internal sealed record OperationFigures
{
    public required long Count { get; init; }

    public required IReadOnlyList<long> CountBySecond { get; init; }

    public required IReadOnlyList<double> WorstBySecond { get; init; }

    public required double P50 { get; init; }

    public required double P99 { get; init; }

    public required double P999 { get; init; }

    public required double Worst { get; init; }
}

/// <summary>A phase: what was done, how fast, and what it took.</summary>
internal sealed record PhaseResult
{
    public required string Name { get; init; }

    public required double Seconds { get; init; }

    public OperationFigures? Writes { get; init; }

    public OperationFigures? Reads { get; init; }

    /// <summary>Items that a scan of everything went through, in <see cref="Seconds"/>.</summary>
    public long ScannedCount { get; init; }

    /// <summary>Milliseconds that the call took which removed everything.</summary>
    public double RemovalMilliseconds { get; init; }

    /// <summary>Bytes of keys and values that were written.</summary>
    public long UserWrittenBytes { get; init; }

    /// <summary>Items that ought to be there at the end.</summary>
    public required long LiveCount { get; init; }

    /// <summary>Values that were missing, wrong, or there against expectation.</summary>
    public long WrongCount { get; init; }

    /// <summary>Of this process, over the phase and what followed.</summary>
    public required double CpuSeconds { get; init; }

    public required IoFigures Io { get; init; }

    /// <summary>How long background work went on after the phase, and what it read and wrote.</summary>
    public double SettleSeconds { get; init; }

    public IoFigures SettleIo { get; init; }

    /// <summary>Whether it went on for as long as we watched.</summary>
    public bool IsUnsettled { get; init; }

    /// <summary>Samples over the phase and what followed.</summary>
    public required IReadOnlyList<SizeSample> Samples { get; init; }

    /// <summary>What the engine's own counters grew by, over the phase and what followed.</summary>
    public required SortedDictionary<string, long> Counters { get; init; }

    /// <summary>What they said in the end.</summary>
    public required SortedDictionary<string, long> CountersAtEnd { get; init; }
}

/// <summary>All that one process has found out about an engine.</summary>
internal sealed record RunResult
{
    public required string Engine { get; init; }

    public required string Setup { get; init; }

    /// <summary>Memory of the process before it opened the engine.</summary>
    public required SizeSample Empty { get; init; }

    public required List<PhaseResult> Phases { get; init; }
}
