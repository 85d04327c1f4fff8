using LsmFs.Load;
using LsmFs.Results;

namespace LsmFs.Embedded;

/// <summary>
/// The rows of a comparison, each beside the same work on the other engines: rounds A B C, A B C, every engine's part of a round in a process of its own.
/// </summary>
internal static class Suite
{
    public const string Help = """
        LsmFs.Embedded --results FILE: rows beside RocksDB and ZoneTree, as JSON; about 16 minutes

          --results FILE         where they go
          --out FILE             the same as a table
          --parts LIST           default fill,memory,large,overwrite,uncompressed (overwriting once more); rows of the other parts that FILE has from the same
                                 commit stay
          --rounds N             default 3; of overwriting one, since it takes minutes
          --engines LIST         default lsmfs,rocksdb,zonetree; overwriting is for the first two
          --scale F              default 1: keys, budgets and seconds of each row, times this
          --quick                scale 0.05, one round
          --folder FOLDER        where the stores live meanwhile, default TMPDIR
        """;

    public const string Fill = "fill";
    public const string Memory = "memory";
    public const string Large = "large";
    public const string Overwrite = "overwrite";
    public const string Uncompressed = "uncompressed";

    private static readonly string[] AllParts = [Fill, Memory, Large, Overwrite, Uncompressed];

