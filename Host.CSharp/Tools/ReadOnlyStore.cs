using LsmFs.Engine;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>
/// A store as its folder has it, recovered in memory: no file is made, changed or deleted, and a torn end of a log is read past. The folder is
/// locked meanwhile.
/// </summary>
internal sealed class ReadOnlyStore : IDisposable
{
    private const int ReadLengthBytesMax = 256 * 1024;

    private readonly DataFolder _folder;
    private readonly TableFiles _tables;
    private readonly Snapshot _snapshot;

    private ReadOnlyStore(DataFolder folder)
    {
        _folder = folder;
        _tables = new TableFiles(folder);
        try
        {
            var options = OptionsModule.ofBudget(OptionsModule.memoryBudgetBytesMin);
            var chunks = new ChunkPool(options.ChunkSizeBytes, OptionsModule.recycledBytesMax(options));
            var recovered = StoreRecovery.Run(folder, options, _tables, chunks, NullLogger.Instance, isReadOnly: true);
            _snapshot = SnapshotModule.recovered(
                Memtable.Create(chunks),
                recovered.NextFile,
                recovered.Frozen,
                recovered.State.Version,
                recovered.Tables,
                recovered.Flush,
                recovered.LastSequence);
        }
        catch
        {
            _tables.Dispose();
            throw;
        }
    }

    /// <summary>Opens the store in a folder. Throws <see cref="StoreException"/> when there is none, it is in use, or it is damaged.</summary>
    internal static ReadOnlyStore Open(string path)
    {
        var folder = DataFolder.OpenReadOnly(FileSystem.OfOperatingSystem, path);
        try
        {
            ToolCommand.RequireStore(folder);
            return new ReadOnlyStore(folder);
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    /// <summary>Calls <paramref name="visit"/> with every item that is live at a Unix time, in the order of the keys. An entry is valid during its call.</summary>
    internal void Scan(uint nowSeconds, Action<Entry> visit)
    {
        var scan = new Scan(_snapshot, nowSeconds, KeyBoundsModule.all, ReadLengthBytesMax);
        while (true)
        {
            switch (scan.MoveNext())
            {
                case SourceState.Ready:
                    visit(scan.Current);
                    break;

                case SourceState.NeedsBlock:
                    var wanted = scan.Wanted;
                    _tables.Read(wanted.Table, wanted.Handle.OffsetBytes, wanted.Destination.AsSpan(0, wanted.Handle.LengthBytes));
                    var supplied = scan.Supply();
                    if (supplied.IsError)
                    {
                        throw StoreException.Damaged(_folder.Path, supplied.ErrorValue);
                    }

                    break;

                default:
                    return;
            }
        }
    }

    /// <summary>Closes the files and releases the folder.</summary>
    public void Dispose()
    {
        _tables.Dispose();
        _folder.Dispose();
    }
}
