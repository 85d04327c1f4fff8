using System.Runtime.InteropServices;

namespace LsmFs.Host;

/// <summary>The Linux calls the epoll transport is made of. The constants are the same on x86-64 and arm64.</summary>
internal static unsafe partial class Libc
{
    public const int NonBlocking = 0x800;
    public const int CloseOnExec = 0x80000;
    public const int MessageDontWait = 0x40;
    public const int MessageNoSignal = 0x4000;
    public const int ShutdownWrite = 1;
    public const int ProtocolTcp = 6;
    public const int TcpNoDelay = 1;

    public const int SocketStream = 1;

    public const int OpenFilesLimit = 7;

    // statx: the struct's layout is the kernel's, and the same everywhere.
    public const int CurrentFolder = -100;
    public const int NoFollow = 0x100;
    public const uint StatusBasic = 0x7FF;
    public const int StatusLength = 256;
    public const int StatusMode = 28;
    public const int StatusNumber = 32;
    public const int StatusDeviceMajor = 136;
    public const int StatusDeviceMinor = 140;
    public const int FileTypeMask = 0xF000;
    public const int FileTypeSocket = 0xC000;

    public const int Interrupted = 4;
    public const int TryAgain = 11;
    public const int OutOfMemory = 12;
    public const int FileTableOverflow = 23;
    public const int TooManyOpenFiles = 24;
    public const int NoBufferSpace = 105;

    [LibraryImport("libc", SetLastError = true)]
    public static partial int socket(int family, int type, int protocol);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int bind(int descriptor, byte* address, uint addressLength);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int statx(int folder, string path, int flags, uint mask, byte* status);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int accept4(int descriptor, void* address, uint* addressLength, int flags);

    [LibraryImport("libc")]
    public static partial int getsockname(int descriptor, void* address, uint* addressLength);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint recv(int descriptor, byte* buffer, nint length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint send(int descriptor, byte* buffer, nint length, int flags);

    /// <summary><c>recv</c> without the error of a failure, which is asked for by calling again.</summary>
    [LibraryImport("libc", EntryPoint = "recv")]
    public static partial nint recvWithoutError(int descriptor, byte* buffer, nint length, int flags);

    /// <summary><c>send</c> without the error of a failure, which is asked for by calling again.</summary>
    [LibraryImport("libc", EntryPoint = "send")]
    public static partial nint sendWithoutError(int descriptor, byte* buffer, nint length, int flags);

    [LibraryImport("libc")]
    public static partial int setsockopt(int descriptor, int level, int name, int* value, uint length);

    [LibraryImport("libc")]
    public static partial int shutdown(int descriptor, int how);

    [LibraryImport("libc")]
    public static partial int close(int descriptor);

    /// <summary>Reads a limit of the process: two numbers, the one in force and the most it could be raised to.</summary>
    [LibraryImport("libc")]
    public static partial int getrlimit(int resource, ulong* limits);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int eventfd(uint value, int flags);

    [LibraryImport("libc")]
    public static partial nint read(int descriptor, void* buffer, nint length);

    [LibraryImport("libc")]
    public static partial nint write(int descriptor, void* buffer, nint length);
}
