using System.Runtime.InteropServices;
using System.Text.Json;
using LsmFs.Load;

namespace LsmFs.Embedded;

internal static class Program
{
    private const int Clean = 0;
    private const int Dirty = 1;
    private const int Failed = 2;

    private static int Main(string[] args)
    {
        if (args.Contains("--help"))
        {
            Console.WriteLine($"{Settings.Help}\n\n{Suite.Help}");
            return Clean;
        }

        try
        {
            if (!OperatingSystem.IsLinux())
            {
                throw new LoadException("the figures come from Linux's /proc");
            }

            if (args is ["child", var engine, var part, var folder, var settings, var result])
            {
                EngineProcess.RunInside(engine, part, folder, settings, result);
                return Clean;
            }

            if (args.Contains("--results"))
            {
                return Suite.Run(new Arguments(args)) ? Clean : Dirty;
            }

            return Run(new Arguments(args)) ? Clean : Dirty;
        }
        catch (Exception exception) when (exception is LoadException or IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            Console.Error.WriteLine($"LsmFs.Embedded: {exception.Message}");
            return Failed;
        }
    }

    /// <summary>False when a value was wrong.</summary>
    private static bool Run(Arguments arguments)
    {
        var settings = Settings.Take(arguments);
        var roundCount = (int)(arguments.TakeInteger("--rounds", 1, 100) ?? 1);
        var engines = (arguments.Take("--engines") ?? "lsmfs,rocksdb").Split(',');
        var reportFile = Path.GetFullPath(arguments.Take("--out") ?? Path.Combine("artifacts", "embedded.md"));
        var parent = Path.GetFullPath(arguments.Take("--folder") ?? Path.GetTempPath());
        var prefix = (arguments.Take("--prefix") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        arguments.RefuseRest();
        if (engines.FirstOrDefault(engine => engine is not (EngineProcess.LsmFs or EngineProcess.RocksDb or EngineProcess.ZoneTree)) is { } unknown)
        {
            throw new LoadException($"--engines {unknown}: {EngineProcess.LsmFs}, {EngineProcess.RocksDb} and {EngineProcess.ZoneTree} are wanted, with commas between them");
        }

        if (engines.Contains(EngineProcess.RocksDb) && !RocksDb.IsThere)
        {
            throw new LoadException($"there is no RocksDB library for {RuntimeInformation.RuntimeIdentifier}; --engines {EngineProcess.LsmFs} runs without it");
        }

        if (settings.IsExpiring && engines.Any(engine => engine != EngineProcess.LsmFs))
        {
            throw new LoadException($"--remove expire: the others have no expiry of a key's own; say --engines {EngineProcess.LsmFs}");
        }

        if (settings.IsSynced && engines.Contains(EngineProcess.ZoneTree))
        {
            throw new LoadException("--durability sync: ZoneTree has no log that waits for the disk; leave it out of --engines");
        }

        // Twice for what is shadowed and for a compaction under way, and a margin.
        var wantedBytes = (settings.LiveBytes(settings.KeyCount) * 3) + (settings.MemoryBudgetBytes * 4);
        if (new DriveInfo(parent).AvailableFreeSpace is var freeBytes && freeBytes < wantedBytes)
        {
            throw new LoadException($"{parent} has {freeBytes >> 20} MiB free, and {wantedBytes >> 20} MiB are wanted: name another --folder");
        }

        Directory.CreateDirectory(Path.GetDirectoryName(reportFile)!);
        var folder = Directory.CreateDirectory(Path.Combine(parent, $"lsmfs-embedded-{Environment.ProcessId}")).FullName;
        List<RunResult> results = [];
        try
        {
            for (var round = 0; round < roundCount; round++)
            {
                foreach (var engine in round % 2 == 0 ? engines : [.. engines.Reverse()])
                {
                    results.Add(EngineProcess.Run(engine, settings, folder, prefix));
                    Report.Write(reportFile, settings, results);
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        File.WriteAllText(Path.ChangeExtension(reportFile, ".json"), JsonSerializer.Serialize(results));
        Console.WriteLine(File.ReadAllText(reportFile));
        return results.TrueForAll(run => run.Phases.TrueForAll(phase => phase.WrongCount == 0));
    }
}
