using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>The side-by-side run: memcached and LsmFs on this machine, row by row, in turn.</summary>
public static class Suite
{
    /// <summary>Rows that share their servers, and about how long they need beside the rounds that the options tell of.</summary>
    sealed record Group(
        string Name,
        SuiteRow[] Rows,
        double Seconds,
        double QuickSeconds,
        Func<SuiteOptions, IReadOnlyList<SuiteRow>, CancellationToken, List<ResultRow>> Run);

    static readonly Group[] Groups =
    [
        new("os", SuiteRows.Os, 20, 10, SuiteRows.RunOs),
        new("sync", SuiteRows.Sync, 20, 10, SuiteRows.RunSync),
        new("tables", SuiteRows.Tables, 30, 20, SuiteRows.RunTables),
        new("tail", TailRow.Rows, 110, 20, TailRow.Run),
        new("memory", FootprintRows.Rows, 30, 20, FootprintRows.Run),
        new("growth", GrowthRows.Rows, 240, 40, GrowthRows.Run),
    ];

    /// <summary>
    /// The `suite` command. Every server is stopped and every folder removed before it returns or throws. A group that fails takes no other along, and what
    /// was measured until then is written after each group.
    /// </summary>
    public static bool RunCommand(Arguments arguments, CancellationToken stop)
    {
        var options = SuiteOptions.Take(arguments);
        arguments.RefuseRest();
        var groups = Chosen(options);
        var limitSeconds = options.TimeLimitSeconds ?? groups.Sum(group => ExpectedSeconds(options, group)) * 2;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(TimeSpan.FromSeconds(limitSeconds));
        List<ResultRow> results = [];
        var isClean = true;
        foreach (var group in groups)
        {
            try
            {
                results.AddRange(group.Run(options, group.Rows, limit.Token));
            }
            catch (LoadException exception) when (limit.IsCancellationRequested && !stop.IsCancellationRequested)
            {
                throw new LoadException(SuiteReport.Text($"the suite ran into its time limit of {limitSeconds:F0} s in its group {group.Name} ({exception.Message})"));
            }
            catch (LoadException exception) when (!stop.IsCancellationRequested && groups.Length > 1)
            {
                Console.Error.WriteLine($"{group.Name}: {exception.Message}");
                isClean = false;
            }
            Write(options, results);
        }
        return isClean && results.TrueForAll(row => row.LsmFs.All(figure => figure is not null));
    }

    static Group[] Chosen(SuiteOptions options)
    {
        if (options.Groups?.FirstOrDefault(name => !Groups.Any(group => group.Name == name)) is { } unknown)
        {
            throw new LoadException($"--groups: there is no \"{unknown}\", but {string.Join(", ", Groups.Select(group => group.Name))}");
        }
        var chosen = Groups
            .Where(group => options.Groups?.Contains(group.Name) ?? true)
            .Select(group => group with { Rows = [.. group.Rows.Where(row => row.Name.Contains(options.RowFilter ?? "", StringComparison.Ordinal))] })
            .Where(group => group.Rows.Length > 0)
            .ToArray();
        return chosen.Length > 0
            ? chosen
            : throw new LoadException($"no row's name contains \"{options.RowFilter}\"; there are: {string.Join("; ", Groups.SelectMany(group => group.Rows).Select(row => row.Name))}");
    }

    static double ExpectedSeconds(SuiteOptions options, Group group) =>
        (group.Rows.Length * options.RoundCount * 2 * (options.Workload.Seconds + options.Workload.WarmupSeconds))
        + (options.IsQuick ? group.QuickSeconds : group.Seconds);

    static void Write(SuiteOptions options, IReadOnlyList<ResultRow> rows)
    {
        var w = options.Workload;
        var peers = new SortedDictionary<string, string>();
        if (Machine.VersionOf(options.MemcachedProgram) is { } version)
        {
            peers[SuiteReport.Memcached] = version;
        }
        var result = new PartResult
        {
            Part = "load",
            Command = "dotnet fsi build.fsx bench -- load",
            Conditions = SuiteReport.Text(
                $"LsmFs beside memcached (-t 2), in turn on the same {ProcessSample.ReadMachineCoreCount()} cores{(options.ServerCpus is null ? "" : $", servers on core {options.ServerCpus}")}, with a generator of one thread: {options.RoundCount} rounds of {w.Seconds} s a row after {w.WarmupSeconds} s of warm-up, {w.KeyCount:N0} keys of {w.KeyLength} bytes, values of {w.ValueLengthMax} bytes, 50 connections and uniform keys unless the row says otherwise. A pipeline is sent in one piece, and the next one when all is answered. A generator that uses a whole core was the limit of that row's throughput; processor time per operation does not depend on it."),
            Environment = Machine.Read(peers),
            Rows = rows,
        };
        if (options.ResultsFile is { } results)
        {
            ResultFile.Write(results, result);
            Console.WriteLine($"written: {results}");
        }
        if (options.OutputFile is { } output)
        {
            File.WriteAllText(output, SuiteReport.ToMarkdown(result));
            Console.WriteLine($"written: {output}");
        }
    }
}
