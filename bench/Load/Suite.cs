using System.Globalization;
using System.Text;
using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>What the suite runs, with what, for how long.</summary>
public sealed record SuiteOptions
{
    public required string LsmFsCommand { get; init; }
    public required string MemcachedCommand { get; init; }
    public required string OutputFile { get; init; }
    public required int RoundCount { get; init; }
    public required string? RowFilter { get; init; }
    public required string? ServerCpus { get; init; }
    public required double? TimeLimitSeconds { get; init; }
    /// <summary>What the rows have in common.</summary>
    public required Workload Workload { get; init; }

    public static SuiteOptions Take(Arguments arguments)
    {
        var lsmFs = arguments.Take("--lsmfs") ?? throw new LoadException("suite wants --lsmfs COMMAND");
        if (!lsmFs.Contains("{port}", StringComparison.Ordinal))
        {
            lsmFs += " -p {port} -l 127.0.0.1 -c 4096 -m 1024 --durability {durability} --data {data}";
        }
        var user = Environment.IsPrivilegedProcess ? "-u root " : "";
        return new SuiteOptions
        {
            LsmFsCommand = lsmFs,
            MemcachedCommand = (arguments.Take("--memcached") ?? "memcached") + $" {user}-l 127.0.0.1 -p {{port}} -t 2 -m 1024 -c 4096",
            OutputFile = TakeOutputFile(arguments),
            RoundCount = (int)(arguments.TakeInteger("--rounds", 1, 100) ?? 3),
            RowFilter = arguments.Take("--rows"),
            ServerCpus = arguments.Take("--server-cpus"),
            TimeLimitSeconds = arguments.TakeNumber("--time-limit", 1, 86_400),
            Workload = Options.TakeWorkload(arguments, WorkloadKind.Run, new Workload { KeyCount = 100_000, Seconds = 3 }),
        };
    }

    // Looked at now, not after minutes of measuring.
    static string TakeOutputFile(Arguments arguments)
    {
        var file = arguments.Take("--out") ?? throw new LoadException("suite wants --out FILE");
        return Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(file))) && !Directory.Exists(file)
            ? file
            : throw new LoadException($"--out {file}: there is no such folder to write in");
    }
}

/// <summary>The side-by-side run: memcached and LsmFs on this machine, row by row, in turn.</summary>
public static class Suite
{
    sealed record Row(string Name, string Durability, Func<Workload, Workload> Shape);

    static readonly Row[] Rows =
    [
        new("get, 50 connections", "os", w => w with { ConnectionCount = 50 }),
        new("get, 500 connections", "os", w => w with { ConnectionCount = 500 }),
        new("get, pipeline of 16", "os", w => w with { ConnectionCount = 50, PipelineDepth = 16 }),
        new("get of 50 keys", "os", w => w with { ConnectionCount = 50, MultiGetCount = 50 }),
        new("get, 50 connections, open loop of 10,000/s", "os", w => w with { ConnectionCount = 50, RatePerSecond = 10_000 }),
        new("set, 50 connections (os)", "os", w => w with { ConnectionCount = 50, GetRatio = 0 }),
        new("set, pipeline of 16 (os)", "os", w => w with { ConnectionCount = 50, PipelineDepth = 16, GetRatio = 0 }),
        new("set, 50 connections (sync)", "sync", w => w with { ConnectionCount = 50, GetRatio = 0 }),
        new("set, 500 connections (sync)", "sync", w => w with { ConnectionCount = 500, GetRatio = 0 }),
    ];

    /// <summary>The `suite` command. Every server is stopped and every folder removed before it returns or throws.</summary>
    public static bool RunCommand(Arguments arguments, CancellationToken stop)
    {
        var options = SuiteOptions.Take(arguments);
        arguments.RefuseRest();
        var rows = Rows.Where(row => row.Name.Contains(options.RowFilter ?? "", StringComparison.Ordinal)).ToArray();
        if (rows.Length == 0)
        {
            throw new LoadException($"no row's name contains \"{options.RowFilter}\"; there are: {string.Join("; ", Rows.Select(row => row.Name))}");
        }
        var limitSeconds = options.TimeLimitSeconds ?? ExpectedSeconds(options, rows.Length) * 2;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(TimeSpan.FromSeconds(limitSeconds));
        try
        {
            List<Comparison> comparisons = [];
            foreach (var group in rows.GroupBy(row => row.Durability))
            {
                comparisons.AddRange(RunGroup(options, group.Key, group, limit.Token));
            }
            File.WriteAllText(options.OutputFile, ToMarkdown(options, comparisons));
            Console.WriteLine($"written: {options.OutputFile}");
            return comparisons.TrueForAll(comparison => comparison.IsClean);
        }
        catch (LoadException exception) when (limit.IsCancellationRequested && !stop.IsCancellationRequested)
        {
            throw new LoadException(Text($"the suite ran into its time limit of {limitSeconds:F0} s ({exception.Message})"));
        }
    }

