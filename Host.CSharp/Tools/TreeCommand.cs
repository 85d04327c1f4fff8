using System.Globalization;
using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary><c>lsmfs tree</c>: the levels as a table. Reads the manifest alone, so it works beside a running server.</summary>
internal static class TreeCommand
{
    private const int KeyTextLengthMax = 40;

    private static readonly string[] Headings =
        ["level", "tables", "size", "entries", "tombstones", "first expiry", "last expiry", "smallest key", "largest key"];

    /// <summary>Prints the levels of the store in a folder. Throws <see cref="StoreException"/> when there is none or its manifest is damaged.</summary>
    public static int Run(TreeOptions options)
    {
        using var folder = DataFolder.LookInto(FileSystem.OfOperatingSystem, options.DataFolder);
        if (!folder.Exists(StoreFile.Current))
        {
            throw ToolCommand.NoStore(folder.Path);
        }

        var manifest = ManifestFile.Read(folder);
        if (manifest.IsError)
        {
            throw StoreException.Damaged(folder.Path, manifest.ErrorValue);
        }

        var levels = LevelSummaryModule.ofVersion(manifest.ResultValue.State.Version);
        foreach (var line in Lines(levels))
        {
            Console.Out.WriteLine(line);
        }

        return ExitCode.Success;
    }

    private static IEnumerable<string> Lines(LevelSummary[] levels)
    {
        if (levels.Length == 0)
        {
            return ["no tables: whatever the store holds is in its logs"];
        }

        string[][] rows = [Headings, .. levels.Select(Row), TotalRow(levels)];
        var widths = Enumerable.Range(0, Headings.Length).Select(column => rows.Max(row => row[column].Length)).ToArray();
        var amplification = LevelSummaryModule.spaceAmplification(levels).ToString("F2", CultureInfo.InvariantCulture);
        return
        [
            .. rows.Select(row => string.Join("  ", row.Select((cell, column) => Aligned(cell, column, widths[column]))).TrimEnd()),
            $"space amplification {amplification} (bytes of all levels for each byte of the deepest)",
        ];
    }

    // Numbers to the right, times and keys to the left.
    private static string Aligned(string cell, int column, int width) => column < 5 ? cell.PadLeft(width) : cell.PadRight(width);

    private static string[] Row(LevelSummary level) =>
    [
        Number(level.Level),
        Number(level.TableCount),
        ByteSize.Text(level.SizeBytes),
        Number(level.EntryCount),
        Number(level.TombstoneCount),
        level.EarliestExpirySeconds == 0 ? "never" : Time(level.EarliestExpirySeconds),
        level.LatestExpirySeconds == 0 ? "never" : Time(level.LatestExpirySeconds),
        Key(level.SmallestKey),
        Key(level.LargestKey),
    ];

    private static string[] TotalRow(LevelSummary[] levels) =>
    [
        "all",
        Number(levels.Sum(level => level.TableCount)),
        ByteSize.Text(levels.Sum(level => level.SizeBytes)),
        Number(levels.Sum(level => level.EntryCount)),
        Number(levels.Sum(level => level.TombstoneCount)),
        "",
        "",
        "",
        "",
    ];

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Time(uint seconds) =>
        DateTimeOffset.FromUnixTimeSeconds(seconds).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private static string Key(byte[] key)
    {
        var text = KeyText.ofKey(key);
        return text.Length <= KeyTextLengthMax ? text : text[..KeyTextLengthMax] + "...";
    }
}
