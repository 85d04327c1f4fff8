using System.Globalization;
using System.Runtime.InteropServices;
using LsmFs.Results;

namespace LsmFs.Embedded;

/// <summary>Results for people: lines while it runs, and a page of Markdown.</summary>
internal static class Report
{
    private const double Mebi = 1 << 20;

    public static void PrintPhase(PhaseResult phase)
    {
        var count = (phase.Writes?.Count ?? 0) + (phase.Reads?.Count ?? 0) + phase.ScannedCount;
        var wrong = phase.WrongCount > 0 ? Text($", {phase.WrongCount} WRONG") : "";
        var settled = phase.SettleSeconds > 0 ? Text($", then {phase.SettleSeconds:F1} s of background work") : "";
        Console.Error.WriteLine(Text(
            $"  {phase.Name,-20} {count,12:N0} in {phase.Seconds,6:F1} s, {count / phase.Seconds,10:N0}/s{settled}, {phase.Samples[^1].FolderBytes / Mebi:N0} MiB{wrong}"));
    }

    public static void Write(string file, Settings settings, IReadOnlyList<RunResult> runs)
    {
        using var output = new StreamWriter(file);
        output.WriteLine($"# {string.Join(" and ", runs.Select(Name).Distinct())} embedded");
        output.WriteLine();
        WriteConditions(output, settings, runs);
        output.WriteLine();
        Summary.Write(output, settings, runs);
        foreach (var phase in runs[0].Phases.Select(phase => phase.Name))
        {
            WritePhase(output, Path.ChangeExtension(file, null), settings, runs, phase);
        }

        WriteRatio(output, runs);
        WriteCounters(output, runs);
    }

    private static void WriteConditions(StreamWriter output, Settings settings, IReadOnlyList<RunResult> runs)
    {
        output.WriteLine(Text(
            $"{settings.KeyCount:N0} keys of {Dataset.KeyLength} bytes with values of {settings.ValueLength} bytes ({settings.LiveBytes(settings.KeyCount) / Mebi:N0} MiB live), {(settings.IsCompressible ? "half of each zeros" : "incompressible")}; budget {settings.MemoryBudgetBytes / Mebi:N0} MiB; log {(settings.IsSynced ? "synced with every commit" : "not synced")}; commits of {settings.BatchCount}; {settings.WriterCount} writer(s), {settings.ReaderCount} reader(s); all but every {settings.KeepEvery}th key are {(settings.IsExpiring ? "left to expire" : "deleted")}."));
        output.WriteLine(Text(
            $"{Environment.ProcessorCount} processors, {GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / Mebi:N0} MiB of memory, {RuntimeInformation.OSDescription}, {RuntimeInformation.FrameworkDescription}. All read through the page cache of the operating system."));
        foreach (var run in runs.DistinctBy(run => run.Engine))
        {
            output.WriteLine();
            output.WriteLine($"{Name(run)}:");
            output.WriteLine();
            output.WriteLine("```");
            output.WriteLine(run.Setup);
            output.WriteLine("```");
        }

        output.WriteLine();
        output.WriteLine("""
            *Throughput*: operations in each full second, least / median / most. *CPU* and *write amplification* include the background work that followed. Write
            amplification: bytes the process gave to write calls (and in parentheses those the kernel had to bring to the disk) for each byte of keys and values. *Memory*: most resident, and most
            anonymous memory beyond the empty process (keys, versions and runtime without an engine). *Space*: bytes of the folder for each live byte.
            """);
    }

