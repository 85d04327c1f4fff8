using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// Records version edits. An edit is durable when <see cref="Append"/> returns; a manifest that has grown past <c>editBytesMax</c> is
/// replaced by a new one that starts with the state as it is. Not thread-safe.
/// </summary>
internal sealed class ManifestWriter : IDisposable
{
    private readonly DataFolder _folder;
    private readonly Func<FileNumber> _nextFileNumber;
    private readonly ByteBuffer _frame = new(4096);
    private LogWriter? _log;
    private ManifestState _state;
    private readonly long _editBytesMax;
    private long _rewriteAtBytes;

    internal ManifestWriter(DataFolder folder, ManifestState state, long editBytesMax, Func<FileNumber> nextFileNumber)
    {
        _folder = folder;
        _state = state;
        _editBytesMax = editBytesMax;
        _nextFileNumber = nextFileNumber;
    }

    /// <summary>Starts a new manifest with the whole state and makes <c>CURRENT</c> name it, then deletes the one before.</summary>
    internal void Rewrite()
    {
        var number = _nextFileNumber();
        _state = ManifestReplay.apply(WithNextFile(VersionEditModule.empty), _state);
        var next = LogWriter.Create(_folder, LogKind.Manifest, number, durable: true);
        try
        {
            AppendTo(next, ManifestReplay.snapshot(_state));
            _folder.Replace(StoreFile.Current, ManifestReplay.encodeCurrent(number));
        }
        catch
        {
            // CURRENT may or may not name the new file by now, so it stays; recovery removes the one that is not named.
            next.Dispose();
            throw;
        }

        var previous = _log;
        _log = next;
        _rewriteAtBytes = next.LengthBytes + _editBytesMax;
        if (previous is not null)
        {
            previous.Dispose();
            _folder.Delete(StoreFile.NewManifest(previous.Number));
        }
    }

    /// <summary>
    /// Makes an edit durable. Throws <see cref="IOException"/>; the edit has then not happened, and the manifest is rewritten before the next one, because
    /// its end is not known any more.
    /// </summary>
    internal void Append(VersionEdit edit)
    {
        var complete = WithNextFile(edit);
        if (_log is null || _log.LengthBytes >= _rewriteAtBytes)
        {
            Rewrite();
        }

        try
        {
            AppendTo(_log!, complete);
        }
        catch (IOException)
        {
            _rewriteAtBytes = 0;
            throw;
        }

        _state = ManifestReplay.apply(complete, _state);
    }

    /// <summary>Closes the manifest.</summary>
    public void Dispose() => _log?.Dispose();

    private VersionEdit WithNextFile(VersionEdit edit) =>
        new(edit.OldestLog, Microsoft.FSharp.Core.FSharpValueOption<FileNumber>.NewValueSome(_nextFileNumber()), edit.LastSequence, edit.Flush, edit.Removed, edit.Added);

    private void AppendTo(LogWriter log, VersionEdit edit)
    {
        _frame.Clear();
        var start = LogFile.startFrame(_frame);
        VersionEditModule.encode(_frame, edit);
        LogFile.finishFrame(_frame, log.Seed, start);
        var isIntact = true;
        log.Append(_frame.Written, ref isIntact);
        log.Sync();
    }
}
