using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>A workload that both servers are given in turn.</summary>
internal sealed record SuiteRow(string Name, Func<Workload, Workload> Shape);

/// <summary>The rows of one pair of servers that differ in the workload alone.</summary>
internal static class SuiteRows
{
    const int MemoryMegabytes = 1024;
    /// <summary>Little enough that what is stored early is in tables, and that all blocks of those fit in the cache.</summary>
    const int SmallMemoryMegabytes = 256;

    public static readonly SuiteRow[] Os =
    [
        new("get, 50 connections", w => w),
        new("get, 500 connections", w => w with { ConnectionCount = 500 }),
        new("get, pipeline of 16", w => w with { PipelineDepth = 16 }),
        new("get, pipeline of 32", w => w with { PipelineDepth = 32 }),
        new("get of 50 keys", w => w with { MultiGetCount = 50 }),
        new("get, 50 connections, open loop of 10,000/s", w => w with { RatePerSecond = 10_000 }),
        new("90 % get, 10 % set, zipfian, 50 connections", w => w with { GetRatio = 0.9, ZipfianTheta = 0.99 }),
        new("set, 50 connections (os)", w => w with { GetRatio = 0 }),
        new("set, 500 connections (os)", w => w with { ConnectionCount = 500, GetRatio = 0 }),
        new("set, pipeline of 16 (os)", w => w with { PipelineDepth = 16, GetRatio = 0 }),
        new("set, pipeline of 32 (os)", w => w with { PipelineDepth = 32, GetRatio = 0 }),
        new("get, values of 1 KiB, 50 connections", w => Larger(w)),
        new("set, values of 1 KiB, 50 connections (os)", w => Larger(w) with { GetRatio = 0 }),
    ];

    public static readonly SuiteRow[] Sync =
    [
        new("set, 50 connections (sync)", w => w with { GetRatio = 0 }),
        new("set, 500 connections (sync)", w => w with { ConnectionCount = 500, GetRatio = 0 }),
    ];

    public static readonly SuiteRow[] Tables =
    [
        new("get from the block cache, 50 connections", w => w),
        new("get from the block cache, pipeline of 16", w => w with { PipelineDepth = 16 }),
    ];

    // Keys of another length are other keys.
    static Workload Larger(Workload workload) => workload with { KeyLength = workload.KeyLength + 1, ValueLengthMin = 1024, ValueLengthMax = 1024 };

    public static List<ResultRow> RunOs(SuiteOptions options, IReadOnlyList<SuiteRow> rows, CancellationToken stop) =>
        Run(options, "Beside memcached, durability os", "os", rows, stop);

    public static List<ResultRow> RunSync(SuiteOptions options, IReadOnlyList<SuiteRow> rows, CancellationToken stop) =>
        Run(options, "Beside memcached, durability sync", "sync", rows, stop);

    static List<ResultRow> Run(SuiteOptions options, string section, string durability, IReadOnlyList<SuiteRow> rows, CancellationToken stop)
    {
        using var servers = new ServerPair(options, durability, MemoryMegabytes, MemoryMegabytes, stop);
        HashSet<int> filledKeyLengths = [];
        List<ResultRow> results = [];
        foreach (var row in rows)
        {
            var workload = row.Shape(options.Workload);
            if (filledKeyLengths.Add(workload.KeyLength))
            {
                servers.Fill(workload, stop);
                servers.WarmUp(workload, options.IsQuick ? 1 : 3, stop);
            }
            Console.Error.WriteLine(row.Name);
            results.AddRange(SuiteReport.Rows(section, Comparison.Run(row.Name, workload, servers.LsmFs, servers.Memcached, options.RoundCount, stop)));
        }
        return results;
    }

    /// <summary>Gets of keys that have left the memtable: each reads a table, whose blocks are in the cache.</summary>
    public static List<ResultRow> RunTables(SuiteOptions options, IReadOnlyList<SuiteRow> rows, CancellationToken stop)
    {
        var workload = options.Workload with { KeyCount = 500_000 };
        using var servers = new ServerPair(options, "os", SmallMemoryMegabytes, MemoryMegabytes, stop);
        servers.Fill(workload, stop);
        // As many other keys push them out of the memtable.
        servers.Fill(workload with { KeyLength = workload.KeyLength + 1 }, stop);
        servers.WarmUp(workload with { KeyLength = workload.KeyLength + 1, KeyCount = 1000 }, options.IsQuick ? 1 : 3, stop);
        Quiet.Wait(servers.LsmFs, stop);
        foreach (var target in (Target[])[servers.LsmFs, servers.Memcached])
        {
            ReadAll(workload, target, stop);
        }
        List<ResultRow> results = [];
        foreach (var row in rows)
        {
            Console.Error.WriteLine(row.Name);
            var before = StatisticsClient.AskEngine(servers.LsmFs);
            var comparison = Comparison.Run(row.Name, row.Shape(workload), servers.LsmFs, servers.Memcached, options.RoundCount, stop);
            var after = StatisticsClient.AskEngine(servers.LsmFs);
            var (hits, misses) = (after["cache_hits"] - before["cache_hits"], after["cache_misses"] - before["cache_misses"]);
            var note = SuiteReport.Text(
                $"LsmFs with -m {SmallMemoryMegabytes}: {workload.KeyCount:N0} keys and as many others after them, all flushed; of the blocks that lookups asked for {100 * hits / (hits + misses):F1} % were in the cache.");
            results.AddRange(SuiteReport.Rows("Beside memcached, from tables", comparison, note));
        }
        return results;
    }

    /// <summary>Reads every key once, so that what fits the cache is in it.</summary>
    public static void ReadAll(Workload workload, Target target, CancellationToken stop) =>
        Runner.Run(workload with { Kind = WorkloadKind.Check, IsVerified = true, MultiGetCount = 50, PipelineDepth = 4, ConnectionCount = 50 }, target, stop);
}
