namespace LsmFs.Results;

/// <summary>Smallest, middle and largest of some numbers.</summary>
public sealed record Spread(double Min, double Median, double Max)
{
    /// <summary>The spread of the numbers that are there; null when one is missing or none is there.</summary>
    public static Spread? From(IReadOnlyCollection<double?> numbers)
    {
        if (numbers.Count == 0 || numbers.Any(number => number is null || !double.IsFinite(number.Value)))
        {
            return null;
        }

        var sorted = numbers.Select(number => number!.Value).Order().ToArray();
        var middle = sorted.Length / 2;
        var median = sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        return new Spread(sorted[0], median, sorted[^1]);
    }

    /// <summary>
    /// The spread of the ratios of two lists, round by round: neighbours in time share what else the machine was doing, so ratios are steadier
    /// than the figures. Null when the lists do not pair up.
    /// </summary>
    public static Spread? OfRatios(IReadOnlyCollection<double?> numerators, IReadOnlyCollection<double?> denominators) =>
        numerators.Count == denominators.Count ? From([.. numerators.Zip(denominators, (a, b) => a / b)]) : null;
}
