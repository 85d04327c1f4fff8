using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace LsmFs.Host;

/// <summary>
/// A file's first bytes as memory that the page cache shares: what is stored there is where a write would have put it, and outlives the process in the
/// same way. Only for files whose space is taken before it is mapped, and only where the file system keeps it for them; else a store on a full disk
/// would end the process. For one thread at a time.
/// </summary>
internal sealed unsafe partial class MappedFile : IDisposable
{
    private const int ReadAndWrite = 1 | 2; // PROT_READ | PROT_WRITE
    private const int Shared = 1; // MAP_SHARED
    private const int PopulateForWrites = 23; // MADV_POPULATE_WRITE, since Linux 5.14
    private const long WindowBytesMin = 64L * 1024 * 1024;
    private const int ZerosLength = 256 * 1024;

    // File systems that overwrite in place what was allocated. XFS would too, but for files that share their content after a copy, which then needs
    // space; on others (btrfs, ZFS, overlays, networks) nobody knows.
    private const long Ext4 = 0xEF53;
    private const long MemoryFileSystem = 0x01021994;

    private static readonly byte[] Zeros = new byte[ZerosLength];

    private readonly SafeFileHandle _file;
    private byte* _start;
    // Of address space; the file may be shorter.
    private long _windowBytes;
    private long _lengthBytes;

    private MappedFile(SafeFileHandle file) => _file = file;

    [LibraryImport("libc", EntryPoint = "fstatfs")]
    private static partial int FileSystemOf(SafeFileHandle file, byte* found);

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nint length, int protection, int flags, SafeFileHandle file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(byte* address, nint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(byte* address, nint length, int advice);

    [LibraryImport("libc", EntryPoint = "memcpy")]
    private static partial byte* Copy(byte* to, byte* from, nint length);

    /// <summary>Null where files are not mapped.</summary>
    internal static MappedFile? TryCreate(SafeFileHandle file)
    {
        if (!OperatingSystem.IsLinux() || !Environment.Is64BitProcess)
        {
            return null;
        }

        // The type is the first word, whatever follows.
        var found = stackalloc long[64];
        return FileSystemOf(file, (byte*)found) == 0 && found[0] is Ext4 or MemoryFileSystem ? new MappedFile(file) : null;
    }

    /// <summary>
    /// Maps the file up to a length that it has, and has space on the disk for. What lies from <paramref name="unusedFrom"/> on is zeros and stays so. After
    /// false it must not be used any more.
    /// </summary>
    internal bool TryExtend(long lengthBytes, long unusedFrom)
    {
        if (lengthBytes > _windowBytes)
        {
            Dispose();
            var windowBytes = Math.Max(WindowBytesMin, 2 * lengthBytes);
            var start = Map(0, (nint)windowBytes, ReadAndWrite, Shared, _file, 0);
            if (start == -1)
            {
                return false;
            }

            _start = (byte*)start;
            _windowBytes = windowBytes;
        }

        // Writes make large folios of the page cache, and one fault maps a whole folio; faults alone would make a page each, at four times the cost.
        for (var offset = unusedFrom; offset < lengthBytes; offset += ZerosLength)
        {
            RandomAccess.Write(_file, Zeros.AsSpan(0, (int)Math.Min(ZerosLength, lengthBytes - offset)), offset);
        }

        // Whatever the file system has to do for a first store it does now, and can still refuse.
        var from = _lengthBytes / Environment.SystemPageSize * Environment.SystemPageSize;
        if (Advise(_start + from, (nint)(lengthBytes - from), PopulateForWrites) != 0)
        {
            return false;
        }

        _lengthBytes = lengthBytes;
        return true;
    }

    /// <summary>Stores bytes; false when they do not lie within what is mapped.</summary>
    internal bool TryWrite(ReadOnlySpan<byte> bytes, long offsetBytes)
    {
        if (offsetBytes + bytes.Length > _lengthBytes)
        {
            return false;
        }

        fixed (byte* from = bytes)
        {
            // The C library's, since a page may make us wait, and the garbage collector must not wait for us then.
            _ = Copy(_start + offsetBytes, from, bytes.Length);
        }

        return true;
    }

    /// <summary>Gives the mapping up; the file keeps what was stored.</summary>
    public void Dispose()
    {
        if (_start is not null)
        {
            _ = Unmap(_start, (nint)_windowBytes);
            _start = null;
            _windowBytes = 0;
        }
    }
}
