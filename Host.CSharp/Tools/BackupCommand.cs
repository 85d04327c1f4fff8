using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary><c>lsmfs backup</c>: brings a backup of a store up to date, beside its running server or without one.</summary>
internal static class BackupCommand
{
    /// <summary>
    /// Backs up, and prints what was done. Throws <see cref="StoreException"/> when there is no store, the folder cannot take this backup, or either of
    /// them is damaged; the backup is what it was before then, or newer.
    /// </summary>
    public static int Run(BackupOptions options)
    {
        var files = FileSystem.OfOperatingSystem;
        using var source = DataFolder.LookInto(files, Resolved(options.DataFolder));
        if (!source.Exists(StoreFile.Current))
        {
            throw ToolCommand.NoStore(source.Path);
        }

        var to = Resolved(options.ToFolder);
        if (to == source.Path)
        {
            throw new StoreException($"the folder {to} is the store itself; choose another folder with --to");
        }

        using var target = DataFolder.Open(files, to, "--to");
        var report = StoreBackup.Run(source, target, options.VerifyAll);
        Console.Out.WriteLine(
            $"backed up {source.Path} to {target.Path}: {ToolCommand.Count(report.LinkedCount, "table")} linked, {report.CopiedCount} copied, {report.KeptCount} kept, "
            + $"{ByteSize.Text(report.NewBytes)} new and verified; {report.LogEntryCount} log entries");
        return ExitCode.Success;
    }

    /// <summary>The full path of a folder; where a link leads to, if it is one.</summary>
    private static string Resolved(string path)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        return Directory.Exists(full) ? Directory.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full : full;
    }
}
