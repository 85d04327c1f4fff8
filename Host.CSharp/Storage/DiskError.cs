using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Tells the engine what an I/O error means.</summary>
internal static class DiskError
{
    private const int NoSpace = 28; // ENOSPC
    private const int QuotaExceeded = 122; // EDQUOT
    private const int ReadOnlyFileSystem = 30; // EROFS
    private const int WindowsDiskFull = 112; // ERROR_DISK_FULL
    private const int WindowsWriteProtected = 19; // ERROR_WRITE_PROTECT

    internal static DiskTrouble TroubleOf(Exception cause) =>
        cause is not IOException
            ? DiskTrouble.Failed
            : OperatingSystem.IsWindows()
                ? (cause.HResult & 0xFFFF) switch
                {
                    WindowsDiskFull => DiskTrouble.Full,
                    WindowsWriteProtected => DiskTrouble.ReadOnly,
                    _ => DiskTrouble.Failed,
                }
                : cause.HResult switch
                {
                    NoSpace or QuotaExceeded => DiskTrouble.Full,
                    ReadOnlyFileSystem => DiskTrouble.ReadOnly,
                    _ => DiskTrouble.Failed,
                };

    internal static bool IsFull(Exception cause) => TroubleOf(cause) == DiskTrouble.Full;
}
