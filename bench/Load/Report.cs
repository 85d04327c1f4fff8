using System.Globalization;
using System.Text.Json;

namespace LsmFs.Load;

/// <summary>Measurements for people and for programs.</summary>
public static class Report
{
    static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    public static string ToJson(object value) => JsonSerializer.Serialize(value, Json);

    public static void Print(Measurement measurement, TextWriter output)
    {
        void Line(FormattableString text) => output.WriteLine(text.ToString(CultureInfo.InvariantCulture));
        var m = measurement;
        Line($"{m.Server}, {m.Kind}: {m.Operations:N0} operations in {m.ElapsedSeconds:F2} s");
        var keys = m.KeysPerSecond > 1.01 * m.OperationsPerSecond
            ? string.Create(CultureInfo.InvariantCulture, $", {m.KeysPerSecond:N0} keys/s")
            : "";
        Line($"  throughput     {m.OperationsPerSecond:N0} operations/s{keys}");
        output.WriteLine("  latency, µs         count        p50        p90        p99      p99.9        max");
        if (m.GetLatency is not null && m.SetLatency is not null)
        {
            LatencyLine("all", m.Latency);
        }
        LatencyLine("get", m.GetLatency);
        LatencyLine("set", m.SetLatency);
        Line($"  keys           {m.Hits:N0} hits, {m.Misses:N0} misses, {m.Wrong:N0} wrong");
        var unsent = m.Unsent > 0 ? $", {m.Unsent} never sent (the server fell behind the rate)" : "";
        Line($"  errors         {m.Errors:N0}{(m.FirstError is null ? "" : $" (the first: {m.FirstError})")}{unsent}");
        if (m.ServerResidentBytes is { } residentBytes)
        {
            Line($"  server         {m.ServerCpuMicrosecondsPerOperation:F2} µs CPU an operation, {m.ServerCpuCores:F2} cores, {residentBytes / 1048576.0:N0} MiB resident");
        }
        Line($"  generator      {m.GeneratorCpuMicrosecondsPerOperation:F2} µs CPU an operation, {m.GeneratorCpuCores:F2} cores");
        if (m.OtherCpuCores is { } otherCores)
        {
            Line($"  others         {otherCores:F2} cores (noise)");
        }
        PrintKeys("missing", m.Kind == "check" ? m.MissingKeys : [], output);
        PrintKeys("wrong", m.WrongKeys, output);

        void LatencyLine(string name, LatencySummary? l)
        {
            if (l is not null)
            {
                Line($"    {name} {l.Count,16:N0} {l.P50,10:F1} {l.P90,10:F1} {l.P99,10:F1} {l.P999,10:F1} {l.Max,10:F1}");
            }
        }
    }

    static void PrintKeys(string what, IReadOnlyList<string> keys, TextWriter output)
    {
        if (keys.Count > 0)
        {
            output.WriteLine($"  {what,-14} {string.Join(' ', keys)}{(keys.Count == 10 ? " ..." : "")}");
        }
    }
}
