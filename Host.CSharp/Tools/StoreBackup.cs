using LsmFs.Engine;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace LsmFs.Host;

/// <summary>What a backup did.</summary>
internal sealed record BackupReport(int LinkedCount, int CopiedCount, int KeptCount, long NewBytes, long LogEntryCount);

/// <summary>Brings a backup up to date, in the order that the engine's <see cref="Backup"/> explains.</summary>
internal sealed class StoreBackup
{
    private const int CopyLengthBytes = 1 << 20;
    private const int CompareLengthBytes = 64 * 1024;

    private readonly DataFolder _source;
    private readonly DataFolder _target;
    private readonly bool _verifyAll;
    private int _linkedCount;
    private int _copiedCount;

    private StoreBackup(DataFolder source, DataFolder target, bool verifyAll)
    {
        _source = source;
        _target = target;
        _verifyAll = verifyAll;
    }

    /// <summary>
    /// Backs up the store in <paramref name="source"/>, which may be in use, to <paramref name="target"/>, which is locked. New tables are read back and
    /// verified before they become part of the backup, and with <paramref name="verifyAll"/> those that were there as well. Throws
    /// <see cref="StoreException"/> when the folder cannot take this backup or either of them is damaged, and <see cref="IOException"/>.
    /// </summary>
    internal static BackupReport Run(DataFolder source, DataFolder target, bool verifyAll) =>
        new StoreBackup(source, target, verifyAll).Run();

    private BackupReport Run()
    {
        var found = ReadTarget();
        var previous = found.Current.IsSome
            ? FSharpValueOption<ManifestState>.NewValueSome(found.Current.Value.Item2)
            : FSharpValueOption<ManifestState>.ValueNone;
        using var hold = SourceHold.Take(_source, previous);
        var refusal = Backup.refusal(_source.Path, hold.State, found);
        if (refusal.IsSome)
        {
            throw new StoreException($"the folder {_target.Path} cannot take this backup: {refusal.Value}");
        }

        var number = Backup.nextManifest(found.Files);
        var (manifest, name) = Backup.encodeManifest(number, LogWriter.NewSalt(), hold.State);
        WriteMarker(found, name);
        foreach (var table in hold.Plan.Kept)
        {
            CompareKept(table);
        }

        TakeTables(hold);
        var logs = MeasureLogs(hold);
        Verify(_verifyAll ? hold.Plan.New.Concat(hold.Plan.Kept) : hold.Plan.New);
        ManifestFile.Install(_target, number, manifest);
        foreach (var log in logs)
        {
            _target.Prepare(hold.ReadLog(log.Number, log.LengthBytes));
            _target.Replace(StoreFile.NewLog(log.Number));
        }

        foreach (var file in Backup.leftovers(number, hold.State, ListModule.OfSeq(logs.Select(log => log.Number)), ListModule.OfSeq(_target.Files())))
        {
            _target.Delete(file);
        }

        _target.Sync();
        var newBytes = hold.Plan.New.Sum(table => table.SizeBytes);
        return new BackupReport(_linkedCount, _copiedCount, hold.Plan.Kept.Length, newBytes, logs.Sum(log => log.EntryCount));
    }

    private BackupTarget ReadTarget()
    {
        var files = _target.Files();
        var marker = files.Contains(StoreFile.Backup)
            ? FSharpValueOption<BackupMarker>.NewValueSome(Require(_target, Backup.decodeMarker(_target.ReadAll(StoreFile.Backup))))
            : FSharpValueOption<BackupMarker>.ValueNone;
        var current = FSharpValueOption<Tuple<BackupManifest, ManifestState>>.ValueNone;
        if (marker.IsSome && files.Contains(StoreFile.Current))
        {
            var manifest = Require(_target, ManifestFile.Read(_target));
            current = FSharpValueOption<Tuple<BackupManifest, ManifestState>>.NewValueSome(
                new(Backup.manifestOf(manifest.Number, manifest.Bytes), manifest.State));
        }

        return new BackupTarget(ListModule.OfSeq(files), marker, current);
    }