    private static void WritePhase(StreamWriter output, string fileStem, Settings settings, IReadOnlyList<RunResult> runs, string name)
    {
        var phases = runs.Select(run => run.Phases.First(phase => phase.Name == name)).ToArray();
        output.WriteLine();
        output.WriteLine($"## {char.ToUpperInvariant(name[0])}{name[1..]}");
        output.WriteLine();
        output.WriteLine($"| | {string.Join(" | ", runs.Select(Name))} |");
        output.WriteLine($"|---|{string.Concat(Enumerable.Repeat("---:|", runs.Count))}");
        void Row(string title, Func<PhaseResult, string?> cell)
        {
            var cells = phases.Select(cell).ToArray();
            if (cells.Any(text => text is not null))
            {
                output.WriteLine($"| {title} | {string.Join(" | ", cells.Select(text => text ?? "n/a"))} |");
            }
        }

        Row("items live", phase => Text($"{phase.LiveCount:N0}"));
        Row("missing, wrong, or there again", phase => Text($"{phase.WrongCount:N0}"));
        Row("seconds", phase => Text($"{phase.Seconds:F1}"));
        Row("items scanned/s", phase => phase.ScannedCount > 0 ? Text($"{phase.ScannedCount / phase.Seconds:N0}") : null);
        Row("answered after", phase => phase.RemovalMilliseconds > 0 ? Text($"{phase.RemovalMilliseconds:F2} ms") : null);
        foreach (var (what, figures) in ((string, Func<PhaseResult, OperationFigures?>)[])[("write", phase => phase.Writes), ("read", phase => phase.Reads)])
        {
            Row($"{what}s/s", phase => figures(phase) is { } figure ? Text($"{figure.Count / phase.Seconds:N0}") : null);
            Row($"{what}s/s by second", phase => Spread.From(FullSeconds(figures(phase))) is { } spread ? Text($"{spread.Min:N0} / {spread.Median:N0} / {spread.Max:N0}") : null);
            Row($"seconds below half of the median ({what}s)", phase => SecondsBelowHalf(figures(phase)));
            Row($"{what} latency p50, p99, p99.9", phase => figures(phase) is { } figure ? Text($"{figure.P50:N1}, {figure.P99:N1}, {figure.P999:N1} µs") : null);
            Row($"worst {what} latency", phase => figures(phase) is { } figure ? Text($"{figure.Worst / 1000:N1} ms") : null);
        }

        Row("background work afterwards", phase => phase.UserWrittenBytes > 0 || phase.SettleSeconds > 0 ? Text($"{(phase.IsUnsettled ? "more than " : "")}{phase.SettleSeconds:F1} s") : null);
        Row("CPU an operation", phase => Operations(phase) is > 0 and var count ? Text($"{phase.CpuSeconds * 1e6 / count:F2} µs") : null);
        Row("write amplification", phase => phase.UserWrittenBytes is > 0 and var user
            ? Text($"{(phase.Io.WrittenBytes + phase.SettleIo.WrittenBytes) / (double)user:F1} ({(phase.Io.DiskWrittenBytes + phase.SettleIo.DiskWrittenBytes) / (double)user:F1})")
            : null);
        Row("bytes read by calls, for each read", phase => IsOnlyReads(phase) ? Text($"{phase.Io.ReadBytes / (double)phase.Reads!.Count:N0}") : null);
        Row("read calls for each read", phase => IsOnlyReads(phase) ? Text($"{phase.Io.ReadCalls / (double)phase.Reads!.Count:F2}") : null);
        Row("memory, resident", phase => Text($"{phase.Samples.Max(sample => sample.ResidentBytes) / Mebi:N0} MiB"));
        var anonymous = runs.Zip(phases, (run, phase) => phase.Samples.Max(sample => sample.AnonymousBytes) - run.Empty.AnonymousBytes);
        output.WriteLine($"| memory, anonymous beyond empty | {string.Join(" | ", anonymous.Select(bytes => Text($"{bytes / Mebi:N0} MiB")))} |");
        Row("folder in the end", phase => Text($"{phase.Samples[^1].FolderBytes / Mebi:N0} MiB"));
        Row("space in the end", phase => phase.LiveCount > 0 ? Text($"{phase.Samples[^1].FolderBytes / (double)settings.LiveBytes(phase.LiveCount):F2}") : null);
        Row("space at most", phase => phase.LiveCount > 0 && phase.Writes is not null ? Text($"{phase.Samples.Max(sample => sample.FolderBytes) / (double)settings.LiveBytes(phase.LiveCount):F2}") : null);
        WriteOverTime(output, fileStem, runs, phases, name);
    }

    private static void WriteOverTime(StreamWriter output, string fileStem, IReadOnlyList<RunResult> runs, PhaseResult[] phases, string name)
    {
        void AddPlot(string what, string title, Func<PhaseResult, IReadOnlyList<(double, double)>> points)
        {
            var file = $"{fileStem}-{name.Replace(' ', '-')}-{what}.svg";
            File.WriteAllText(file, LinePlot.Draw($"{name}: {title}", [.. runs.Zip(phases, (run, phase) => (Name(run), points(phase)))]));
            output.WriteLine();
            output.WriteLine($"![{name}: {title}]({Path.GetFileName(file)})");
        }

        foreach (var (what, figures) in ((string, Func<PhaseResult, OperationFigures?>)[])[("writes", phase => phase.Writes), ("reads", phase => phase.Reads)])
        {
            if (phases.All(phase => FullSeconds(figures(phase)).Length < 2))
            {
                continue;
            }

            output.WriteLine();
            output.WriteLine($"{char.ToUpperInvariant(what[0])}{what[1..]}/s over tenths of the time, with the worst latency in each:");
            output.WriteLine();
            output.WriteLine($"| part | {string.Join(" | ", runs.Select(Name))} |");
            output.WriteLine($"|---|{string.Concat(Enumerable.Repeat("---:|", runs.Count))}");
            for (var part = 0; part < 10; part++)
            {
                var cells = phases.Select(phase => Part(figures(phase), part));
                output.WriteLine($"| {part + 1} | {string.Join(" | ", cells)} |");
            }

            AddPlot(what, $"{what} a second", phase => [.. FullSeconds(figures(phase)).Select((count, second) => (second + 0.5, count ?? 0))]);
        }

        if (phases.Any(phase => phase.UserWrittenBytes > 0 || phase.RemovalMilliseconds > 0))
        {
            AddPlot("folder", "MiB of the folder, the time afterwards included", phase => [.. phase.Samples.Select(sample => (sample.Seconds, sample.FolderBytes / Mebi))]);
        }

        if (phases.Any(phase => phase.RemovalMilliseconds > 0 || name == "delete"))
        {
            output.WriteLine();
            output.WriteLine("MiB of the folder, by seconds after the last removal:");
            output.WriteLine();
            int[] moments = [0, 1, 2, 5, 10, 20, 30, 60, 120, 240];
            output.WriteLine($"| | {string.Join(" | ", moments)} | in the end |");
            output.WriteLine($"|---|{string.Concat(Enumerable.Repeat("---:|", moments.Length + 1))}");
            foreach (var (run, phase) in runs.Zip(phases))
            {
                var removedAt = phase.RemovalMilliseconds > 0 ? phase.RemovalMilliseconds / 1000 : phase.Seconds;
                var cells = moments.Select(moment => phase.Samples.FirstOrDefault(sample => sample.Seconds >= removedAt + moment) is { } sample ? Text($"{sample.FolderBytes / Mebi:N0}") : "");
                output.WriteLine(Text($"| {Name(run)} | {string.Join(" | ", cells)} | {phase.Samples[^1].FolderBytes / Mebi:N0} |"));
            }
        }
    }

