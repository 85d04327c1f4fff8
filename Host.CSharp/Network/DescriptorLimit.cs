namespace LsmFs.Host;

/// <summary>How many connections the process's limit on open files leaves room for.</summary>
internal static unsafe class DescriptorLimit
{
    /// <summary>Descriptors left to the store's files and to the runtime, which opens files to load code: without any it can abort.</summary>
    private const int ReserveMax = 512;

    /// <summary>The wanted number of connections, or what there are descriptors for if that is less. The runtime has raised the limit as far as it goes.</summary>
    public static int Bound(int connectionCountMax)
    {
        if (!OperatingSystem.IsLinux())
        {
            return connectionCountMax;
        }

        ulong* limits = stackalloc ulong[2];

        if (Libc.getrlimit(Libc.OpenFilesLimit, limits) != 0)
        {
            return connectionCountMax;
        }

        long limit = (long)Math.Min(limits[0], int.MaxValue);
        return (int)Math.Clamp(limit - Math.Min(ReserveMax, limit * 3 / 4), 1, connectionCountMax);
    }
}
