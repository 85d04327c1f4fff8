using System.Runtime.InteropServices;

namespace LsmFs.Host;

/// <summary>The calls about the process itself that the base library does not have. Numbers are Linux's.</summary>
internal static unsafe partial class Unix
{
    public const int ReadWrite = 2;
    public const int Terminate = 15;

    public const int CoreLimit = 4;
    public const int LockedMemoryLimit = 8;
    public const ulong Unlimited = ulong.MaxValue;

    public const int LockCurrent = 1;
    public const int LockFuture = 2;
    public const int LockOnFault = 4;

    public const int SetDumpable = 4;

    /// <summary>Where a <c>struct passwd</c> has its two numbers: behind two pointers.</summary>
    public static readonly int UserOffset = 2 * sizeof(nint);

    [LibraryImport("libc")]
    public static partial int getppid();

    [LibraryImport("libc")]
    public static partial int kill(int process, int signal);

    [LibraryImport("libc")]
    public static partial uint geteuid();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setsid();

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    public static partial byte* getpwnam(string name);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int initgroups(string name, uint group);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setgid(uint group);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setuid(uint user);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int getrlimit(int resource, ulong* limits);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setrlimit(int resource, ulong* limits);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int mlockall(int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int prctl(int option, nuint argument2, nuint argument3, nuint argument4, nuint argument5);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int open(string path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int dup2(int descriptor, int other);

    [LibraryImport("libc")]
    public static partial int close(int descriptor);
}
