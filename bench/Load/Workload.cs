using System.Net;

namespace LsmFs.Load;

public enum WorkloadKind { Fill, Run, Check }

/// <summary>A server to be measured. Without a process id there is no CPU time or memory to report.</summary>
public sealed record Target(string Name, IPEndPoint Address, int? ProcessId);

/// <summary>Everything that decides which requests are sent, when, over how many connections and for how long.</summary>
public sealed record Workload
{
    public WorkloadKind Kind { get; init; } = WorkloadKind.Run;
    public uint KeyCount { get; init; } = 1_000_000;
    public int KeyLength { get; init; } = 16;
    public int ValueLengthMin { get; init; } = 100;
    public int ValueLengthMax { get; init; } = 100;
    public ulong ValueSeed { get; init; } = 1;
    public ulong Seed { get; init; } = 1;
    /// <summary>Share of gets among the operations of a run, 0 to 1; the others are sets.</summary>
    public double GetRatio { get; init; } = 1;
    /// <summary>Keys in one get command.</summary>
    public int MultiGetCount { get; init; } = 1;
    /// <summary>Exponent of the zipfian distribution; null draws keys uniformly.</summary>
    public double? ZipfianTheta { get; init; }
    /// <summary>A fill or check visits the keys in a random order instead of ascending.</summary>
    public bool IsShuffled { get; init; }
    public int ConnectionCount { get; init; } = 50;
    public int ThreadCount { get; init; } = 1;
    /// <summary>Requests sent together on one connection; the next ones follow when all are answered.</summary>
    public int PipelineDepth { get; init; } = 1;
    /// <summary>Operations per second of an open loop; null is a closed loop.</summary>
    public double? RatePerSecond { get; init; }
    public double Seconds { get; init; } = 5;
    /// <summary>Ends a run after this many operations instead of after <see cref="Seconds"/>.</summary>
    public long? OperationCount { get; init; }
    public double WarmupSeconds { get; init; } = 1;
    /// <summary>Compare every byte of every value, not only the key, flags, length and framing of each reply.</summary>
    public bool IsVerified { get; init; }
    public double TimeoutSeconds { get; init; } = 15;

    public Dataset CreateDataset() => new(KeyCount, KeyLength, ValueLengthMin, ValueLengthMax, ValueSeed);
}

/// <summary>One operation on the wire: a set of one key or a get of some keys.</summary>
public struct Operation
{
    public bool IsGet;
    public int FirstKey;
    public int KeyCount;
    /// <summary>The moment latency counts from.</summary>
    public long StartedAt;
}

/// <summary>Draws the operations of one thread. A fill or check hands each key to exactly one thread.</summary>
public sealed class OperationSource
{
    readonly Workload workload;
    readonly Zipfian? zipfian;
    readonly Permutation permutation;
    readonly uint getThreshold;
    readonly int thread;
    Random64 random;
    long nextOrdinal;

    public OperationSource(Workload workload, Zipfian? zipfian, int thread)
    {
        this.workload = workload;
        this.zipfian = zipfian;
        this.thread = thread;
        permutation = new Permutation(workload.KeyCount, workload.Seed);
        random = new Random64(Random64.Mix(workload.Seed + ((ulong)thread << 32)));
        getThreshold = (uint)Math.Round(workload.GetRatio * 1_000_000);
        nextOrdinal = thread;
    }

    /// <summary>Operations this thread makes before it has nothing left to do; long.MaxValue when only time ends it.</summary>
    public long OperationCount
    {
        get
        {
            long Share(long total) => (total - thread + workload.ThreadCount - 1) / workload.ThreadCount;
            return workload.Kind switch
            {
                WorkloadKind.Fill => Share(workload.KeyCount),
                WorkloadKind.Check => (Share(workload.KeyCount) + workload.MultiGetCount - 1) / workload.MultiGetCount,
                _ => workload.OperationCount is { } total ? Share(total) : long.MaxValue,
            };
        }
    }

    /// <summary>Fills in the operation and its keys; keys holds as many as one operation can have.</summary>
    public void Next(ref Operation operation, Span<uint> keys)
    {
        switch (workload.Kind)
        {
            case WorkloadKind.Fill:
                operation.IsGet = false;
                operation.KeyCount = NextInOrder(keys[..1]);
                break;
            case WorkloadKind.Check:
                operation.IsGet = true;
                operation.KeyCount = NextInOrder(keys);
                break;
            default:
                operation.IsGet = getThreshold != 0 && (getThreshold >= 1_000_000 || random.NextBelow(1_000_000) < getThreshold);
                operation.KeyCount = operation.IsGet ? keys.Length : 1;
                foreach (ref var key in keys[..operation.KeyCount])
                {
                    // Scattered, so that popular keys are not neighbours in the order of keys.
                    key = zipfian is null ? random.NextBelow(workload.KeyCount) : permutation.At(zipfian.Next(ref random));
                }
                break;
        }
    }

    int NextInOrder(Span<uint> keys)
    {
        var count = 0;
        while (count < keys.Length && nextOrdinal < workload.KeyCount)
        {
            keys[count++] = workload.IsShuffled ? permutation.At((uint)nextOrdinal) : (uint)nextOrdinal;
            nextOrdinal += workload.ThreadCount;
        }
        return count;
    }
}
