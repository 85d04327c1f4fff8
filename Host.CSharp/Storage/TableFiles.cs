using System.Collections.Concurrent;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>The open table files of a store, by number. Thread-safe.</summary>
internal sealed class TableFiles(DataFolder folder) : IDisposable
{
    private readonly ConcurrentDictionary<ulong, StorageFile> _handles = new();

    /// <summary>Opens a table: its footer and its metadata are read and verified.</summary>
    internal Table Open(FileNumber number)
    {
        var file = StoreFile.NewTable(number);
        var name = FileName.ofFile(file);
        var handle = folder.OpenRead(file);
        try
        {
            var sizeBytes = handle.LengthBytes;
            var footer = new byte[Math.Min(TableFormat.footerLengthBytes, sizeBytes)];
            handle.ReadExactly(footer, sizeBytes - footer.Length);
            var decoded = TableFormat.decodeFooter(name, sizeBytes, footer);
            if (decoded.IsError)
            {
                throw StoreException.Damaged(folder.Path, decoded.ErrorValue);
            }

            var metadata = new byte[decoded.ResultValue.MetadataLengthBytes];
            handle.ReadExactly(metadata, decoded.ResultValue.MetadataOffsetBytes);
            var table = TableReader.openTable(number, name, sizeBytes, decoded.ResultValue, metadata);
            if (table.IsError)
            {
                throw StoreException.Damaged(folder.Path, table.ErrorValue);
            }

            _handles[number.Value] = handle;
            return table.ResultValue;
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Opens a table whose end is damaged, for salvage only.</summary>
    internal Table OpenWithoutEnd(TableMeta meta)
    {
        var file = StoreFile.NewTable(meta.Number);
        var handle = folder.OpenRead(file);
        _handles[meta.Number.Value] = handle;
        return TableReader.withoutEnd(meta, FileName.ofFile(file), handle.LengthBytes);
    }

    /// <summary>
    /// Fills <paramref name="buffer"/> from a table. Throws <see cref="IOException"/> when the disk fails, and also when the file ends early;
    /// <see cref="ObjectDisposedException"/> when the table has been closed.
    /// </summary>
    internal void Read(Table table, long offsetBytes, Span<byte> buffer) => HandleOf(table).ReadExactly(buffer, offsetBytes);

    /// <summary>Fills <paramref name="buffer"/> from a table if that is possible without waiting for the disk.</summary>
    internal bool TryReadNow(Table table, long offsetBytes, Span<byte> buffer) => HandleOf(table).TryReadNow(buffer, offsetBytes);

    /// <summary>Closes a table that no snapshot holds any more, and deletes its file.</summary>
    internal void Delete(FileNumber number)
    {
        Close(number);
        folder.Delete(StoreFile.NewTable(number));
    }

    /// <summary>Closes all files.</summary>
    public void Dispose()
    {
        foreach (var number in _handles.Keys)
        {
            Close(FileNumber.NewFileNumber(number));
        }
    }

    private StorageFile HandleOf(Table table) =>
        _handles.TryGetValue(table.Number.Value, out var handle) ? handle : throw new ObjectDisposedException(table.File);

    private void Close(FileNumber number)
    {
        if (_handles.TryRemove(number.Value, out var handle))
        {
            handle.Dispose();
        }
    }
}
