namespace LsmFs.Host;

/// <summary>Recognises the errors that mean that space, not the disk, is the trouble.</summary>
internal static class DiskFull
{
    private const int NoSpace = 28; // ENOSPC
    private const int QuotaExceeded = 122; // EDQUOT
    private const int WindowsDiskFull = 112; // ERROR_DISK_FULL

    internal static bool IsCauseOf(IOException cause) =>
        OperatingSystem.IsWindows()
            ? (cause.HResult & 0xFFFF) == WindowsDiskFull
            : cause.HResult is NoSpace or QuotaExceeded;
}