    /// <summary>How scanning what the deletions left compares with a store that never had the rest.</summary>
    private static void WriteRatio(StreamWriter output, IReadOnlyList<RunResult> runs)
    {
        output.WriteLine();
        output.WriteLine("Rate of the scan after the deletions, against a store that never had what was deleted:");
        foreach (var run in runs)
        {
            double Rate(string name) => run.Phases.First(phase => phase.Name == name) is var phase ? phase.ScannedCount / phase.Seconds : 0;
            output.WriteLine(Text($"{Name(run)} {Rate("scan what is left") / Rate("scan that"):F2}"));
        }
    }

    private static void WriteCounters(StreamWriter output, IReadOnlyList<RunResult> runs)
    {
        foreach (var run in runs.DistinctBy(run => run.Engine))
        {
            var phases = run.Phases.Where(phase => phase.Name is "load" or "overwrite" or "read zipfian" or "read uniform" or "read missing" or "seek and scan" or "delete").ToArray();
            output.WriteLine();
            output.WriteLine($"## What {Name(run)} counts itself");
            output.WriteLine();
            output.WriteLine("Growth during the phase and what followed, and the value after the last of them.");
            output.WriteLine();
            output.WriteLine($"| | {string.Join(" | ", phases.Select(phase => phase.Name))} | in the end |");
            output.WriteLine($"|---|{string.Concat(Enumerable.Repeat("---:|", phases.Length + 1))}");
            foreach (var counter in phases.SelectMany(phase => phase.Counters.Keys).Distinct().Order(StringComparer.Ordinal))
            {
                var cells = phases.Select(phase => Text($"{phase.Counters.GetValueOrDefault(counter):N0}"));
                output.WriteLine(Text($"| {counter} | {string.Join(" | ", cells)} | {phases[^1].CountersAtEnd.GetValueOrDefault(counter):N0} |"));
            }
        }
    }

    /// <summary>The engine's name.</summary>
    public static string Name(RunResult run) => Name(run.Engine);

    /// <summary>The name of an engine as it is called on the command line.</summary>
    public static string Name(string engine) => engine switch
    {
        EngineProcess.LsmFs => "LsmFs",
        EngineProcess.RocksDb => "RocksDB",
        _ => "ZoneTree",
    };

    private static long Operations(PhaseResult phase) => (phase.Writes?.Count ?? 0) + (phase.Reads?.Count ?? 0) + phase.ScannedCount;

    private static bool IsOnlyReads(PhaseResult phase) => phase is { Writes: null, Reads.Count: > 0 };

    /// <summary>The last second is not a whole one.</summary>
    private static double?[] FullSeconds(OperationFigures? figures) => [.. (figures?.CountBySecond ?? []).SkipLast(1).Select(count => (double?)count)];

    /// <summary>Full seconds with less than half of the median's operations; null when there is no full second.</summary>
    public static int? CountBelowHalf(OperationFigures? figures)
    {
        var seconds = FullSeconds(figures);
        return Spread.From(seconds) is { } spread ? seconds.Count(count => count < spread.Median / 2) : null;
    }

    private static string? SecondsBelowHalf(OperationFigures? figures) =>
        CountBelowHalf(figures) is { } count ? Text($"{count} of {FullSeconds(figures).Length}") : null;

    private static string Part(OperationFigures? figures, int part)
    {
        var seconds = FullSeconds(figures);
        var (from, to) = (seconds.Length * part / 10, seconds.Length * (part + 1) / 10);
        return from == to ? "" : Text($"{seconds[from..to].Average():N0}, {figures!.WorstBySecond.Skip(from).Take(to - from).Max() / 1000:N1} ms");
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
