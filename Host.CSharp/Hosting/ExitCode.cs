namespace LsmFs.Host;

/// <summary>What the process tells whoever started it; docs/OPERATIONS.md lists these. A refused command line has its own, in the CLI.</summary>
internal static class ExitCode
{
    /// <summary>Stopped as asked, everything acknowledged is safe.</summary>
    public const int Success = 0;

    /// <summary>Could not start or go on, for a reason that the operator can do something about.</summary>
    public const int Failure = 1;

    /// <summary>A fault of the program itself: EX_SOFTWARE of sysexits.h.</summary>
    public const int Fault = 70;
}
