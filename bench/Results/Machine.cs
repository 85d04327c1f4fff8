using System.Diagnostics;
using System.Runtime.InteropServices;

namespace LsmFs.Results;

/// <summary>Where and on what code a part was measured.</summary>
public sealed record Machine
{
    /// <summary>Short hash of the commit; "+" behind it when tracked files other than results had been changed.</summary>
    public required string Commit { get; init; }

    public required DateTimeOffset MeasuredAt { get; init; }

    public required int CoreCount { get; init; }

    public required string Processor { get; init; }

    public required long MemoryBytes { get; init; }

    public required string Kernel { get; init; }

    public required string DotNet { get; init; }

    /// <summary>Versions of what was measured beside, by name.</summary>
    public required IReadOnlyDictionary<string, string> Peers { get; init; }

    /// <summary>This machine now.</summary>
    public static Machine Read(IReadOnlyDictionary<string, string> peers) => new()
    {
        Commit = ReadCommit(),
        MeasuredAt = DateTimeOffset.UtcNow,
        CoreCount = Environment.ProcessorCount,
        Processor = ReadField("/proc/cpuinfo", "model name") ?? RuntimeInformation.ProcessArchitecture.ToString(),
        MemoryBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
        Kernel = RunLine("uname", "-sr") ?? RuntimeInformation.OSDescription,
        DotNet = RuntimeInformation.FrameworkDescription,
        Peers = peers,
    };

    /// <summary>The last word of what a program says of its version; null when it cannot be started.</summary>
    public static string? VersionOf(string program, string option = "-V") => RunLine(program, option)?.Split(' ')[^1];

    private static string ReadCommit()
    {
        // The program stands below the folder it was built from, whatever the current one is.
        var folder = AppContext.BaseDirectory;
        if (RunLine("git", "-C", folder, "rev-parse", "--short", "HEAD") is not { } commit)
        {
            return "unknown";
        }

        var isChanged = RunLine("git", "-C", folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)bench/RESULTS.md", ":(exclude,top)bench/results") is not null;
        return isChanged ? $"{commit}+" : commit;
    }

    private static string? ReadField(string file, string name) =>
        File.Exists(file) && File.ReadLines(file).FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal)) is { } found
            ? found[(found.IndexOf(':') + 1)..].Trim()
            : null;

    /// <summary>The first line of what a program prints; null when it fails or prints nothing.</summary>
    private static string? RunLine(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true });
            var error = process!.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            _ = error.Result;
            return process.ExitCode == 0 && output.Split('\n')[0].Trim() is { Length: > 0 } line ? line : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