    /// <summary>Says, before the manifest is there, that it is a backup's.</summary>
    private void WriteMarker(BackupTarget found, BackupManifest next)
    {
        BackupManifest[] manifests = found.Current.IsSome ? [found.Current.Value.Item1, next] : [next];
        _target.Prepare(Backup.encodeMarker(new BackupMarker(_source.Path, ListModule.OfSeq(manifests))));
        _target.Replace(StoreFile.Backup);
    }

    /// <summary>That a table of the backup is the store's: of the same size, with the same end, which has its checksums and counts.</summary>
    private void CompareKept(TableMeta table)
    {
        var file = StoreFile.NewTable(table.Number);
        var end = ReadEnd(_target, file, table.SizeBytes);
        try
        {
            if (!end.AsSpan().SequenceEqual(ReadEnd(_source, file, table.SizeBytes)))
            {
                throw new StoreException(
                    $"{FileName.ofFile(file)} in {_target.Path} is not what it is in {_source.Path}; lsmfs check says which of the two is damaged");
            }
        }
        catch (FileNotFoundException)
        {
            // Compacted away meanwhile.
        }
    }

    private static byte[] ReadEnd(DataFolder folder, StoreFile file, long sizeBytes)
    {
        using var opened = folder.OpenRead(file);
        var end = new byte[Math.Min(CompareLengthBytes, sizeBytes)];
        if (opened.LengthBytes != sizeBytes)
        {
            throw StoreException.Damaged(
                folder.Path,
                new Corruption(FileName.ofFile(file), sizeBytes, $"the manifest says {sizeBytes} bytes, and the file has {opened.LengthBytes}"));
        }

        opened.ReadExactly(end, sizeBytes - end.Length);
        return end;
    }

    private void TakeTables(SourceHold hold)
    {
        using var progress = new Progress("copied", hold.Plan.New.Sum(table => table.SizeBytes));
        foreach (var table in hold.Plan.New)
        {
            var file = StoreFile.NewTable(table.Number);

            // What a backup left that did not come to its end.
            _target.Delete(file);
            if (_target.TryLink(_source, file))
            {
                _linkedCount++;
                progress.Advance(table.SizeBytes, table.Properties.EntryCount);
            }
            else
            {
                _copiedCount++;
                Copy(hold.Table(table), file, progress);
                progress.Advance(0, table.Properties.EntryCount);
            }
        }

        _target.Sync();
    }

    private void Copy(StorageFile source, StoreFile file, Progress progress)
    {
        using var copy = _target.Create(file);
        var buffer = new byte[CopyLengthBytes];
        var offset = 0L;
        while (source.Read(buffer, offset) is > 0 and var count)
        {
            copy.Write(buffer.AsSpan(0, count), offset);
            offset += count;
            progress.Advance(count, 0);
        }

        copy.Sync();
    }

    private void Verify(IEnumerable<TableMeta> tables)
    {
        var read = tables.ToArray();
        using var progress = new Progress("verified", read.Sum(table => table.SizeBytes));
        var checker = new TableChecker(_target, progress, corruption => throw StoreException.Damaged(_target.Path, corruption));
        foreach (var table in read)
        {
            _ = checker.Check(table.Number, table);
        }
    }

    /// <summary>What there is of the logs by now, oldest first; measured newest first, so that a log is complete before a newer one's records count.</summary>
    private List<LogPart> MeasureLogs(SourceHold hold)
    {
        var parts = new List<LogPart>();
        foreach (var number in hold.Logs.Reverse())
        {
            var (lengthBytes, entryCount) = Require(_source, Backup.wholeRecords(number, hold.ReadLog(number)));
            if (lengthBytes > 0)
            {
                parts.Add(new LogPart(number, lengthBytes, entryCount));
            }
        }

        parts.Reverse();
        return parts;
    }

    private static T Require<T>(DataFolder folder, FSharpResult<T, Corruption> result) =>
        result.IsError ? throw StoreException.Damaged(folder.Path, result.ErrorValue) : result.ResultValue;

    private sealed record LogPart(FileNumber Number, int LengthBytes, long EntryCount);
}
