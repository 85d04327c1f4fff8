using System.Globalization;
using System.Text;
using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>What a suite found out, as rows for the report, and as Markdown.</summary>
internal static class SuiteReport
{
    public const string ServerCpu = "server CPU µs/operation", Memcached = "memcached";

    static readonly (string Unit, Func<Measurement, double?> Figure)[] Figures =
    [
        ("operations/s", m => m.OperationsPerSecond),
        (ServerCpu, m => m.ServerCpuMicrosecondsPerOperation),
        ("p50 µs", m => m.Latency?.P50),
        ("p99 µs", m => m.Latency?.P99),
        ("p99.9 µs", m => m.Latency?.P999),
        // Near 1 for each of its threads, the generator was the limit.
        ("generator, cores", m => m.GeneratorCpuCores),
    ];

    /// <summary>A row for each figure. The note says what one has to know of all of them.</summary>
    public static IEnumerable<ResultRow> Rows(string section, Comparison comparison, string? note = null)
    {
        var (ours, theirs) = (comparison.A, comparison.B);
        List<string> notes = note is null ? [] : [note];
        if (!comparison.IsClean)
        {
            var first = ours.Concat(theirs).First(m => !m.IsClean);
            notes.Add($"Not every reply was right, of {first.Server} for one: {first.Errors} errors, {first.Wrong} wrong, {first.Unsent} never sent.");
        }
        if (Comparison.Median([.. ours, .. theirs], m => m.OtherCpuCores) is > 0.2 and var others)
        {
            notes.Add(Text($"Others used {others:F1} cores meanwhile."));
        }
        var text = notes.Count > 0 ? string.Join(' ', notes) : null;
        return Figures.Select(each => Row(section, comparison.Name, each.Unit, [.. ours.Select(each.Figure)], [.. theirs.Select(each.Figure)], text));
    }

    public static ResultRow Row(
        string section, string name, string unit, IReadOnlyList<double?> ours, IReadOnlyList<double?>? theirs = null, string? note = null) => new()
        {
            Section = section,
            Name = name,
            Unit = unit,
            LsmFs = ours,
            Peers = theirs is null
            ? new SortedDictionary<string, IReadOnlyList<double?>>()
            : new SortedDictionary<string, IReadOnlyList<double?>> { [Memcached] = theirs },
            Note = note,
        };

    public static string ToMarkdown(PartResult result)
    {
        var text = new StringBuilder();
        void Line(string line = "") => text.Append(line).Append('\n');
        Line(result.Conditions);
        foreach (var section in result.Rows.GroupBy(row => row.Section))
        {
            Line();
            Line($"### {section.Key}");
            Line();
            ResultsPage.WriteTable(text, [.. section]);
        }
        return text.ToString();
    }

    public static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
