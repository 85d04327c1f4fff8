using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace LsmFs.Host;

/// <summary>
/// What the operating system offers and the base library does not: syncs of a folder, file syncs that overlook no error, and reads that do not wait for
/// the disk.
/// </summary>
internal static unsafe partial class Posix
{
    private const int InterruptedError = 4;
    private const int PriorityOfProcess = 0; // PRIO_PROCESS; with 0 for the calling thread
    private const int BackgroundNiceness = 5; // about a third of the processor time that a foreground thread gets when both want it
    private const uint SyncFileRangeWrite = 2; // SYNC_FILE_RANGE_WRITE
    private const int NotSupportedError = 95;
    private const int ReadOnlyDirectory = 0x10000; // O_RDONLY | O_DIRECTORY

    private const int NoWait = 8; // RWF_NOWAIT

    private static volatile bool s_canReadNow = OperatingSystem.IsLinux() && Environment.Is64BitProcess;

    private struct Piece
    {
        public byte* Start;
        public nint LengthBytes;
    }

    [LibraryImport("libc", EntryPoint = "preadv2")]
    private static partial nint ReadPieces(SafeFileHandle file, Piece* pieces, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FileDataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FileSync(int descriptor);

    [LibraryImport("libc", EntryPoint = "link", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int LinkFile(string path, string newPath);

    [LibraryImport("libc", EntryPoint = "posix_fallocate")]
    private static partial int AllocateFile(SafeFileHandle file, long offset, long length);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int CloseFile(int descriptor);

    /// <summary>
    /// Fills a buffer with what the page cache has of a file. False when it has not all of it, or the operating system, the C library or the file
    /// system cannot tell.
    /// </summary>
    internal static bool TryReadNow(SafeFileHandle file, Span<byte> buffer, long offsetBytes)
    {
        if (!s_canReadNow)
        {
            return false;
        }

        try
        {
            fixed (byte* start = buffer)
            {
                var piece = new Piece { Start = start, LengthBytes = buffer.Length };
                return ReadPieces(file, &piece, 1, offsetBytes, NoWait) == buffer.Length;
            }
        }
        catch (EntryPointNotFoundException)
        {
            s_canReadNow = false;
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "sync_file_range")]
    private static partial int SyncFileRange(SafeFileHandle file, long offset, long length, uint flags);

    [LibraryImport("libc", EntryPoint = "setpriority")]
    private static partial int SetPriority(int which, uint who, int niceness);

    /// <summary>
    /// Makes the calling thread yield to others of the process: on Linux a niceness is a thread's. Elsewhere nothing happens, and where the system
    /// refuses it neither.
    /// </summary>
    internal static void LowerThreadPriority()
    {
        if (OperatingSystem.IsLinux())
        {
            _ = SetPriority(PriorityOfProcess, 0, BackgroundNiceness);
        }
    }

    [LibraryImport("libc", EntryPoint = "usleep")]
    private static partial int SleepMicroseconds(uint microseconds);

    /// <summary>
    /// Gives the calling thread's processor to others for a moment, of microseconds, which the base library's sleeps cannot do. Only on Linux: elsewhere nothing happens.
    /// </summary>
    internal static void Rest(long nanoseconds)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = SleepMicroseconds((uint)(nanoseconds / 1000));
        }
    }

    /// <summary>Begins to write a part of a file to the disk, and does not wait. A file system that cannot do it does it at the sync.</summary>
    internal static void StartWriteBack(SafeFileHandle file, long offsetBytes, long lengthBytes)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = SyncFileRange(file, offsetBytes, lengthBytes, SyncFileRangeWrite);
        }
    }

    /// <summary>Makes the content of a file durable. Throws <see cref="IOException"/>; after that the file's state is unknown.</summary>
    internal static void Sync(SafeFileHandle file)
    {
        if (!OperatingSystem.IsLinux())
        {
            RandomAccess.FlushToDisk(file);
            return;
        }

        while (FileDataSync(file) != 0)
        {
            ThrowUnlessInterrupted("sync a file");
        }
    }

    /// <summary>Takes space on the disk for the first bytes of a file. False where the system cannot. Throws <see cref="IOException"/>.</summary>
    internal static bool TryAllocate(SafeFileHandle file, long lengthBytes)
    {
        if (!OperatingSystem.IsLinux())
        {
            return false;
        }

        int error;
        do
        {
            // It returns its error, and leaves errno alone.
            error = AllocateFile(file, 0, lengthBytes);
        }
        while (error == InterruptedError);

        return error switch
        {
            0 => true,
            NotSupportedError => false,
            _ => throw new IOException($"cannot take space for a file: {new Win32Exception(error).Message}", error),
        };
    }

    /// <summary>Makes created, renamed and deleted names of a folder durable. Windows does so by itself.</summary>
    internal static void SyncFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        int descriptor;
        while ((descriptor = OpenFile(path, OperatingSystem.IsLinux() ? ReadOnlyDirectory : 0)) < 0)
        {
            ThrowUnlessInterrupted($"open the folder {path}");
        }

        try
        {
            while (FileSync(descriptor) != 0)
            {
                ThrowUnlessInterrupted($"sync the folder {path}");
            }
        }
        finally
        {
            _ = CloseFile(descriptor);
        }
    }

    /// <summary>Makes a hard link. False where that cannot be, whatever the reason: a copy tells better what is wrong.</summary>
    internal static bool TryLink(string path, string newPath) => !OperatingSystem.IsWindows() && LinkFile(path, newPath) == 0;

    private static void ThrowUnlessInterrupted(string action)
    {
        var error = Marshal.GetLastPInvokeError();
        if (error != InterruptedError)
        {
            throw new IOException($"cannot {action}: {new Win32Exception(error).Message}", error);
        }
    }
}
