using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary><c>lsmfs check</c>: says what is wrong with a store, and changes nothing.</summary>
internal static class CheckCommand
{
    /// <summary>
    /// Prints a line for each finding and a summary. Returns 0 for a store that is whole and 1 for a damaged one. Throws
    /// <see cref="StoreException"/> when there is no store, or when it is in use.
    /// </summary>
    public static int Run(CheckOptions options)
    {
        using var folder = DataFolder.OpenReadOnly(FileSystem.OfOperatingSystem, options.DataFolder);
        ToolCommand.RequireStore(folder);
        var totalBytes = folder.Files().Where(file => !file.IsReserve).Sum(file => SizeOf(folder, file));
        return new StoreCheck(folder, totalBytes, Console.Out.WriteLine).Run() ? ExitCode.Success : ExitCode.Failure;
    }

    // By its name: one that cannot be opened is for the check to tell.
    private static long SizeOf(DataFolder folder, StoreFile file) => new FileInfo(Path.Combine(folder.Path, FileName.ofFile(file))).Length;
}
