using LsmFs.Cli;
using LsmFs.Engine;
using Microsoft.Extensions.Logging.Abstractions;

namespace LsmFs.Host;

/// <summary><c>lsmfs compact</c>: takes everything to the bottom level, without what nobody can see.</summary>
internal static class CompactCommand
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(50);

    /// <summary>
    /// Compacts the store in a folder, which no server may have open. An interrupt ends it after the table being written is given up; what was done until
    /// then stays done. Throws <see cref="StoreException"/> when there is no store, it is in use or damaged, or the disk takes no more.
    /// </summary>
    public static int Run(CompactOptions options)
    {
        var path = Path.GetFullPath(options.DataFolder);
        if (!File.Exists(Path.Combine(path, FileName.ofFile(StoreFile.Current))))
        {
            throw ToolCommand.NoStore(path);
        }

        using var interrupted = new CancellationTokenSource();
        ConsoleCancelEventHandler interrupt = (_, press) =>
        {
            press.Cancel = true;
            interrupted.Cancel();
        };
        Console.CancelKeyPress += interrupt;
        try
        {
            return Compact(path, options.MemoryBudgetBytes, interrupted.Token);
        }
        finally
        {
            Console.CancelKeyPress -= interrupt;
        }
    }

    private static int Compact(string path, long memoryBudgetBytes, CancellationToken interrupted)
    {
        var storeOptions = new StoreOptions
        {
            DataFolder = path,
            Durability = Durability.Os,
            MemoryBudgetBytes = memoryBudgetBytes,
            Pick = FullCompaction.pick,
            RestsInBackground = false,
        };
        using var store = Store.Open(storeOptions, NullLogger.Instance);
        store.Flush();
        var before = TableBytes(store);
        var isDone = false;
        using (var progress = new Progress("compacted", FullCompaction.remainingBytes(store.PickingInput)))
        {
            var left = FullCompaction.remainingBytes(store.PickingInput);
            while (!isDone && !interrupted.WaitHandle.WaitOne(PollInterval))
            {
                if (store.BackgroundFailure is { } failure)
                {
                    throw new StoreException($"the compaction of {path} failed: {failure}; what was done until then stays done, and the store is whole");
                }

                var input = store.PickingInput;
                isDone = FullCompaction.isDone(store.EngineOptions, input);
                var now = FullCompaction.remainingBytes(input);
                progress.Advance(Math.Max(0, left - now), 0);
                left = Math.Min(left, now);
            }
        }

        var quarantined = store.PickingInput.Quarantined;
        var sizes = $"{ByteSize.Text(before)} of tables became {ByteSize.Text(TableBytes(store))}";
        if (!isDone)
        {
            Console.Out.WriteLine($"interrupted: {sizes}; the store is whole, and lsmfs compact goes on from here");
            return ExitCode.Failure;
        }

        if (!quarantined.IsEmpty)
        {
            throw new StoreException(
                $"{ToolCommand.Count(quarantined.Length, "table")} of {path} cannot be read and stayed where it was; lsmfs check names the damage, lsmfs salvage saves the rest");
        }

        Console.Out.WriteLine($"compacted {path}: {sizes}");
        return ExitCode.Success;
    }

    private static long TableBytes(Store store) => VersionModule.tables(store.Current.Version).Sum(table => table.Item2.SizeBytes);
}
