using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// Invariants
//   1. While the disk does not count as full, the file is as long as the engine's DiskSpace says, and all of it has space on the disk.
//   2. Every use of it makes the disk count as full, until it is whole again, there is some space beside it, and no flush or compaction lacks any.
//   3. Its content, and whether it is durable, does not matter: opening makes it whole, whatever a crash left.

/// <summary>
/// The file <c>RESERVE</c>: disk space that is given up piece by piece on a full disk, as the engine's <see cref="DiskSpace"/> allows, and taken back as soon
/// as there is space again, which is tried every retry delay. Thread-safe.
/// </summary>
internal sealed class Reserve : IDisposable
{
    private readonly Lock _lock = new();
    private readonly DataFolder _folder;
    private readonly Options _options;
    private readonly TimeSpan _retryDelay;
    private readonly ILogger _log;
    private readonly Func<bool> _lacksSpace;
    private readonly Action _onSpace;
    private readonly long _wholeBytes;
    private readonly ITimer _timer;
    private StorageFile? _file;
    private ReserveShares _shares;
    private bool _isOpening = true;
    private bool _isDisposed;
    private volatile bool _isDiskFull;

    /// <summary>
    /// Takes the reserve that an earlier run left, whole or not. While <paramref name="lacksSpace"/> says so, something larger than the reserve has no space;
    /// <paramref name="onSpace"/> is called, on any thread, when the disk is no longer full.
    /// </summary>
    internal Reserve(DataFolder folder, Options options, TimeProvider clock, TimeSpan retryDelay, ILogger log, Func<bool> lacksSpace, Action onSpace)
    {
        _folder = folder;
        _options = options;
        _retryDelay = retryDelay;
        _log = log;
        _lacksSpace = lacksSpace;
        _onSpace = onSpace;
        _wholeBytes = DiskSpace.whole(options).TotalBytes;
        _shares = DiskSpace.ofLength(options, 0);
        _timer = clock.CreateTimer(_ => Refill(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        if (folder.Exists(StoreFile.Reserve))
        {
            _file = folder.OpenWrite(StoreFile.Reserve);
            try
            {
                _shares = DiskSpace.ofLength(options, _file.LengthBytes);
            }
            catch
            {
                Dispose();
                throw;
            }
        }
    }

    /// <summary>Whether the calling thread is in here.</summary>
    internal bool IsEntered => _lock.IsHeldByCurrentThread;

    /// <summary>Whether there is no space but the reserve.</summary>
    internal bool IsDiskFull => _isDiskFull;

    /// <summary>What is left of it.</summary>
    internal ReserveShares Shares => Volatile.Read(ref _shares);

    /// <summary>The store is open: what opening took, or an earlier run, is taken back if there is space.</summary>
    internal void Opened()
    {
        lock (_lock)
        {
            _isOpening = false;
        }

        try
        {
            TryRefill();
        }
        catch (IOException cause)
        {
            ReportFull(cause);
        }
    }

    /// <summary>A write found the disk full.</summary>
    internal void ReportFull(IOException cause)
    {
        lock (_lock)
        {
            if (_isDisposed)
            {
                return;
            }

            if (!_isDiskFull)
            {
                _isDiskFull = true;
                _log.DiskFull(cause.Message, _shares.TotalBytes);
            }

            _ = _timer.Change(_retryDelay, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>Gives up a piece for a use, after an error. False when the error is no lack of space, or the use may have no more.</summary>
    internal bool TryRelease(SpaceUse use, long neededBytes, IOException cause)
    {
        if (!DiskError.IsFull(cause))
        {
            return false;
        }

        ReportFull(cause);
        lock (_lock)
        {
            var left = DiskSpace.release(_options, _isOpening ? SpaceUse.Opening : use, neededBytes, _shares);
            if (_file is null || left.IsValueNone)
            {
                return false;
            }

            try
            {
                _file.SetLength(left.Value.TotalBytes);
            }
            catch (IOException)
            {
                // The error to tell is the one that led here.
                return false;
            }

            Volatile.Write(ref _shares, left.Value);
            return true;
        }
    }

    /// <summary>Takes back what there is space for; tried again later when that is not all.</summary>
    internal void Refill()
    {
        if (!_isDiskFull)
        {
            return;
        }

        try
        {
            TryRefill();
        }
        catch (IOException cause)
        {
            ReportFull(cause);
        }
    }

    /// <summary>Stops trying to take space back, and closes the file.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
            _timer.Dispose();
            _file?.Dispose();
        }
    }

    private void TryRefill()
    {
        lock (_lock)
        {
            // What opening needs is not taken away from it.
            if (_isDisposed || _isOpening)
            {
                return;
            }

            // An earlier attempt may have made it, though it was told otherwise.
            _file ??= _folder.Exists(StoreFile.Reserve) ? _folder.OpenWrite(StoreFile.Reserve) : _folder.Create(StoreFile.Reserve);
            try
            {
                _file.Allocate(_wholeBytes + DiskSpace.slackBytes(_options));
                _file.SetLength(_wholeBytes);
                Volatile.Write(ref _shares, DiskSpace.whole(_options));
            }
            catch (IOException cause) when (DiskError.IsFull(cause))
            {
                TakePieces();
                throw;
            }

            if (!_isDiskFull)
            {
                return;
            }

            if (_lacksSpace())
            {
                _ = _timer.Change(_retryDelay, Timeout.InfiniteTimeSpan);
                return;
            }

            _isDiskFull = false;
        }

        _log.SpaceIsBack(_wholeBytes);
        _onSpace();
    }

    // A failed allocation may have left some of it.
    private void TakePieces()
    {
        var lengthBytes = Math.Min(_shares.TotalBytes, _wholeBytes);
        _file!.SetLength(lengthBytes);
        try
        {
            while (lengthBytes < _wholeBytes)
            {
                var next = Math.Min(_wholeBytes, lengthBytes + DiskSpace.stepBytes(_options));
                _file.Allocate(next);
                lengthBytes = next;
            }
        }
        catch (IOException)
        {
            _file.SetLength(lengthBytes);
        }

        if (lengthBytes != _shares.TotalBytes)
        {
            Volatile.Write(ref _shares, DiskSpace.ofLength(_options, lengthBytes));
        }
    }
}
