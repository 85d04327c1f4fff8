using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>
/// Latency at 70 % of the load that the slower of both can take, half gets and half sets, with a memtable so small that LsmFs flushes and compacts
/// all the time: an open loop, so that whoever stalls pays for all that was due meanwhile.
/// </summary>
internal static class TailRow
{
    public const string Name = "70 % of peak, flush and compaction running";
    const string Section = "Tail latency";
    const int MemoryMegabytes = 64, PeerMemoryMegabytes = 1024;
    const double LoadOfPeak = 0.7;

    public static readonly SuiteRow[] Rows = [new(Name, w => w with { KeyCount = 200_000, ValueLengthMin = 300, ValueLengthMax = 300, GetRatio = 0.5 })];

    public static List<ResultRow> Run(SuiteOptions options, IReadOnlyList<SuiteRow> rows, CancellationToken stop)
    {
        var workload = rows[0].Shape(options.Workload);
        using var servers = new ServerPair(options, "os", MemoryMegabytes, PeerMemoryMegabytes, stop);
        servers.Fill(workload, stop);
        servers.WarmUp(workload, options.IsQuick ? 2 : 4, stop);
        Console.Error.WriteLine("peak, half gets and half sets");
        var peaks = Comparison.Run("peak", workload, servers.LsmFs, servers.Memcached, options.IsQuick ? 1 : 2, stop);
        var peak = Math.Min(PeakOf(peaks.A), PeakOf(peaks.B));
        var rate = Math.Floor(peak * LoadOfPeak);

        Console.Error.WriteLine(SuiteReport.Text($"{Name}: {rate:N0}/s"));
        var atRate = workload with { RatePerSecond = rate, Seconds = options.IsQuick ? 4 : 12, WarmupSeconds = 1 };
        List<Measurement> ours = [], theirs = [];
        List<double?> longestPauses = [], pauseShares = [];
        double? flushes = 0, compactions = 0;
        for (var round = 0; round < options.RoundCount; round++)
        {
            var before = StatisticsClient.AskEngine(servers.LsmFs);
            void Begin()
            {
                StatisticsClient.Ask(servers.LsmFs, "stats reset");
                before = StatisticsClient.AskEngine(servers.LsmFs);
            }
            void End()
            {
                var after = StatisticsClient.AskEngine(servers.LsmFs);
                double? Since(string name) => after[name] - before[name];
                flushes += Since("flushes");
                compactions += Since("compactions");
                longestPauses.Add(after["gc_longest_pause_us"] / 1000);
                pauseShares.Add(Since("gc_pauses_us") / 1000 / atRate.Seconds);
            }
            ours.Add(Runner.Run(atRate, servers.LsmFs, stop, Begin, End));
            theirs.Add(Runner.Run(atRate, servers.Memcached, stop));
            Comparison.PrintRound(ours[^1]);
            Comparison.PrintRound(theirs[^1]);
            Console.Error.WriteLine(SuiteReport.Text(
                $"  p99.9 {ours[^1].Latency?.P999:F0} / {theirs[^1].Latency?.P999:F0} µs, longest GC pause {longestPauses[^1]:F2} ms, so far {flushes} flushes, {compactions} compactions"));
        }
        var both = flushes > 0 && compactions > 0 ? "" : " So this is not what the row is about: the load was too small for both.";
        var note = SuiteReport.Text(
            $"An open loop of {rate:N0}/s, 70 % of the lower peak ({PeakOf(peaks.A):N0}/s LsmFs, {PeakOf(peaks.B):N0}/s memcached), 50 connections, half gets and half sets, {workload.KeyCount:N0} keys with values of {workload.ValueLengthMax} bytes, LsmFs with -m {MemoryMegabytes}; {flushes} flushes and {compactions} compactions ended in the {options.RoundCount * atRate.Seconds:F0} s that were measured.{both}");
        List<ResultRow> results = [.. SuiteReport.Rows(Section, new Comparison(Name, ours, theirs), note)];
        results.Add(SuiteReport.Row(Section, Name, "longest GC pause, ms", longestPauses, note: note));
        results.Add(SuiteReport.Row(Section, Name, "GC pauses, ms/s", pauseShares, note: note));
        results.AddRange(SuiteReport.Rows(Section, peaks with { Name = "peak, half gets and half sets" }));
        return results;
    }

    static double PeakOf(IReadOnlyList<Measurement> rounds) => Comparison.Median(rounds, m => m.OperationsPerSecond)!.Value;
}