    /// <summary>False when a value was wrong.</summary>
    public static bool Run(Arguments arguments)
    {
        var file = Path.GetFullPath(arguments.Take("--results")!);
        var table = arguments.Take("--out");
        var isQuick = arguments.TakeFlag("--quick");
        var parts = TakeList(arguments, "--parts", AllParts);
        var engines = TakeList(arguments, "--engines", EngineProcess.Engines);
        var roundCount = (int)(arguments.TakeInteger("--rounds", 1, 100) ?? (isQuick ? 1 : 3));
        var scale = arguments.TakeNumber("--scale", 0.001, 100) ?? (isQuick ? 0.05 : 1);
        var parent = Path.GetFullPath(arguments.Take("--folder") ?? Path.GetTempPath());
        arguments.RefuseRest();
        var machine = Machine.Read(engines.Where(engine => engine != EngineProcess.LsmFs).ToDictionary(Report.Name, EngineProcess.VersionOf));
        var folder = Directory.CreateDirectory(Path.Combine(parent, $"lsmfs-embedded-{Environment.ProcessId}")).FullName;
        List<(string Part, int Round, RunResult Run)> runs = [];
        try
        {
            foreach (var part in parts)
            {
                for (var round = 0; round < (IsOverwriting(part) ? 1 : roundCount); round++)
                {
                    foreach (var engine in engines.Where(engine => !IsOverwriting(part) || engine != EngineProcess.ZoneTree))
                    {
                        runs.Add((part, round, EngineProcess.RunPart(engine, part, SettingsOf(part, scale), folder, [])));
                    }
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        List<ResultRow> rows = [.. RowsOf(runs, scale)];
        if (parts.Length < AllParts.Length && File.Exists(file) && ResultFile.Read(file) is var before && before.Environment.Commit == machine.Commit)
        {
            rows = [.. before.Rows.Where(row => !rows.Exists(other => other.Name == row.Name && other.Unit == row.Unit)), .. rows];
        }

        ResultFile.Write(file, new PartResult
        {
            Part = "embedded",
            Command = "dotnet fsi build.fsx bench -- embedded",
            Conditions = Conditions(scale),
            Environment = machine,
            Rows = rows,
        });
        var lines = string.Join('\n', rows.Select(Line)) + "\n";
        Console.Write(lines);
        if (table is not null)
        {
            File.WriteAllText(table, $"| row | unit | LsmFs | peers, and LsmFs / peer of the same round |\n|---|---|---:|---|\n{lines}");
        }

        return runs.TrueForAll(run => run.Run.Phases.TrueForAll(phase => phase.WrongCount == 0));
    }

    /// <summary>In an engine's process: one part.</summary>
    public static void RunInside(string part, Settings settings, PhaseList phases)
    {
        switch (part)
        {
            case Fill:
                // Before anything counts, so that what is compiled while it runs is compiled.
                phases.On(settings with { KeyCount = Math.Max(1000, settings.KeyCount / 10) }, runner => runner.Load("warm-up"), isCounted: false);
                phases.On(settings with { IsAscending = true }, runner => runner.Load("fillseq, single puts, 1 thread"));
                phases.On(settings, runner => runner.Load("fillrandom, single puts, 1 thread"));
                phases.On(settings with { BatchCount = 100 }, runner => runner.Load("fillrandom, batches of 100"));
                phases.On(settings with { WriterCount = 2 }, runner => runner.Load("fillrandom, single puts, 2 threads"));
                break;
            case Memory:
                phases.On(settings, runner => Read(runner, "in memory", isMixed: true));
                break;
            case Large:
                phases.On(settings, runner => Read(runner, "10 times larger than memory", isMixed: false));
                break;
            default:
                var suffix = settings.IsCompressed ? "" : ", no compression";
                phases.On(settings, runner =>
                {
                    runner.Load($"load for overwrite{suffix}");
                    runner.Overwrite($"overwrite, sustained{suffix}");
                });
                break;
        }
    }

    private static bool IsOverwriting(string part) => part is Overwrite or Uncompressed;

    private static void Read(PhaseRunner runner, string where, bool isMixed)
    {
        runner.Load($"load, {where}");
        runner.ReaderCount = 1;
        runner.ReadUniform($"warm-up, {where}");
        runner.ReadUniform($"readrandom, {where}");
        runner.ReadMissing($"readmissing, {where}");
        runner.ReadZipfian($"readrandom zipfian, {where}");
        runner.SeekAndScan($"seek and scan 50, {where}");
        runner.ReaderCount = 2;
        runner.ReadUniform($"readrandom, 2 threads, {where}");
        runner.ReadMissing($"readmissing, 2 threads, {where}");
        runner.Scan(isMixed ? "readseq" : $"readseq, {where}", onlyKept: false);
        if (isMixed)
        {
            runner.ReaderCount = 1;
            runner.OverwriteAndRead($"mixed: 1 thread writes, 1 reads, {where}");
        }
    }

    private static Settings SettingsOf(string part, double scale)
    {
        var settings = new Settings { ReaderCount = 1, ReadSeconds = Math.Max(0.1, 2 * scale), MixedSeconds = Math.Max(0.1, 4 * scale), SettleSeconds = Math.Max(1, 20 * scale) };
        settings = part switch
        {
            Fill => settings with { KeyCount = 3_000_000, MemoryBudgetBytes = 256L << 20, SettleSeconds = 1 },
            Memory => settings with { KeyCount = 1_000_000, MemoryBudgetBytes = 512L << 20 },
            Large => settings with { KeyCount = 5_000_000, MemoryBudgetBytes = 58L << 20 },
            _ => settings with
            {
                KeyCount = 10_000_000,
                MemoryBudgetBytes = 128L << 20,
                IsCompressed = part == Overwrite,
                OverwriteSeconds = Math.Max(1, (part == Overwrite ? 90 : 60) * scale),
            },
        };
        return settings with
        {
            KeyCount = Math.Max(10_000, (uint)(settings.KeyCount * scale)),
            MemoryBudgetBytes = Math.Max(8L << 20, (long)(settings.MemoryBudgetBytes * scale)),
        };
    }

    private static string Conditions(double scale)
    {
        string Of(string part) => SettingsOf(part, scale) is var settings ? $"{settings.KeyCount:N0} keys in {settings.MemoryBudgetBytes >> 20} MiB" : "";
        string Seconds(string part) => FormattableString.Invariant($"{SettingsOf(part, scale).OverwriteSeconds:G3} s");
        return FormattableString.Invariant(
            $"Keys of 16 bytes, random values of 100, checksums on, each put given to the operating system before it returns and none synced. Fill: {Of(Fill)}; in memory: {Of(Memory)}; larger: {Of(Large)}, through the page cache; overwrite: {Of(Overwrite)}. Tables are compressed with LZ4 in both engines for \"load for overwrite\" and \"overwrite, sustained\" ({Seconds(Overwrite)}), which leaves random values as they are and makes keys and headers smaller; they are not compressed in either engine for the rows that say \"no compression\" ({Seconds(Uncompressed)}), nor for any other. Every value read is compared byte for byte, and making keys, values and comparisons counts for all alike.");
    }

    private static IEnumerable<ResultRow> RowsOf(List<(string Part, int Round, RunResult Run)> runs, double scale)
    {
        foreach (var part in runs.GroupBy(run => run.Part))
        {
            var phases = part.First().Run.Phases.Where(phase => !phase.Name.StartsWith("warm-up", StringComparison.Ordinal));
            foreach (var name in phases.Select(phase => phase.Name))
            {
                ResultRow Row(string unit, Func<PhaseResult, double?> figure, string? note = null)
                {
                    var figures = part
                        .GroupBy(run => run.Run.Engine)
                        .ToDictionary(
                            engine => Report.Name(engine.Key),
                            engine => (IReadOnlyList<double?>)[.. engine.OrderBy(run => run.Round).Select(run => figure(run.Run.Phases.First(phase => phase.Name == name)))]);
                    return new ResultRow
                    {
                        Section = "Embedded",
                        Name = name,
                        Unit = unit,
                        LsmFs = figures.GetValueOrDefault(Report.Name(EngineProcess.LsmFs)) ?? [],
                        Peers = figures.Where(pair => pair.Key != Report.Name(EngineProcess.LsmFs)).ToDictionary(pair => pair.Key, pair => pair.Value),
                        Note = note,
                    };
                }

                var first = phases.First(phase => phase.Name == name);
                if (name.StartsWith("mixed", StringComparison.Ordinal))
                {
                    yield return Row("writes/s", phase => phase.Writes?.Count / phase.Seconds);
                    yield return Row("reads/s", phase => phase.Reads?.Count / phase.Seconds);
                    continue;
                }

                yield return Row(
                    "operations/s",
                    phase => (phase.Writes?.Count ?? phase.Reads?.Count ?? phase.ScannedCount) / phase.Seconds,
                    NoteOf(name, first));
                if (first.Writes is not null)
                {
                    yield return Row("CPU µs/operation", phase => phase.CpuSeconds * 1e6 / phase.Writes?.Count, "of the process, background work included");
                }

                if (!IsOverwriting(part.Key) || first.Writes is null)
                {
                    continue;
                }

                yield return Row("write amplification", phase => (phase.Io.WrittenBytes + phase.SettleIo.WrittenBytes) / (double)phase.UserWrittenBytes, "bytes given to the operating system for each byte of keys and values, the log's included; of LsmFs's log the zeros it is written over, which are more");
                var liveBytes = SettingsOf(part.Key, scale).LiveBytes(1);
                yield return Row("space / live data", phase => phase.Samples[^1].FolderBytes / (double)(phase.LiveCount * liveBytes), "of the folder, when background work had come to rest");
                yield return Row("space / live data, at most", phase => phase.Samples.Max(sample => sample.FolderBytes) / (double)(phase.LiveCount * liveBytes), "of the folder, while writes came in");
            }
        }
    }

    private static string? NoteOf(string name, PhaseResult phase) => name switch
    {
        _ when name.Contains("batches", StringComparison.Ordinal) => "puts; ZoneTree has no commit of several writes",
        _ when name.StartsWith("readseq", StringComparison.Ordinal) => "items of a scan of everything",
        _ when phase.Reads is not null && name.StartsWith("seek", StringComparison.Ordinal) => "one operation is a seek and 50 items",
        _ => null,
    };

    private static string Line(ResultRow row)
    {
        var peers = row.Peers.Select(peer => FormattableString.Invariant($"{peer.Key} {Spread.From(peer.Value)?.Median:G5}, ratio {row.RatioTo(peer.Key)?.Median:F2}"));
        return FormattableString.Invariant($"| {row.Name} | {row.Unit} | {Spread.From(row.LsmFs)?.Median:G5} | {string.Join("; ", peers)} |");
    }

    private static string[] TakeList(Arguments arguments, string name, string[] known)
    {
        var wanted = arguments.Take(name)?.Split(',') ?? known;
        return Array.Find(wanted, word => !known.Contains(word)) is { } unknown
            ? throw new LoadException($"{name} {unknown}: {string.Join(", ", known)} are wanted, with commas between them")
            : wanted;
    }
}
