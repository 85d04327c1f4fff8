using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// Records version edits. An edit is durable when <see cref="Append"/> returns; a manifest that has grown past <c>editBytesMax</c> is
/// replaced by a new one that starts with the state as it is. Not thread-safe.
/// </summary>
internal sealed class ManifestWriter : IDisposable
{
    private readonly DataFolder _folder;
    private readonly Func<FileNumber> _nextFileNumber;
    private readonly ILogger _logger;
    // Manifests that nothing needs once CURRENT is known to name the one in force.
    private readonly List<FileNumber> _obsolete = [];
    private readonly ByteBuffer _frame = new(4096);
    private LogWriter? _log;
    private ManifestState _state;
    private readonly long _editBytesMax;
    private long _rewriteAtBytes;

    internal ManifestWriter(DataFolder folder, ManifestState state, long editBytesMax, Func<FileNumber> nextFileNumber, ILogger logger)
    {
        _folder = folder;
        _state = state;
        _editBytesMax = editBytesMax;
        _nextFileNumber = nextFileNumber;
        _logger = logger;
    }

    /// <summary>
    /// Whether the last <see cref="Append"/> failed such that the edit may be on disk all the same. Otherwise a failed edit has not happened.
    /// </summary>
    internal bool IsUndecided { get; private set; }

    /// <summary>Starts a new manifest with the whole state and makes <c>CURRENT</c> name it, then deletes the ones before.</summary>
    internal void Rewrite()
    {
        var number = _nextFileNumber();
        _state = ManifestReplay.apply(WithNextFile(VersionEditModule.empty), _state);
        var next = LogWriter.Create(_folder, LogKind.Manifest, number, durable: true);
        var mayBeNamed = false;
        try
        {
            AppendTo(next, ManifestReplay.snapshot(_state));
            next.Sync();
            _folder.Prepare(ManifestReplay.encodeCurrent(number));
            mayBeNamed = true;
            _folder.Replace(StoreFile.Current);
        }
        catch
        {
            next.Dispose();
            _obsolete.Add(number);
            if (!mayBeNamed)
            {
                // At once: what failed for want of space must not take more of it with every attempt.
                DeleteObsolete();
            }

            throw;
        }

        if (_log is not null)
        {
            _log.Dispose();
            _obsolete.Add(_log.Number);
        }

        _log = next;
        _rewriteAtBytes = next.LengthBytes + _editBytesMax;
        DeleteObsolete();
    }

    /// <summary>
    /// Makes an edit durable. Throws <see cref="IOException"/>; the manifest is rewritten without the edit before the next one then, because its end is not
    /// known any more.
    /// </summary>
    internal void Append(VersionEdit edit)
    {
        IsUndecided = false;
        if (_log is null || _log.LengthBytes >= _rewriteAtBytes)
        {
            Rewrite();
        }

        var complete = WithNextFile(edit);
        var rewriteAtBytes = _rewriteAtBytes;
        _rewriteAtBytes = 0;
        try
        {
            AppendTo(_log!, complete);
        }
        catch (IOException cause) when (!DiskError.IsFull(cause))
        {
            // Part of it or all of it may be there, and that it was cut off again may be lost.
            IsUndecided = true;
            throw;
        }

        IsUndecided = true;
        _log!.Sync();
        IsUndecided = false;
        _rewriteAtBytes = rewriteAtBytes;
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
        log.Append(_frame.Written, SpaceUse.Manifest);
    }

    private void DeleteObsolete()
    {
        foreach (var number in _obsolete)
        {
            var file = StoreFile.NewManifest(number);
            try
            {
                _folder.Delete(file);
            }
            catch (IOException cause)
            {
                _logger.DeleteFailed(FileName.ofFile(file), cause.Message);
            }
        }

        _obsolete.Clear();
    }
}
