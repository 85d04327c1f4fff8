using System.Globalization;
using LsmFs.Results;

namespace LsmFs.Embedded;

/// <summary>The figures that matter most, one line each: the median of an engine's runs, and how the engines compare.</summary>
internal static class Summary
{
    private const double Mebi = 1 << 20;

    public static void Write(TextWriter output, Settings settings, IReadOnlyList<RunResult> runs)
    {
        var engines = runs.GroupBy(run => run.Engine).OrderBy(group => group.Key, StringComparer.Ordinal).ToArray();
        output.WriteLine($"| | {string.Join(" | ", engines.Select(group => Report.Name(group.First())))} |{(engines.Length == 2 ? " ratio |" : "")}");
        output.WriteLine($"|---|{string.Concat(Enumerable.Repeat("---:|", engines.Length == 2 ? 3 : engines.Length))}");
        void Row(string title, string format, string phaseName, Func<PhaseResult, double?> figure)
        {
            var medians = engines
                .Select(group => Spread.From([.. group.Select(run => figure(run.Phases.First(phase => phase.Name == phaseName)))])?.Median)
                .ToArray();
            var cells = medians.Select(median => median?.ToString(format, CultureInfo.InvariantCulture) ?? "n/a").ToList();
            if (medians is [var first, var second])
            {
                cells.Add(second > 0 && first / second is { } ratio ? $"**{ratio.ToString("F2", CultureInfo.InvariantCulture)}**" : "");
            }

            output.WriteLine($"| {phaseName}: {title} | {string.Join(" | ", cells)} |");
        }

        foreach (var name in (string[])["load", "overwrite", "overwrite and read"])
        {
            Row("writes/s", "N0", name, phase => phase.Writes?.Count / phase.Seconds);
            Row("worst write, ms", "N1", name, phase => phase.Writes?.Worst / 1e3);
        }

        Row("seconds below half of the median", "N0", "overwrite", phase => Report.CountBelowHalf(phase.Writes));
        Row("bytes written for each byte", "F1", "overwrite", phase => (phase.Io.WrittenBytes + phase.SettleIo.WrittenBytes) / (double)phase.UserWrittenBytes);
        Row("CPU µs a write", "F2", "overwrite", phase => phase.CpuSeconds * 1e6 / phase.Writes?.Count);
        Row("folder bytes for each live byte, at most", "F2", "overwrite", phase => phase.Samples.Max(sample => sample.FolderBytes) / (double)settings.LiveBytes(phase.LiveCount));
        Row("folder bytes for each live byte, in the end", "F2", "overwrite", phase => phase.Samples[^1].FolderBytes / (double)settings.LiveBytes(phase.LiveCount));
        Row("reads/s", "N0", "overwrite and read", phase => phase.Reads?.Count / phase.Seconds);
        foreach (var name in (string[])["read zipfian", "read uniform", "read missing", "seek and scan"])
        {
            Row("reads/s", "N0", name, phase => phase.Reads?.Count / phase.Seconds);
            Row("p99.9, µs", "N0", name, phase => phase.Reads?.P999);
            Row("CPU µs a read", "F2", name, phase => phase.CpuSeconds * 1e6 / phase.Reads?.Count);
            Row("bytes read by calls, for each read", "N0", name, phase => (double?)phase.Io.ReadBytes / phase.Reads?.Count);
        }

        Row("items/s", "N0", "scan", phase => phase.ScannedCount / phase.Seconds);
        Row("MiB of the folder in the end", "N0", "delete", phase => phase.Samples[^1].FolderBytes / Mebi);
        Row("items/s", "N0", "scan what is left", phase => phase.ScannedCount / phase.Seconds);
        Row("items/s", "N0", "scan that", phase => phase.ScannedCount / phase.Seconds);
        Row("answered after, ms", "F2", "remove everything", phase => phase.RemovalMilliseconds);
        Row("MiB of the folder in the end", "N0", "remove everything", phase => phase.Samples[^1].FolderBytes / Mebi);
        Row("resident MiB, at most", "N0", "overwrite and read", phase => phase.Samples.Max(sample => sample.ResidentBytes) / Mebi);
    }
}
