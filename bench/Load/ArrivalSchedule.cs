using System.Diagnostics;

namespace LsmFs.Load;

/// <summary>
/// When the operations of an open loop are due: evenly spaced, whatever the server does. Latency counts from here, so a server that
/// stalls pays for everything that should have been sent meanwhile (no coordinated omission). Times in nanoseconds.
/// </summary>
public sealed class ArrivalSchedule(long startedAt, double intervalNanoseconds, long count)
{
    /// <summary>The clock all times are read from; on Linux the monotonic one, in nanoseconds.</summary>
    public static long Now => Stopwatch.GetTimestamp();

    public long Count { get; } = count;

    public long At(long ordinal) => startedAt + (long)(ordinal * intervalNanoseconds);

    /// <summary>How many operations are due at the given time.</summary>
    public long DueCount(long now)
    {
        if (now < startedAt)
        {
            return 0;
        }
        // The division may land on either side of a due time; At decides, so that both agree.
        var due = Math.Clamp((long)((now - startedAt) / intervalNanoseconds), 0, Count);
        while (due < Count && At(due) <= now)
        {
            due++;
        }
        return due;
    }
}
