namespace LsmFs.Results;

/// <summary>What the plots have in common.</summary>
internal static class Svg
{
    private static readonly string[] Colours = ["#1f77b4", "#d62728", "#17becf", "#ff7f0e", "#2ca02c", "#9467bd"];

    /// <summary>The colour of the n-th series; LsmFs is the first.</summary>
    public static string Colour(int series) => Colours[series % Colours.Length];

    public static string Escape(string text) => System.Security.SecurityElement.Escape(text);
}
