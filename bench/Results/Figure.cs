using System.Globalization;

namespace LsmFs.Results;

/// <summary>Numbers as the report writes them.</summary>
internal static class Figure
{
    /// <summary>Three or four digits that say something.</summary>
    public static string Text(double number) => number.ToString(
        Math.Abs(number) switch
        {
            0 => "0",
            >= 100 => "N0",
            >= 10 => "N1",
            >= 0.1 => "N2",
            _ => "G2",
        },
        CultureInfo.InvariantCulture);

    public static string Ratio(double number) => number.ToString("F2", CultureInfo.InvariantCulture);

    /// <summary>Median (min to max), or the number alone when there is but one.</summary>
    public static string Text(Spread? spread, Func<double, string> text, string emphasis = "") =>
        spread is null ? "n/a"
        : spread.Min == spread.Max ? $"{emphasis}{text(spread.Median)}{emphasis}"
        : $"{emphasis}{text(spread.Median)}{emphasis} ({text(spread.Min)} to {text(spread.Max)})";
}
