using System.Diagnostics;
using HdrHistogram;

namespace LsmFs.Embedded;

/// <summary>Latencies of one thread: a histogram, and for each second the number of operations that ended in it and the worst of them.</summary>
internal sealed class OperationLog(long startedAt)
{
    private const long NanosecondsMax = 3600L * 1_000_000_000;

    // 1 ns to an hour, two digits: 0.2 MiB.
    private readonly LongHistogram _latency = new(NanosecondsMax, 2);
    private readonly List<long> _counts = [];
    private readonly List<long> _worst = [];
    private long _currentSecondEnds = startedAt;

    public void Add(long beganAt, long endedAt, int count)
    {
        var nanoseconds = Math.Clamp((long)((endedAt - beganAt) * (1e9 / Stopwatch.Frequency)), 1, NanosecondsMax);
        while (endedAt >= _currentSecondEnds)
        {
            _counts.Add(0);
            _worst.Add(0);
            _currentSecondEnds += Stopwatch.Frequency;
        }

        _counts[^1] += count;
        _worst[^1] = Math.Max(_worst[^1], nanoseconds);
        _latency.RecordValueWithCount(nanoseconds, count);
    }

    /// <summary>What several threads did; null when they are none.</summary>
    public static OperationFigures? Join(IReadOnlyList<OperationLog> logs)
    {
        if (logs.Count == 0)
        {
            return null;
        }

        var latency = new LongHistogram(NanosecondsMax, 2);
        foreach (var log in logs)
        {
            latency.Add(log._latency);
        }

        var seconds = Enumerable.Range(0, logs.Max(log => log._counts.Count)).ToArray();
        double Percentile(double percent) => latency.TotalCount == 0 ? 0 : latency.GetValueAtPercentile(percent) / 1e3;
        return new OperationFigures
        {
            Count = logs.Sum(log => log._counts.Sum()),
            CountBySecond = [.. seconds.Select(second => logs.Sum(log => log._counts.ElementAtOrDefault(second)))],
            WorstBySecond = [.. seconds.Select(second => logs.Max(log => log._worst.ElementAtOrDefault(second)) / 1e3)],
            P50 = Percentile(50),
            P99 = Percentile(99),
            P999 = Percentile(99.9),
            Worst = logs.Max(log => log._worst.DefaultIfEmpty().Max()) / 1e3,
        };
    }
}
