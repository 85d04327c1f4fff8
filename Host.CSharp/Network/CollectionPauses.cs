namespace LsmFs.Host;

/// <summary>
/// How long garbage collections have stopped the threads of this process. An object without owner is finalized after each collection, notes what the
/// collection took, and leaves a new one behind: nothing is done between collections, and a few hundred bytes are allocated at each.
/// </summary>
internal static class CollectionPauses
{
    private static readonly Lock Lock = new();
    private static long _lastIndex;
    private static TimeSpan _lastTotal;
    private static TimeSpan _longest;

    private static int _isStarted;

    /// <summary>Begins to take notes; once, however many servers a process has.</summary>
    public static void Start()
    {
        if (Interlocked.Exchange(ref _isStarted, 1) == 0)
        {
            Sentinel.Leave();
        }
    }

    /// <summary>
    /// The longest pause since the last reset. Of collections that follow each other before the finalizer has come by, and of those in the background,
    /// which have two pauses, it knows the sum: so it is never less than the longest pause, and may be more.
    /// </summary>
    public static TimeSpan Longest
    {
        get
        {
            lock (Lock)
            {
                Note();
                return _longest;
            }
        }
    }

    /// <summary>All pauses since the process began.</summary>
    public static TimeSpan Total => GC.GetTotalPauseDuration();

    /// <summary>The number of the last collection that was noted.</summary>
    internal static long NotedIndex => Interlocked.Read(ref _lastIndex);

    /// <summary>Forgets the longest pause.</summary>
    public static void Reset()
    {
        lock (Lock)
        {
            Note();
            _longest = TimeSpan.Zero;
        }
    }

    /// <summary>The pause of collections that were not noted: the longest of the one there was, or the sum when there were more.</summary>
    internal static TimeSpan PauseOf(long collectionCount, TimeSpan sum, ReadOnlySpan<TimeSpan> pausesOfLast)
    {
        if (collectionCount != 1)
        {
            return sum;
        }

        TimeSpan longest = TimeSpan.Zero;
        foreach (TimeSpan pause in pausesOfLast)
        {
            longest = pause > longest ? pause : longest;
        }

        return longest;
    }

    private static void Note()
    {
        GCMemoryInfo last = GC.GetGCMemoryInfo(GCKind.Any);
        TimeSpan total = GC.GetTotalPauseDuration();
        TimeSpan pause = PauseOf(last.Index - _lastIndex, total - _lastTotal, last.PauseDurations);
        _longest = pause > _longest ? pause : _longest;
        (_lastIndex, _lastTotal) = (last.Index, total);
    }

    private sealed class Sentinel
    {
        public static void Leave() => _ = new Sentinel();

        ~Sentinel()
        {
            if (Environment.HasShutdownStarted)
            {
                return;
            }

            lock (Lock)
            {
                Note();
            }

            Leave();
        }
    }
}
