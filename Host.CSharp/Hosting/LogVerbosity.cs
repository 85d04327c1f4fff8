using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>How much the log says: <c>-v</c> at the start, <c>verbosity</c> at run time. Any thread may ask and change it.</summary>
public sealed class LogVerbosity(int level)
{
    /// <summary>The level from which on everything is said, stack traces and the base library's own lines included.</summary>
    private const int Everything = 2;

    private int _level = level;

    /// <summary>How often <c>-v</c> was given, or what was asked for since.</summary>
    public int Level
    {
        get => Volatile.Read(ref _level);
        set => Volatile.Write(ref _level, value);
    }

    /// <summary>Whether stack traces follow the lines of exceptions. They are for whoever mends the program; an operator gets one line.</summary>
    public bool WithTraces => Level >= Everything;

    /// <summary>Whether a line of this category and level is written.</summary>
    public bool Admits(string? category, LogLevel line)
    {
        if (Level >= Everything)
        {
            return true;
        }

        bool isOwn = category?.StartsWith("Microsoft", StringComparison.Ordinal) != true;
        return isOwn && line >= (Level == 0 ? LogLevel.Information : LogLevel.Debug);
    }
}
