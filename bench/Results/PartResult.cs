using System.Text.Json;
using System.Text.Json.Serialization;

namespace LsmFs.Results;

/// <summary>One figure of LsmFs and of what it was measured beside, by rounds that are neighbours in time.</summary>
public sealed record ResultRow
{
    /// <summary>The table it belongs to, such as "Beside memcached".</summary>
    public required string Section { get; init; }

    /// <summary>What was done, such as "get, 50 connections". A figure is known by its part, name and unit.</summary>
    public required string Name { get; init; }

    /// <summary>What was counted, and in what: "operations/s", "server CPU µs/operation", "p99 µs".</summary>
    public required string Unit { get; init; }

    /// <summary>A figure for each round; null where a round gave none.</summary>
    [JsonPropertyName("lsmfs")]
    public required IReadOnlyList<double?> LsmFs { get; init; }

    /// <summary>The peers' figures of the same rounds, by their names: "memcached", "RocksDB", "ZoneTree".</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<double?>> Peers { get; init; } = new SortedDictionary<string, IReadOnlyList<double?>>();

    /// <summary>What a reader of the table has to know about this row.</summary>
    public string? Note { get; init; }

    /// <summary>LsmFs / peer of the same round; null when that was not measured.</summary>
    public Spread? RatioTo(string peer) => Peers.TryGetValue(peer, out var figures) ? Spread.OfRatios(LsmFs, figures) : null;
}

/// <summary>What one measuring program found out in one run. Each takes <c>--results FILE</c>, and writes it there.</summary>
public sealed record PartResult
{
    /// <summary>"load", "embedded", "process" or "micro".</summary>
    public required string Part { get; init; }

    /// <summary>What to type for such a run.</summary>
    public required string Command { get; init; }

    /// <summary>Sizes, rounds and settings, in a sentence or two of Markdown.</summary>
    public required string Conditions { get; init; }

    public required Machine Environment { get; init; }

    public required IReadOnlyList<ResultRow> Rows { get; init; }
}

/// <summary>Results between a program that measures and the one that composes the report: <c>artifacts/bench/PART.json</c>.</summary>
public static class ResultFile
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = true,
    };

    /// <summary>Writes the file whole or not at all, and makes its folder.</summary>
    public static void Write(string file, PartResult result)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
        var unfinished = $"{file}.new";
        File.WriteAllText(unfinished, JsonSerializer.Serialize(result, Json));
        File.Move(unfinished, file, overwrite: true);
    }

    /// <exception cref="InvalidDataException">It is no such file.</exception>
    public static PartResult Read(string file)
    {
        try
        {
            return JsonSerializer.Deserialize<PartResult>(File.ReadAllText(file), Json) ?? throw new InvalidDataException($"{file} holds no result");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{file} is no result: {exception.Message}", exception);
        }
    }
}