    static double ExpectedSeconds(SuiteOptions options, int rowCount)
    {
        const double SecondsPerStart = 30, KeysPerSecond = 20_000;
        var workload = options.Workload;
        return (rowCount * options.RoundCount * 2 * (workload.Seconds + workload.WarmupSeconds))
            + (4 * (SecondsPerStart + (workload.KeyCount / KeysPerSecond)));
    }

    static List<Comparison> RunGroup(SuiteOptions options, string durability, IEnumerable<Row> rows, CancellationToken stop)
    {
        var folder = Directory.CreateTempSubdirectory("lsmfs-load-").FullName;
        try
        {
            using var memcached = ServerProcess.Start("memcached", Pinned(options, options.MemcachedCommand), stop);
            var command = options.LsmFsCommand
                .Replace("{data}", $"\"{folder}\"", StringComparison.Ordinal)
                .Replace("{durability}", durability, StringComparison.Ordinal);
            using var lsmFs = ServerProcess.Start("LsmFs", Pinned(options, command), stop);
            Target[] targets = [lsmFs.Target, memcached.Target];
            foreach (var target in targets)
            {
                Comparison.Fill(options.Workload, target, stop);
                // A just-in-time compiled server is at its speed only after a while of both kinds of operation.
                Runner.Run(options.Workload with { GetRatio = 0.9, PipelineDepth = 16, WarmupSeconds = 0, Seconds = 2 }, target, stop);
            }
            List<Comparison> comparisons = [];
            foreach (var row in rows)
            {
                Console.Error.WriteLine(row.Name);
                comparisons.Add(Comparison.Run(row.Name, row.Shape(options.Workload), targets[0], targets[1], options.RoundCount, stop));
            }
            return comparisons;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static string Pinned(SuiteOptions options, string command) =>
        options.ServerCpus is { } cpus ? $"taskset -c {cpus} {command}" : command;

    static string ToMarkdown(SuiteOptions options, IReadOnlyList<Comparison> comparisons)
    {
        var w = options.Workload;
        var text = new StringBuilder();
        void Line(FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');
        Line($"LsmFs beside memcached, in turn on the same machine ({ProcessSample.ReadMachineCoreCount()} cores{(options.ServerCpus is null ? "" : $", servers on core {options.ServerCpus}")}): {options.RoundCount} rounds of {w.Seconds} s a row after {w.WarmupSeconds} s of warm-up,");
        Line($"{w.KeyCount:N0} keys of {w.KeyLength} bytes, values of {(w.ValueLengthMin == w.ValueLengthMax ? $"{w.ValueLengthMin}" : $"{w.ValueLengthMin} to {w.ValueLengthMax}")} bytes. Ratios are LsmFs / memcached of the same round: median (min to max).");
        Line($"Figures are medians: LsmFs / memcached. Generator: the share of its core it used (near 1 it was the limit itself). Others: cores used by everything else (noise).");
        Line($"");
        Line($"| row | throughput ratio | server CPU per operation ratio | p99 ratio | operations/s | CPU µs/operation | p99 µs | generator | others |");
        Line($"|---|---|---|---|---|---|---|---|---|");
        foreach (var c in comparisons)
        {
            string Pair(Func<Measurement, double?> figure, string format) => string.Create(
                CultureInfo.InvariantCulture,
                $"{Comparison.Median(c.A, figure)?.ToString(format, CultureInfo.InvariantCulture)} / {Comparison.Median(c.B, figure)?.ToString(format, CultureInfo.InvariantCulture)}");
            var problems = c.IsClean ? "" : " (with errors)";
            Line($"| {c.Name}{problems} | {Ratio(c.Throughput)} | {Ratio(c.ServerCpu)} | {Ratio(c.P99)} | {Pair(m => m.OperationsPerSecond, "N0")} | {Pair(m => m.ServerCpuMicrosecondsPerOperation, "F2")} | {Pair(m => m.Latency?.P99, "N0")} | {Pair(m => m.GeneratorCpuCores / w.ThreadCount, "F2")} | {Pair(m => m.OtherCpuCores, "F2")} |");
        }
        Line($"");
        foreach (var server in comparisons.SelectMany(c => c.A.Concat(c.B)).GroupBy(m => m.Server))
        {
            Line($"- {server.Key}: {server.Max(m => m.ServerResidentBytes) / 1048576.0:N0} MiB resident at most, {server.Sum(m => m.Errors)} errors, {server.Sum(m => m.Wrong)} wrong values, {server.Sum(m => m.Misses)} misses.");
        }
        return text.ToString();
    }

    static string Ratio(Spread? spread) => spread is null ? "" : Text($"**{spread.Median:F2}** ({spread.Min:F2} to {spread.Max:F2})");

    static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
