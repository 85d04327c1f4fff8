using LsmFs.Engine;
using Microsoft.FSharp.Core;
using Microsoft.Win32.SafeHandles;

namespace LsmFs.Host;

/// <summary>
/// The folder a store lives in. It is locked while this object lives; the lock is the process's and ends with it, however it ends.
/// </summary>
internal sealed class DataFolder : IDisposable
{
    private readonly SafeFileHandle _lock;

    private DataFolder(string path, SafeFileHandle lockFile)
    {
        Path = path;
        _lock = lockFile;
    }

    /// <summary>The folder's full path.</summary>
    internal string Path { get; }

    /// <summary>Creates the folder when it is not there, and locks it. Throws <see cref="StoreException"/>.</summary>
    internal static DataFolder Open(string path)
    {
        var full = System.IO.Path.GetFullPath(path);
        try
        {
            Directory.CreateDirectory(full);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new StoreException($"cannot create the data folder {full}: {cause.Message}; choose another one with --data", cause);
        }

        var lockPath = System.IO.Path.Combine(full, FileName.ofFile(StoreFile.Lock));
        try
        {
            return new DataFolder(full, File.OpenHandle(lockPath, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (UnauthorizedAccessException cause)
        {
            throw new StoreException($"the data folder {full} is not writable by this user; change its owner or choose another one with --data", cause);
        }
        catch (IOException cause) when (IsSharingViolation(cause))
        {
            throw new StoreException($"the data folder {full} is in use by another process; stop it or choose another folder with --data", cause);
        }
        catch (IOException cause)
        {
            throw new StoreException($"cannot lock the data folder {full}: {cause.Message}; choose another one with --data", cause);
        }
    }

    /// <summary>The files of the store; others that may lie in the folder are left out.</summary>
    internal IReadOnlyList<StoreFile> Files() =>
        [.. Directory.EnumerateFiles(Path).Select(file => FileName.tryParse(System.IO.Path.GetFileName(file))).OfType<FSharpOption<StoreFile>>().Select(file => file.Value)];

    /// <summary>Whether the file is there.</summary>
    internal bool Exists(StoreFile file) => File.Exists(PathOf(file));

    /// <summary>Creates a file that must not be there yet.</summary>
    internal SafeFileHandle Create(StoreFile file) =>
        File.OpenHandle(PathOf(file), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read);

    /// <summary>Opens a file for reading.</summary>
    internal SafeFileHandle OpenRead(StoreFile file) =>
        File.OpenHandle(PathOf(file), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, FileOptions.RandomAccess);

    /// <summary>Reads a whole file.</summary>
    internal byte[] ReadAll(StoreFile file) => File.ReadAllBytes(PathOf(file));

    /// <summary>Deletes a file; one that is not there is no error.</summary>
    internal void Delete(StoreFile file) => File.Delete(PathOf(file));

    /// <summary>Cuts a file to a length and makes that durable.</summary>
    internal void Truncate(StoreFile file, long lengthBytes)
    {
        using var handle = File.OpenHandle(PathOf(file), FileMode.Open, FileAccess.ReadWrite);
        RandomAccess.SetLength(handle, lengthBytes);
        Posix.Sync(handle);
    }

    /// <summary>Replaces a small file in one step: a crash leaves the old content or the new. Durable on return.</summary>
    internal void Replace(StoreFile file, ReadOnlySpan<byte> content)
    {
        var temporary = PathOf(StoreFile.Temporary);
        using (var handle = File.OpenHandle(temporary, FileMode.Create, FileAccess.Write))
        {
            RandomAccess.Write(handle, content, 0);
            Posix.Sync(handle);
        }

        File.Move(temporary, PathOf(file), overwrite: true);
        Sync();
    }

    /// <summary>Makes the names in the folder durable.</summary>
    internal void Sync() => Posix.SyncFolder(Path);

    /// <summary>Releases the lock.</summary>
    public void Dispose() => _lock.Dispose();

    private string PathOf(StoreFile file) => System.IO.Path.Combine(Path, FileName.ofFile(file));

    // On Unix the base library reports a lock held by somebody else as EWOULDBLOCK (11, 35 on macOS); on Windows as ERROR_SHARING_VIOLATION.
    private static bool IsSharingViolation(IOException cause) =>
        OperatingSystem.IsWindows() ? (cause.HResult & 0xFFFF) == 32 : cause.HResult is 11 or 35;
}
