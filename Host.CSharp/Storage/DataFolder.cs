using LsmFs.Engine;
using Microsoft.FSharp.Core;
using Microsoft.Win32.SafeHandles;

namespace LsmFs.Host;

/// <summary>
/// The folder a store lives in. It is locked while this object lives; the lock is the process's and ends with it, however it ends.
/// </summary>
internal sealed class DataFolder : IDisposable
{
    private readonly FileSystem _files;
    private readonly IDisposable _lock;

    private DataFolder(FileSystem files, string path, IDisposable lockFile)
    {
        _files = files;
        Path = path;
        _lock = lockFile;
    }

    /// <summary>The folder's full path.</summary>
    internal string Path { get; }

    /// <summary>
    /// Creates the folder when it is not there, and locks it. Throws <see cref="StoreException"/>, which names the flag that chooses another one.
    /// </summary>
    internal static DataFolder Open(FileSystem files, string path, string flag = "--data")
    {
        var full = System.IO.Path.GetFullPath(path);
        try
        {
            files.CreateFolder(full);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new StoreException($"cannot create the data folder {full}: {cause.Message}; choose another one with {flag}", cause);
        }

        return Lock(files, full, forReading: false, flag);
    }

    /// <summary>
    /// Locks a folder that is there, to read it and change nothing, not even by creating its lock: a folder without one has no server, and is
    /// not locked. Throws <see cref="StoreException"/>.
    /// </summary>
    internal static DataFolder OpenReadOnly(FileSystem files, string path)
    {
        var full = System.IO.Path.GetFullPath(path);
        return files.Exists(System.IO.Path.Combine(full, FileName.ofFile(StoreFile.Lock)))
            ? Lock(files, full, forReading: true, "--data")
            : new DataFolder(files, full, new SafeFileHandle());
    }

    /// <summary>A folder to look into beside the process that may have it open: it is not locked, and its files come and go.</summary>
    internal static DataFolder LookInto(FileSystem files, string path) => new(files, System.IO.Path.GetFullPath(path), new SafeFileHandle());

    private static DataFolder Lock(FileSystem files, string full, bool forReading, string flag)
    {
        var lockPath = System.IO.Path.Combine(full, FileName.ofFile(StoreFile.Lock));
        try
        {
            return new DataFolder(files, full, files.Lock(lockPath, forReading));
        }
        catch (UnauthorizedAccessException cause)
        {
            var missing = forReading ? "readable" : "writable";
            throw new StoreException($"the data folder {full} is not {missing} by this user; change its owner or choose another one with {flag}", cause);
        }
        catch (IOException cause) when (IsSharingViolation(cause))
        {
            throw new StoreException($"the data folder {full} is in use by another process; stop it or choose another folder with {flag}", cause);
        }
        catch (IOException cause)
        {
            throw new StoreException($"cannot lock the data folder {full}: {cause.Message}; choose another one with {flag}", cause);
        }
    }

    /// <summary>The files of the store; others that may lie in the folder are left out.</summary>
    internal IReadOnlyList<StoreFile> Files() =>
        [.. _files.FileNames(Path).Select(FileName.tryParse).OfType<FSharpOption<StoreFile>>().Select(file => file.Value)];

    /// <summary>Whether the file is there.</summary>
    internal bool Exists(StoreFile file) => _files.Exists(PathOf(file));

    /// <summary>Creates a file that must not be there yet.</summary>
    internal StorageFile Create(StoreFile file) => _files.Create(PathOf(file));

    /// <summary>Where space comes from on a full disk; null while nothing is reserved.</summary>
    internal Reserve? Reserve { get; set; }

    /// <summary>Creates a file that must not be there yet; on a full disk, it and what is written to it take space of the reserve.</summary>
    internal ReservedFile Create(StoreFile file, SpaceUse use)
    {
        while (true)
        {
            try
            {
                return new ReservedFile(Create(file), Reserve, use);
            }
            catch (IOException cause)
            {
                if (Reserve?.TryRelease(use, neededBytes: 0, cause) != true)
                {
                    throw;
                }
            }
        }
    }

    /// <summary>Opens a file that is there, for changes.</summary>
    internal StorageFile OpenWrite(StoreFile file) => _files.OpenWrite(PathOf(file));

    /// <summary>Opens a file for reading.</summary>
    internal StorageFile OpenRead(StoreFile file) => _files.OpenRead(PathOf(file));

    /// <summary>Reads a whole file.</summary>
    internal byte[] ReadAll(StoreFile file)
    {
        using var handle = OpenRead(file);
        var bytes = new byte[handle.LengthBytes];
        handle.ReadExactly(bytes, 0);
        return bytes;
    }

    /// <summary>Deletes a file; one that is not there is no error.</summary>
    internal void Delete(StoreFile file) => _files.Delete(PathOf(file));

    /// <summary>Gives a file of another folder a name in this one as well; see <see cref="FileSystem.TryLink"/>.</summary>
    internal bool TryLink(DataFolder source, StoreFile file) => _files.TryLink(source.PathOf(file), PathOf(file));

    /// <summary>
    /// Makes the first bytes of a file durable, and cuts off what follows them. The end of them, which is given, is written once more.
    /// </summary>
    internal void Settle(StoreFile file, long lengthBytes, ReadOnlySpan<byte> end)
    {
        using var handle = OpenWrite(file);
        if (handle.LengthBytes != lengthBytes)
        {
            handle.SetLength(lengthBytes);
        }

        handle.Write(end, lengthBytes - end.Length);
        handle.Sync();
    }

    /// <summary>Writes the content that a file is to have after <see cref="Replace"/>. Durable on return.</summary>
    internal void Prepare(ReadOnlySpan<byte> content)
    {
        Delete(StoreFile.Temporary);
        using var handle = Create(StoreFile.Temporary, SpaceUse.Manifest);
        handle.Write(content, 0);
        handle.Sync();
    }

    /// <summary>Gives a file the prepared content in one step: a crash leaves the old content or the new. Durable on return.</summary>
    internal void Replace(StoreFile file)
    {
        while (true)
        {
            try
            {
                _files.Move(PathOf(StoreFile.Temporary), PathOf(file));
                break;
            }
            catch (IOException cause)
            {
                if (Reserve?.TryRelease(SpaceUse.Manifest, neededBytes: 0, cause) != true)
                {
                    throw;
                }
            }
        }

        Sync();
    }

    /// <summary>Makes the names in the folder durable.</summary>
    internal void Sync() => _files.SyncFolder(Path);

    /// <summary>Releases the lock.</summary>
    public void Dispose() => _lock.Dispose();

    private string PathOf(StoreFile file) => System.IO.Path.Combine(Path, FileName.ofFile(file));

    // On Unix the base library reports a lock held by somebody else as EWOULDBLOCK (11, 35 on macOS); on Windows as ERROR_SHARING_VIOLATION.
    private static bool IsSharingViolation(IOException cause) =>
        OperatingSystem.IsWindows() ? (cause.HResult & 0xFFFF) == 32 : cause.HResult is 11 or 35;
}
