using LsmFs.Cli;
using LsmFs.Engine;
using Microsoft.Extensions.Logging.Abstractions;

namespace LsmFs.Host;

/// <summary><c>lsmfs salvage</c>: saves what is whole of a damaged store into a new one, and lists what is lost. Never changes the source.</summary>
internal static class SalvageCommand
{
    private const int DeleteCountMax = 10_000;

    /// <summary>
    /// Salvages. Returns 0 when nothing was lost, and 1 when something was. Throws <see cref="StoreException"/> when there is no store, one of the folders is
    /// in use, or the new folder has a store already.
    /// </summary>
    public static int Run(SalvageOptions options)
    {
        using var source = DataFolder.OpenReadOnly(FileSystem.OfOperatingSystem, options.DataFolder);
        ToolCommand.RequireStore(source);
        SalvageReport report;
        string path;
        using (var target = DataFolder.Open(FileSystem.OfOperatingSystem, options.ToFolder, "--to"))
        {
            path = target.Path;
            if (target.Files().Any(file => !file.IsLock))
            {
                throw new StoreException($"the folder {path} has files of a store already; choose an empty one with --to");
            }

            report = new StoreSalvage(source, target).Run();
        }

        var staleCount = ListStale(path, report.Losses, options.Strict);
        var saved = $"saved {report.EntryCount} entries, {ByteSize.Text(report.SavedBytes)}, to {path}";
        if (report.Losses.Count == 0)
        {
            Console.Out.WriteLine($"{saved}; nothing was lost");
            return ExitCode.Success;
        }

        var fate = options.Strict ? "left out because they may be stale" : "possibly stale";
        Console.Out.WriteLine(
            $"{saved}; lost: {ToolCommand.Count(report.Losses.Count, "part")} with {report.Losses.Sum(loss => loss.LengthBytes)} bytes; {staleCount} items {fate}");
        return ExitCode.Failure;
    }

    /// <summary>Prints the items of which a newer entry may have been lost, and deletes them when <paramref name="isStrict"/>; how many they are.</summary>
    private static long ListStale(string path, IReadOnlyList<Loss> losses, bool isStrict)
    {
        var keys = new List<byte[]>();
        var staleness = new Salvage.Staleness(losses);
        using (var store = ReadOnlyStore.Open(path))
        {
            store.Scan((uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds(), item =>
            {
                if (staleness.MayBeStale(item))
                {
                    keys.Add(item.Key.ToArray());
                }
            });
        }

        foreach (var key in keys)
        {
            Console.Out.WriteLine($"{(isStrict ? "left out" : "possibly stale")}: {KeyText.ofKey(key)}");
        }

        if (isStrict && keys.Count > 0)
        {
            Delete(path, keys);
        }

        return keys.Count;
    }

    private static void Delete(string path, List<byte[]> keys)
    {
        using var store = Store.Open(new StoreOptions { DataFolder = path, Durability = Durability.Os }, NullLogger.Instance);
        foreach (var some in keys.Chunk(DeleteCountMax))
        {
            var batch = new WriteBatch();
            foreach (var key in some)
            {
                batch.Delete(key);
            }

            store.Write(batch);
        }
    }
}
