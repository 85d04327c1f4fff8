using Microsoft.Win32.SafeHandles;

namespace LsmFs.Host;

/// <summary>The file system of the operating system.</summary>
internal sealed class OperatingSystemFiles : FileSystem
{
    public override void CreateFolder(string path)
    {
        if (Directory.Exists(path))
        {
            return;
        }

        var parent = Path.GetDirectoryName(path);
        if (parent is not null)
        {
            CreateFolder(parent);
        }

        Directory.CreateDirectory(path);
        if (parent is not null)
        {
            Posix.SyncFolder(parent);
        }
    }

    public override IDisposable Lock(string path, bool forReading) =>
        forReading
            ? File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.None)
            : File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);

    public override IReadOnlyList<string> FileNames(string folder) => [.. Directory.EnumerateFiles(folder).Select(file => Path.GetFileName(file))];

    public override bool Exists(string path) => File.Exists(path);

    public override StorageFile Create(string path) => Open(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read, FileOptions.None);

    public override StorageFile OpenRead(string path) =>
        Open(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, FileOptions.RandomAccess);

    public override StorageFile OpenWrite(string path) => Open(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read, FileOptions.None);

    public override void Delete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (UnauthorizedAccessException cause)
        {
            throw AsIOException(cause);
        }
    }

    public override void Move(string path, string newPath)
    {
        try
        {
            File.Move(path, newPath, overwrite: true);
        }
        catch (UnauthorizedAccessException cause)
        {
            throw AsIOException(cause);
        }
    }

    public override bool TryLink(string path, string newPath) => Posix.TryLink(path, newPath);

    public override void SyncFolder(string path) => Posix.SyncFolder(path);

    private static OpenFile Open(string path, FileMode mode, FileAccess access, FileShare share, FileOptions options)
    {
        try
        {
            return new OpenFile(File.OpenHandle(path, mode, access, share, options));
        }
        catch (UnauthorizedAccessException cause)
        {
            throw AsIOException(cause);
        }
    }

    // The base library has exceptions of their own for EACCES and EPERM, and even for EFBIG. To a store they are all refusals of the disk.
    private static IOException AsIOException(Exception cause) => new(cause.Message, cause);

    private sealed class OpenFile(SafeFileHandle handle) : StorageFile
    {
        private MappedFile? _mapped;

        public override long LengthBytes => RandomAccess.GetLength(handle);

        public override int Read(Span<byte> buffer, long offsetBytes) => RandomAccess.Read(handle, buffer, offsetBytes);

        public override bool TryReadNow(Span<byte> buffer, long offsetBytes) => Posix.TryReadNow(handle, buffer, offsetBytes);

        public override void Write(ReadOnlySpan<byte> bytes, long offsetBytes)
        {
            if (_mapped is not null && _mapped.TryWrite(bytes, offsetBytes))
            {
                return;
            }

            try
            {
                RandomAccess.Write(handle, bytes, offsetBytes);
            }
            catch (Exception cause) when (cause is UnauthorizedAccessException or ArgumentOutOfRangeException)
            {
                throw AsIOException(cause);
            }
        }

        public override void SetLength(long lengthBytes)
        {
            EndMapping();
            try
            {
                RandomAccess.SetLength(handle, lengthBytes);
            }
            catch (UnauthorizedAccessException cause)
            {
                throw AsIOException(cause);
            }
        }

        public override void Allocate(long lengthBytes)
        {
            if (Posix.TryAllocate(handle, lengthBytes))
            {
                return;
            }

            Span<byte> zeros = stackalloc byte[4096];
            zeros.Clear();
            for (var offset = LengthBytes; offset < lengthBytes; offset += zeros.Length)
            {
                Write(zeros[..(int)Math.Min(zeros.Length, lengthBytes - offset)], offset);
            }
        }

        public override bool TryTakeAhead(long lengthBytes)
        {
            _mapped ??= MappedFile.TryCreate(handle);
            if (_mapped is null)
            {
                return false;
            }

            var unusedFrom = LengthBytes;
            if (Posix.TryAllocate(handle, lengthBytes) && _mapped.TryExtend(lengthBytes, unusedFrom))
            {
                return true;
            }

            EndMapping();
            return false;
        }

        // On Linux this takes what was stored into a mapping along.
        public override void Sync() => Posix.Sync(handle);

        public override void StartWriteBack(long offsetBytes, long lengthBytes) => Posix.StartWriteBack(handle, offsetBytes, lengthBytes);

        public override void Dispose()
        {
            EndMapping();
            handle.Dispose();
        }

        private void EndMapping()
        {
            _mapped?.Dispose();
            _mapped = null;
        }
    }
}
