using LsmFs.Engine;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace LsmFs.Host;

/// <summary>
/// The files of a store as they belong together at one moment, held open: whatever its server deletes from now on can still be read. Logs may still grow.
/// </summary>
internal sealed class SourceHold : IDisposable
{
    private const int AttemptCountMax = 100;

    private readonly Dictionary<ulong, StorageFile> _tables = [];
    private readonly Dictionary<ulong, StorageFile> _logs = [];

    private SourceHold(ManifestState state, BackupPlan plan)
    {
        State = state;
        Plan = plan;
    }

    /// <summary>What the manifest said at that moment.</summary>
    internal ManifestState State { get; }

    /// <summary>What becomes of the tables in the backup.</summary>
    internal BackupPlan Plan { get; }

    /// <summary>The numbers of the logs, oldest first.</summary>
    internal IReadOnlyList<FileNumber> Logs { get; private set; } = [];

    /// <summary>
    /// Holds the files of the store in a folder: the tables that a backup with <paramref name="previous"/> lacks, and the logs. When the store moves on
    /// meanwhile, it begins again. Throws <see cref="StoreException"/> when the store is damaged, and <see cref="IOException"/>.
    /// </summary>
    internal static SourceHold Take(DataFolder folder, FSharpValueOption<ManifestState> previous)
    {
        for (var attempt = 1; ; attempt++)
        {
            var state = ReadState(folder);
            var hold = new SourceHold(state, Backup.plan(state, previous));
            string missing;
            try
            {
                if (hold.TryOpenAll(folder))
                {
                    return hold;
                }

                missing = "a log that the manifest needs";
            }
            catch (FileNotFoundException cause)
            {
                missing = cause.FileName ?? cause.Message;
            }
            catch
            {
                hold.Dispose();
                throw;
            }

            hold.Dispose();
            if (attempt == AttemptCountMax)
            {
                throw new StoreException($"the store in {folder.Path} lacks {missing}; lsmfs check says what is wrong with it");
            }

            Thread.Sleep(Math.Min(attempt, 50));
        }
    }

    /// <summary>Opens what a table was, whether its name is still there or not.</summary>
    internal StorageFile Table(TableMeta table) => _tables[table.Number.Value];

    /// <summary>The first bytes of a log.</summary>
    internal byte[] ReadLog(FileNumber number, long lengthBytes)
    {
        var bytes = new byte[lengthBytes];
        _logs[number.Value].ReadExactly(bytes, 0);
        return bytes;
    }

    /// <summary>All that a log has by now.</summary>
    internal byte[] ReadLog(FileNumber number) => ReadLog(number, _logs[number.Value].LengthBytes);

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        foreach (var file in _tables.Values.Concat(_logs.Values))
        {
            file.Dispose();
        }
    }

    private static ManifestState ReadState(DataFolder folder)
    {
        var manifest = ManifestFile.Read(folder);
        return manifest.IsError ? throw StoreException.Damaged(folder.Path, manifest.ErrorValue) : manifest.ResultValue.State;
    }

    private bool TryOpenAll(DataFolder folder)
    {
        foreach (var table in Plan.New)
        {
            _tables[table.Number.Value] = folder.OpenRead(StoreFile.NewTable(table.Number));
        }

        var first = ListModule.OfSeq(folder.Files());
        var logs = Backup.logs(State, first, ListModule.OfSeq(folder.Files()));
        if (logs.IsNone)
        {
            return false;
        }

        foreach (var number in logs.Value)
        {
            _logs[number.Value] = folder.OpenRead(StoreFile.NewLog(number));
        }

        Logs = [.. logs.Value];

        // A server deletes logs only after the manifest says that they are not needed: it did not say so before the second listing.
        return ReadState(folder).OldestLog.Value == State.OldestLog.Value;
    }
}
