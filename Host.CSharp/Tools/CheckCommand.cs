using LsmFs.Cli;

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
        return new StoreCheck(folder, Console.Out.WriteLine).Run() ? ExitCode.Success : ExitCode.Failure;
    }
}
