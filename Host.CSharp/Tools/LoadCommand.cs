using LsmFs.Cli;
using LsmFs.Engine;
using Microsoft.Extensions.Logging.Abstractions;

namespace LsmFs.Host;

/// <summary><c>lsmfs load</c>: writes the items of a dump to a store.</summary>
internal static class LoadCommand
{
    private const int BatchSizeBytes = 1 << 20;

    /// <summary>
    /// Loads from stdin or from a file, in batches, and syncs at the end. Throws <see cref="StoreException"/> when the store cannot be opened or takes
    /// no more, or at the first line that is no line of a dump; what came before it is stored then.
    /// </summary>
    public static int Run(LoadOptions options)
    {
        using var input = options.InFile.IsSome
            ? new FileStream(options.InFile.Value, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0)
            : Console.OpenStandardInput();
        var storeOptions = new StoreOptions
        {
            DataFolder = options.DataFolder,
            Durability = Durability.Os,
            MemoryBudgetBytes = options.MemoryBudgetBytes,
        };
        var reader = new DumpReader();

        // Closing the store syncs its log: nothing is said to be loaded before.
        using (var store = Store.Open(storeOptions, NullLogger.Instance))
        {
            Load(store, input, reader, valueLengthMax: options.MemoryBudgetBytes / 2);
        }

        Console.Out.WriteLine($"loaded {reader.ItemCount} items into {Path.GetFullPath(options.DataFolder)}");
        return ExitCode.Success;
    }

    private static void Load(Store store, Stream input, DumpReader reader, long valueLengthMax)
    {
        using var progress = new Progress("loaded", input.CanSeek ? input.Length : 0);
        var lines = new LineReader(input);
        var batch = new WriteBatch();
        var batchSizeBytes = 0;
        string? refusal = null;
        while (refusal is null && lines.TryRead(out var line))
        {
            var read = reader.Read(line);
            if (read.IsError)
            {
                refusal = read.ErrorValue;
            }
            else if (read.ResultValue == DumpLine.Item && reader.Value.Length > valueLengthMax)
            {
                refusal = $"line {reader.LineCount}: a value of {reader.Value.Length} bytes needs at least twice as much of -m";
            }
            else if (read.ResultValue == DumpLine.Item)
            {
                batch.Put(reader.Key, reader.Value, reader.Flags, reader.ExpirySeconds);
                batchSizeBytes += reader.Key.Length + reader.Value.Length;
                progress.Advance(0, 1);
            }

            progress.Advance(line.Length + 1, 0);
            if (batchSizeBytes >= BatchSizeBytes)
            {
                store.Write(batch);
                batch.Clear();
                batchSizeBytes = 0;
            }
        }

        store.Write(batch);
        refusal ??= reader.Refusal.IsSome ? reader.Refusal.Value : null;
        if (refusal is not null)
        {
            throw new StoreException($"{refusal}; the items of the lines before it are loaded");
        }
    }
}
