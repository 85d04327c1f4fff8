using System.ComponentModel;
using System.Runtime.InteropServices;
using LsmFs.Cli;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>What the process may do, and as whom: <c>-r</c>, <c>-k</c> and <c>-u</c>.</summary>
internal static unsafe partial class ProcessRights
{
    private static bool IsRoot => OperatingSystem.IsLinux() && Unix.geteuid() == 0;

    /// <summary>Says so when root serves without having been told to.</summary>
    public static void Tell(ProcessOptions options, ILogger logger)
    {
        if (IsRoot && options.User.IsNone)
        {
            LogRoot(logger);
        }
    }

    /// <summary>
    /// Takes what only root may take, and becomes the user whom <c>-u</c> names, for good. Before the store is opened, so that its files are that user's.
    /// </summary>
    /// <exception cref="ProcessException">It cannot be.</exception>
    public static void Apply(ProcessOptions options, ILogger logger)
    {
        bool isRoot = IsRoot;

        if (options.RaisesCoreLimit)
        {
            RaiseCoreLimit();
        }

        if (options.LocksMemory)
        {
            LockMemory(changesUser: isRoot && options.User.IsSome, logger);
        }

        // As in memcached, -u means nothing to whoever is not root.
        if (isRoot && options.User.IsSome)
        {
            Become(options.User.Value);
        }

        if (options.RaisesCoreLimit && OperatingSystem.IsLinux())
        {
            // Who has changed the user leaves no core behind otherwise.
            _ = Unix.prctl(Unix.SetDumpable, 1, 0, 0, 0);
        }
    }

    private static void RaiseCoreLimit()
    {
        if (!TryRaise(Unix.CoreLimit, out _))
        {
            throw new ProcessException("cannot raise the limit on core files (-r): this system does not let this user");
        }
    }

    // All that is reserved counts against the limit, and the runtime reserves far more than it takes: without privileges this succeeds where there is no
    // limit, or not at all. Pages are locked as they come, lest all that is reserved be taken.
    private static void LockMemory(bool changesUser, ILogger logger)
    {
        if (!OperatingSystem.IsLinux())
        {
            LogNotLocked(logger, "this system has no call for it that is used here");
            return;
        }

        // Root may lock what it likes. To the user that it becomes the limit applies, and a runtime that gets no more memory for it ends at once.
        bool isUnlimited = TryRaise(Unix.LockedMemoryLimit, out ulong limit) && limit == Unix.Unlimited;

        if (changesUser && !isUnlimited)
        {
            LogNotLocked(logger, "the limit on locked memory would apply to the user of -u");
        }
        else if (Unix.mlockall(Unix.LockCurrent | Unix.LockFuture | Unix.LockOnFault) != 0)
        {
            LogNotLocked(logger, new Win32Exception(Marshal.GetLastPInvokeError()).Message);
        }
    }

    private static void Become(string name)
    {
        byte* entry = Unix.getpwnam(name);

        if (entry is null)
        {
            throw new ProcessException($"there is no user '{name}' to serve as; name one with -u");
        }

        uint user = *(uint*)(entry + Unix.UserOffset);
        uint group = *(uint*)(entry + Unix.UserOffset + sizeof(uint));

        if (Unix.setgid(group) != 0 || Unix.initgroups(name, group) != 0 || Unix.setuid(user) != 0)
        {
            string reason = new Win32Exception(Marshal.GetLastPInvokeError()).Message;
            throw new ProcessException($"cannot become the user '{name}': {reason}");
        }

        // Code is loaded when it is first used. Without this the process would end in the middle of something, and not say why.
        // (A program in a single file has no assemblies to look for.)
        string[] code = [typeof(ProcessRights).Assembly.Location, typeof(object).Assembly.Location];

        foreach (string file in code.Where(file => file != ""))
        {
            try
            {
                File.OpenHandle(file).Dispose();
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                throw new ProcessException($"the user '{name}' cannot read the program itself, {file}; install it where all may read it");
            }
        }
    }

    /// <summary>Raises a limit of the process as far as it goes, and says how far that is; false when it stays.</summary>
    private static bool TryRaise(int resource, out ulong limit)
    {
        limit = 0;

        if (!OperatingSystem.IsLinux())
        {
            return false;
        }

        ulong* limits = stackalloc ulong[2];
        limits[0] = limits[1] = limit = Unix.Unlimited;

        if (Unix.setrlimit(resource, limits) == 0)
        {
            return true;
        }

        if (Unix.getrlimit(resource, limits) != 0)
        {
            return false;
        }

        limits[0] = limit = limits[1];
        return Unix.setrlimit(resource, limits) == 0;
    }

    [LoggerMessage(LogLevel.Information, "serves as root, to whom the data belong then; -u names another user")]
    private static partial void LogRoot(ILogger logger);

    [LoggerMessage(LogLevel.Warning, "-k: memory is not locked: {Reason}; it takes root, or a user without a limit on locked memory (ulimit -l)")]
    private static partial void LogNotLocked(ILogger logger, string reason);
}
