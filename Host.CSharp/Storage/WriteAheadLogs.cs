using LsmFs.Engine;

namespace LsmFs.Host;

// Invariants
//   1. Only the newest log is appended to. The one before it is sealed before there is a next: zeros at the end of any but the last would look like damage.
//   2. Under Sync the logs of frozen memtables are closed. Otherwise they are open until their entries are in tables, and may have more than the disk does.
//   3. Logs are synced oldest first: a later part of what was written is not to outlive an earlier one.

/// <summary>
/// The write-ahead logs: the one that commits append to, and those of frozen memtables that are not synced. For the committing thread; what any thread may
/// call says so.
/// </summary>
internal sealed class WriteAheadLogs(Store store, LogWriter first) : IDisposable
{
    private readonly bool _isSync = store.Options.Durability == Durability.Sync;
    // Under Os: logs of frozen memtables, which a clean end makes durable. Locked, since the flusher closes those whose entries are in tables.
    private readonly List<LogWriter> _unsynced = [];
    private LogWriter _log = first;

    /// <summary>Bytes of the log that is being written. Any thread.</summary>
    internal long LengthBytes => Volatile.Read(ref _log).LengthBytes;

    /// <summary>What the checksums of the next frame continue from.</summary>
    internal uint Seed => _log.Seed;

    /// <summary>Whether an unfinished append left something that is not cut off yet, or the disk may not know of the cut.</summary>
    internal bool HasUnsyncedCut => _log.HasUnsyncedCut;

    /// <summary>Whether the calling thread is at the logs of frozen memtables.</summary>
    internal bool IsEntered => Monitor.IsEntered(_unsynced);

    /// <summary>Appends one finished frame: <see cref="LogWriter.Append"/>.</summary>
    internal void Append(ReadOnlySpan<byte> frame, SpaceUse? use) => _log.Append(frame, use);

    /// <summary>Cuts off what an unfinished append may have left.</summary>
    internal void CutTail() => _log.CutTail();

    /// <summary>
    /// Makes everything in the logs durable. Without <see cref="Durability.Sync"/> that is done for a flush of everything: the next edit of the manifest
    /// records it, and would tell of it after a power cut that had taken the rest of its group, and what was written before.
    /// </summary>
    internal void Sync()
    {
        lock (_unsynced)
        {
            _unsynced.ForEach(log => log.Sync());
        }

        _log.Sync();
        if (!_isSync)
        {
            store.Folder.Sync();
        }
    }

    /// <summary>Puts a new log in the place of the one that is being written, for the entries of the next memtable.</summary>
    internal void Switch(FileNumber number)
    {
        _log.Seal();
        var next = LogWriter.Create(store.Folder, LogKind.WriteAheadLog, number, durable: _isSync, takesAhead: !_isSync);
        if (_isSync)
        {
            _log.Dispose();
        }
        else
        {
            lock (_unsynced)
            {
                _unsynced.Add(_log);
            }
        }

        _log = next;
    }

    /// <summary>Closes logs that are no longer needed: an open file keeps its space. Any thread.</summary>
    internal void CloseBefore(FileNumber oldestLog)
    {
        lock (_unsynced)
        {
            foreach (var flushed in _unsynced.Where(log => log.Number.Value < oldestLog.Value))
            {
                flushed.Dispose();
            }

            _unsynced.RemoveAll(log => log.Number.Value < oldestLog.Value);
        }
    }

    /// <summary>Makes everything durable, when nothing more is appended.</summary>
    internal void Finish()
    {
        _log.Seal();
        Sync();
    }

    /// <summary>Closes the logs.</summary>
    public void Dispose()
    {
        _log.Dispose();
        _unsynced.ForEach(log => log.Dispose());
    }
}
