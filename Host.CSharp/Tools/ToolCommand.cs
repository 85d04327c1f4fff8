using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>What the commands beside <c>serve</c> share: a failure is one line on stderr and an exit code.</summary>
internal static class ToolCommand
{
    /// <summary>Carries a command out, and returns its exit code.</summary>
    public static int Run(Func<int> command)
    {
        try
        {
            return command();
        }
        catch (Exception failure)
        {
            var isKnown = failure is StoreException or IOException or UnauthorizedAccessException;
            var message = OneLineFormatter.InOneLine(failure.Message);
            Console.Error.WriteLine(isKnown ? $"lsmfs: {message}" : $"lsmfs: unexpected {failure.GetType().Name}: {message}");
            return isKnown ? ExitCode.Failure : ExitCode.Fault;
        }
    }

    /// <summary>A number of things in words.</summary>
    public static string Count(long count, string what) => count == 1 ? $"1 {what}" : $"{count} {what}s";

    /// <summary>Throws <see cref="NoStore"/> unless a folder has a store, whole or damaged.</summary>
    public static void RequireStore(DataFolder folder)
    {
        if (!Directory.Exists(folder.Path) || (!folder.Exists(StoreFile.Current) && Recovery.isNewStore([.. folder.Files()])))
        {
            throw NoStore(folder.Path);
        }
    }

    /// <summary>Says that there is nothing in a folder that a command could work on.</summary>
    public static StoreException NoStore(string path) =>
        new($"there is no store in {path}; choose another folder with --data");
}
