using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>Whether a get costs more when there are many more keys, all of them in memory: each server against itself.</summary>
internal static class GrowthRows
{
    const string Section = "From 1 to 20 million keys";
    const uint FewKeys = 1_000_000;
    const int MemoryMegabytes = 4096, PeerMemoryMegabytes = 6144;

    public static readonly SuiteRow[] Rows =
    [
        new("get, 20 million keys against 1 million", w => w),
        new("get, pipeline of 16, 20 million keys against 1 million", w => w with { PipelineDepth = 16 }),
    ];

    public static List<ResultRow> Run(SuiteOptions options, IReadOnlyList<SuiteRow> rows, CancellationToken stop)
    {
        var few = options.Workload with { KeyCount = FewKeys, ValueLengthMin = 32, ValueLengthMax = 32 };
        var many = few with { KeyCount = options.IsQuick ? FewKeys * 2 : FewKeys * 20 };
        using var small = Filled(options, few, stop);
        using var large = Filled(options, many, stop);
        List<ResultRow> results = [];
        foreach (var row in rows)
        {
            Console.Error.WriteLine(row.Name);
            var before = StatisticsClient.AskEngine(large.LsmFs);
            // Pairs of neighbours in time: both servers with few keys, then both with many.
            var ofFew = new Comparison(row.Name, [], []);
            var ofMany = ofFew;
            for (var round = 0; round < options.RoundCount; round++)
            {
                ofFew = ofFew.And(Comparison.Run($"{row.Name} 1", row.Shape(few), small.LsmFs, small.Memcached, 1, stop));
                ofMany = ofMany.And(Comparison.Run($"{row.Name} 20", row.Shape(many), large.LsmFs, large.Memcached, 1, stop));
            }
            var after = StatisticsClient.AskEngine(large.LsmFs);
            var (hits, misses) = (after["cache_hits"] - before["cache_hits"], after["cache_misses"] - before["cache_misses"]);
            var note = SuiteReport.Text(
                $"{many.KeyCount:N0} keys of {many.KeyLength} bytes with values of {many.ValueLengthMax} against {few.KeyCount:N0}, LsmFs with -m {MemoryMegabytes}, uniform. {after["table_entries"]:N0} entries were in tables; of the blocks that lookups asked for {100 * hits / (hits + misses):F1} % were in the cache.");
            results.Add(SuiteReport.Row(
                Section, row.Name, $"{SuiteReport.ServerCpu} ratio", Ratios(ofMany.A, ofFew.A), Ratios(ofMany.B, ofFew.B), note));
            foreach (var (name, comparison) in new[] { ("1 million keys", ofFew), ("20 million keys", ofMany) })
            {
                results.AddRange(SuiteReport.Rows(Section, comparison with { Name = $"{row.Name.Split(", 20")[0]}, {name}" })
                    .Where(each => each.Unit is SuiteReport.ServerCpu or "operations/s"));
            }
        }
        return results;
    }

    static ServerPair Filled(SuiteOptions options, Workload workload, CancellationToken stop)
    {
        var servers = new ServerPair(options, "os", MemoryMegabytes, PeerMemoryMegabytes, stop);
        try
        {
            Console.Error.WriteLine(SuiteReport.Text($"storing {workload.KeyCount:N0} keys"));
            servers.Fill(workload, stop);
            // Few overwrites, so that the tables stay what the fill has made of them.
            servers.WarmUp(workload with { KeyCount = 1000 }, options.IsQuick ? 1 : 3, stop);
            Quiet.Wait(servers.LsmFs, stop);
            SuiteRows.ReadAll(workload, servers.LsmFs, stop);
            return servers;
        }
        catch
        {
            servers.Dispose();
            throw;
        }
    }

    static double?[] Ratios(IReadOnlyList<Measurement> ofMany, IReadOnlyList<Measurement> ofFew) =>
        [.. ofMany.Zip(ofFew, (many, few) => many.ServerCpuMicrosecondsPerOperation / few.ServerCpuMicrosecondsPerOperation)];
}
