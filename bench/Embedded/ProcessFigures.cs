using System.Globalization;

namespace LsmFs.Embedded;

/// <summary>What the kernel has counted for this process so far: bytes that went through read and write calls, and those that the disk had to take.</summary>
internal readonly record struct IoFigures(long ReadBytes, long ReadCalls, long WrittenBytes, long WriteCalls, long DiskReadBytes, long DiskWrittenBytes)
{
    public static IoFigures Read()
    {
        var figures = ProcessFigures.ReadFields("/proc/self/io");
        return new IoFigures(figures["rchar"], figures["syscr"], figures["wchar"], figures["syscw"], figures["read_bytes"], figures["write_bytes"]);
    }

    public static IoFigures operator -(IoFigures a, IoFigures b) => new(
        a.ReadBytes - b.ReadBytes,
        a.ReadCalls - b.ReadCalls,
        a.WrittenBytes - b.WrittenBytes,
        a.WriteCalls - b.WriteCalls,
        a.DiskReadBytes - b.DiskReadBytes,
        a.DiskWrittenBytes - b.DiskWrittenBytes);
}

/// <summary>Memory of this process and size of the store's folder, at a time in seconds since the start of the phase.</summary>
internal sealed record SizeSample(double Seconds, long ResidentBytes, long AnonymousBytes, long FolderBytes)
{
    public static SizeSample Take(double seconds, string folder)
    {
        var status = ProcessFigures.ReadFields("/proc/self/status");
        return new SizeSample(seconds, status["VmRSS"] * 1024, status["RssAnon"] * 1024, FolderSize(folder));
    }

    private static long FolderSize(string folder)
    {
        var total = 0L;
        foreach (var file in new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories))
        {
            try
            {
                total += file.Length;
            }
            catch (FileNotFoundException)
            {
                // Deleted since it was listed.
            }
        }

        return total;
    }
}

internal static class ProcessFigures
{
    /// <summary>The lines `name: number ...` of a file in /proc.</summary>
    public static Dictionary<string, long> ReadFields(string path)
    {
        var fields = new Dictionary<string, long>();
        foreach (var line in File.ReadLines(path))
        {
            var colon = line.IndexOf(':');
            var words = line[(colon + 1)..].Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
            if (colon > 0 && words.Length > 0 && long.TryParse(words[0], CultureInfo.InvariantCulture, out var number))
            {
                fields[line[..colon]] = number;
            }
        }

        return fields;
    }
}
