using System.Text.Json;

namespace LsmFs.Results;

/// <summary>What BenchmarkDotNet's JSON exporter has written, as rows.</summary>
public static class MicroResults
{
    /// <summary>Rows of all reports in a folder (<c>*-report*.json</c>): nanoseconds by iteration, and bytes allocated, for each operation.</summary>
    /// <exception cref="InvalidDataException">There is no such report.</exception>
    public static IReadOnlyList<ResultRow> Read(string folder)
    {
        var files = Directory.Exists(folder) ? Directory.GetFiles(folder, "*-report*.json") : [];
        return files.Length > 0
            ? [.. files.Order(StringComparer.Ordinal).SelectMany(ReadReport)]
            : throw new InvalidDataException($"there is no report of BenchmarkDotNet in {folder}");
    }

    private static List<ResultRow> ReadReport(string file)
    {
        using var report = JsonDocument.Parse(File.ReadAllText(file));
        List<ResultRow> rows = [];
        foreach (var benchmark in report.RootElement.GetProperty("Benchmarks").EnumerateArray())
        {
            string Text(string property) => benchmark.TryGetProperty(property, out var value) ? value.GetString() ?? "" : "";
            // A benchmark that failed has no statistics.
            if (benchmark.GetProperty("Statistics") is not { ValueKind: JsonValueKind.Object } statistics)
            {
                continue;
            }

            // As it is described, if it is; BenchmarkDotNet quotes a description that has spaces.
            var method = Text("MethodTitle") is { Length: > 0 } title ? title.Trim('\'') : Text("Method");
            var name = Text("Parameters") is { Length: > 0 } parameters ? $"{method} ({parameters})" : method;
            var row = new ResultRow
            {
                Section = Text("Type").Replace("Benchmarks", "", StringComparison.Ordinal),
                Name = $"{Text("Type").Replace("Benchmarks", "", StringComparison.Ordinal)}: {name}",
                Unit = "ns/operation",
                LsmFs = [.. statistics.GetProperty("OriginalValues").EnumerateArray().Select(value => value.ValueKind == JsonValueKind.Number ? value.GetDouble() : (double?)null)],
            };
            rows.Add(row);
            if (benchmark.TryGetProperty("Memory", out var memory) && memory.ValueKind == JsonValueKind.Object && memory.TryGetProperty("BytesAllocatedPerOperation", out var bytes) && bytes.ValueKind == JsonValueKind.Number)
            {
                rows.Add(row with { Unit = "bytes allocated/operation", LsmFs = [bytes.GetDouble()] });
            }
        }

        return rows;
    }
}
