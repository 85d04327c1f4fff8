using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>The work was given up because the store is closing.</summary>
internal sealed class WorkCancelledException : Exception;

/// <summary>A table that a job needs cannot be read: the disk fails, or what it gives is damaged. The message says why.</summary>
internal sealed class UnreadableTableException(FileNumber table, long offsetBytes, string reason) : Exception(reason)
{
    internal FileNumber Table { get; } = table;

    internal long OffsetBytes { get; } = offsetBytes;
}

/// <summary>
/// Carries out a job of the engine: reads the blocks it asks for and writes the tables it makes. The tables are synced and opened when
/// <see cref="Run"/> returns, and not yet part of the store.
/// </summary>
internal sealed class TableWriter(Store store, SpaceUse use)
{
    private const long WriteBackBytes = 2 << 20;

    private readonly List<FileNumber> _created = [];
    private StorageFile? _output;
    private long _outputBytes;
    private long _writtenBackBytes;
    private FileNumber? _lastRead;

    /// <summary>Bytes read from tables.</summary>
    internal long ReadBytes { get; private set; }

    /// <summary>Bytes written to tables.</summary>
    internal long WrittenBytes { get; private set; }

    /// <summary>
    /// Runs a job to its end. Throws <see cref="UnreadableTableException"/> when an input cannot be read, <see cref="IOException"/> when the disk fails
    /// otherwise, and <see cref="WorkCancelledException"/>; the tables made so far are deleted then.
    /// </summary>
    internal IReadOnlyList<Table> Run(Job job, Func<bool> mayRest, CancellationToken cancelled)
    {
        var rests = store.RestsInBackground ? new Rests(mayRest, store.Options.Clock) : null;
        try
        {
            while (true)
            {
                rests?.RestWhenDue();
                if (cancelled.IsCancellationRequested)
                {
                    throw new WorkCancelledException();
                }

                switch (job.Next())
                {
                    case JobStep.Read read:
                        Supply(job, read.read);
                        break;
                    case JobStep.Write write:
                        Append(write.bytes);
                        break;
                    case { IsPause: true }:
                        break;
                    case JobStep.TableFinished:
                        FinishTable();
                        break;
                    case JobStep.Failed failed:
                        throw new UnreadableTableException(_lastRead!.Value, failed.corruption.OffsetBytes, failed.corruption.Reason);
                    default:
                        return OpenTables();
                }
            }
        }
        catch
        {
            Discard();
            throw;
        }
    }

    private void Supply(Job job, BlockRead read)
    {
        _lastRead = read.Table.Number;
        try
        {
            store.Tables.Read(read.Table, read.Handle.OffsetBytes, read.Destination.AsSpan(0, read.Handle.LengthBytes));
        }
        catch (IOException cause)
        {
            throw new UnreadableTableException(read.Table.Number, read.Handle.OffsetBytes, cause.Message);
        }

        ReadBytes += read.Handle.LengthBytes;
        job.Supply();
    }

    private void Append(ArraySegment<byte> bytes)
    {
        if (_output is null)
        {
            var number = store.NextFileNumber();
            _output = store.Folder.Create(StoreFile.NewTable(number), use);
            _created.Add(number);
            _outputBytes = 0;
            _writtenBackBytes = 0;
        }

        _output.Write(bytes, _outputBytes);
        _outputBytes += bytes.Count;
        WrittenBytes += bytes.Count;
        if (_outputBytes - _writtenBackBytes >= WriteBackBytes)
        {
            // Bit by bit, so that the sync at the end has little to do, and the log's syncs do not wait behind it.
            _output.StartWriteBack(_writtenBackBytes, _outputBytes - _writtenBackBytes);
            _writtenBackBytes = _outputBytes;
        }
    }

    private void FinishTable()
    {
        _output!.Sync();
        _output.Dispose();
        _output = null;
    }

    private List<Table> OpenTables()
    {
        if (_created.Count > 0)
        {
            store.Folder.Sync();
        }

        return [.. _created.Select(store.Tables.Open)];
    }

    private void Discard()
    {
        _output?.Dispose();
        foreach (var number in _created)
        {
            store.DeleteTable(number);
        }
    }
}
