using HdrHistogram;

namespace LsmFs.Load;

/// <summary>Latencies in microseconds.</summary>
public sealed record LatencySummary(long Count, double P50, double P90, double P99, double P999, double Max)
{
    public static LatencySummary? From(HistogramBase histogram)
    {
        double At(double percentile) => histogram.GetValueAtPercentile(percentile) / 1000.0;
        return histogram.TotalCount == 0 ? null : new(histogram.TotalCount, At(50), At(90), At(99), At(99.9), At(100));
    }
}

/// <summary>What one run of one workload against one server gave. CPU times are those of the measured phase alone.</summary>
public sealed record Measurement
{
    public required string Server { get; init; }
    public required string Kind { get; init; }
    public required long Operations { get; init; }
    public required double ElapsedSeconds { get; init; }
    public required double OperationsPerSecond { get; init; }
    public required double KeysPerSecond { get; init; }
    public required LatencySummary? Latency { get; init; }
    public required LatencySummary? GetLatency { get; init; }
    public required LatencySummary? SetLatency { get; init; }
    public required long Hits { get; init; }
    public required long Misses { get; init; }
    public required long Wrong { get; init; }
    public required long Errors { get; init; }
    public required long Unsent { get; init; }
    public required string? FirstError { get; init; }
    public required IReadOnlyList<string> MissingKeys { get; init; }
    public required IReadOnlyList<string> WrongKeys { get; init; }
    public required double? ServerCpuMicrosecondsPerOperation { get; init; }
    public required double? ServerCpuCores { get; init; }
    public required long? ServerResidentBytes { get; init; }
    public required double GeneratorCpuMicrosecondsPerOperation { get; init; }
    /// <summary>Near the number of threads, the generator itself was the limit.</summary>
    public required double GeneratorCpuCores { get; init; }
    /// <summary>What everything else on the machine used meanwhile: the noise. Known only when the server's process is.</summary>
    public required double? OtherCpuCores { get; init; }

    /// <summary>Whether every reply was what the workload implies; a missing key counts only where it must be there.</summary>
    public bool IsClean => Wrong == 0 && Errors == 0 && Unsent == 0 && (Misses == 0 || Kind != "check");

    public static Measurement From(
        Workload workload, Target target, LoopResult result, double elapsedSeconds, CpuSample before, CpuSample after)
    {
        var all = (LongHistogram)result.GetLatency.Copy();
        all.Add(result.SetLatency);
        var operations = Math.Max(result.OperationCount - result.UnsentCount, 0);
        var keys = result.HitCount + result.MissCount + result.WrongCount + result.SetLatency.TotalCount;
        var serverCpuSeconds = after.Server?.CpuSeconds - before.Server?.CpuSeconds;
        var generatorCpuSeconds = after.GeneratorSeconds - before.GeneratorSeconds;
        var otherCpuSeconds = after.MachineSeconds - before.MachineSeconds - generatorCpuSeconds - serverCpuSeconds;
        return new Measurement
        {
            Server = target.Name,
            Kind = workload.Kind.ToString().ToLowerInvariant(),
            Operations = operations,
            ElapsedSeconds = elapsedSeconds,
            OperationsPerSecond = operations / elapsedSeconds,
            KeysPerSecond = keys / elapsedSeconds,
            Latency = LatencySummary.From(all),
            GetLatency = LatencySummary.From(result.GetLatency),
            SetLatency = LatencySummary.From(result.SetLatency),
            Hits = result.HitCount,
            Misses = result.MissCount,
            Wrong = result.WrongCount,
            Errors = result.ErrorCount,
            Unsent = result.UnsentCount,
            FirstError = result.FirstError,
            MissingKeys = Names(workload, result.MissingKeys),
            WrongKeys = Names(workload, result.WrongKeys),
            ServerCpuMicrosecondsPerOperation = serverCpuSeconds * 1e6 / Math.Max(operations, 1),
            ServerCpuCores = serverCpuSeconds / elapsedSeconds,
            ServerResidentBytes = after.Server?.ResidentBytes,
            GeneratorCpuMicrosecondsPerOperation = generatorCpuSeconds * 1e6 / Math.Max(operations, 1),
            GeneratorCpuCores = generatorCpuSeconds / elapsedSeconds,
            OtherCpuCores = otherCpuSeconds is { } seconds ? Math.Max(seconds, 0) / elapsedSeconds : null,
        };
    }

    static List<string> Names(Workload workload, List<uint> keys)
    {
        var dataset = workload.CreateDataset();
        var text = new byte[workload.KeyLength];
        return keys.ConvertAll(key =>
        {
            dataset.WriteKey(key, text);
            return System.Text.Encoding.ASCII.GetString(text);
        });
    }
}
