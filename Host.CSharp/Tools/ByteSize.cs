using System.Globalization;

namespace LsmFs.Host;

/// <summary>Sizes as an operator reads them.</summary>
internal static class ByteSize
{
    private static readonly string[] Units = ["B", "KiB", "MiB", "GiB", "TiB"];

    /// <summary>Bytes in the largest unit of which there is at least one: <c>17 B</c>, <c>1.5 MiB</c>.</summary>
    public static string Text(long bytes)
    {
        var value = (double)bytes;
        var unit = 0;
        while (value >= 1024 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{(unit == 0 ? $"{bytes}" : value.ToString("F1", CultureInfo.InvariantCulture))} {Units[unit]}");
    }
}
