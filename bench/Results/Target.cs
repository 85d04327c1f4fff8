using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace LsmFs.Results;

/// <summary>
/// What a measured row has to reach: its figure, or the ratio to the peer's of the same round, at most or at least a bound. The median decides.
/// </summary>
public sealed record Target
{
    /// <summary>The work as people speak of it.</summary>
    public required string Work { get; init; }

    /// <summary>Name and unit of the row that feeds it.</summary>
    public required string Row { get; init; }

    public required string Unit { get; init; }

    /// <summary>Whom the figure is divided by; null for the figure itself.</summary>
    public string? Peer { get; init; }

    public double? AtMost { get; init; }

    public double? AtLeast { get; init; }

    /// <summary>Written by hand: what was tried and what holds it back, or what one has to know of it.</summary>
    public string? Note { get; init; }

    /// <summary>"≤ 0.85 × memcached", "≥ 1,000,000" in the unit of the row.</summary>
    [JsonIgnore]
    public string Demand =>
        string.Create(CultureInfo.InvariantCulture, $"{(AtMost is null ? "≥" : "≤")} {Bound:#,0.##}{(Peer is null ? "" : $" × {Peer}")}");

    [JsonIgnore]
    public double Bound => AtMost ?? AtLeast!.Value;

    /// <summary>What was measured; null when it was not.</summary>
    public Spread? Measured(IEnumerable<ResultRow> rows) =>
        rows.FirstOrDefault(row => row.Name == Row && row.Unit == Unit) is { } row
            ? Peer is null ? Spread.From(row.LsmFs) : row.RatioTo(Peer)
            : null;

    public bool IsMetBy(double figure) => AtMost is null ? figure >= Bound : figure <= Bound;

    /// <summary>How many times as good as asked for: 1 just meets it.</summary>
    public Spread Margin(Spread measured) => AtMost is null
        ? new Spread(measured.Min / Bound, measured.Median / Bound, measured.Max / Bound)
        : new Spread(Inverse(measured.Max), Inverse(measured.Median), Inverse(measured.Min));

    /// <exception cref="InvalidDataException">It is no list of targets, or one of them has no bound or two.</exception>
    public static IReadOnlyList<Target> ReadAll(string file)
    {
        try
        {
            var targets = JsonSerializer.Deserialize<Target[]>(File.ReadAllText(file), new JsonSerializerOptions { PropertyNamingPolicy = JsonNamingPolicy.CamelCase, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow })!;
            return targets.FirstOrDefault(target => target.AtMost is null == target.AtLeast is null) is { } wrong
                ? throw new InvalidDataException($"{file}: \"{wrong.Work}\" wants atMost or atLeast")
                : targets;
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{file} is no list of targets: {exception.Message}", exception);
        }
    }

    // A figure of 0 where a little is allowed is as good as it gets; the plot ends somewhere.
    private double Inverse(double figure) => figure > 0 ? Bound / figure : 1000;
}
