using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>What background work has done since the store was opened, and how it held writes up. Counted by several threads.</summary>
internal sealed class BackgroundCounters
{
    private readonly long[] _pacedNanoseconds = new long[Enum.GetValues<WritePressure>().Length];
    private readonly long[] _stoppedNanoseconds = new long[Enum.GetValues<WritePressure>().Length];
    private long _flushCount;
    private long _flushedBytes;
    private long _compactionCount;
    private long _compactionReadBytes;
    private long _compactionWrittenBytes;
    private long _moveCount;
    private long _dropCount;
    private long _droppedBytes;
    private long _lastCompactionMilliseconds;
    private long _longestCompactionMilliseconds;

    internal long FlushCount => Volatile.Read(ref _flushCount);

    internal long FlushedBytes => Volatile.Read(ref _flushedBytes);

    internal long CompactionCount => Volatile.Read(ref _compactionCount);

    internal long CompactionReadBytes => Volatile.Read(ref _compactionReadBytes);

    internal long CompactionWrittenBytes => Volatile.Read(ref _compactionWrittenBytes);

    internal long MoveCount => Volatile.Read(ref _moveCount);

    internal long DropCount => Volatile.Read(ref _dropCount);

    internal long DroppedBytes => Volatile.Read(ref _droppedBytes);

    internal long LastCompactionMilliseconds => Volatile.Read(ref _lastCompactionMilliseconds);

    internal long LongestCompactionMilliseconds => Volatile.Read(ref _longestCompactionMilliseconds);

    internal TimeSpan PacedTime(WritePressure reason) => Time(_pacedNanoseconds, reason);

    internal TimeSpan StoppedTime(WritePressure reason) => Time(_stoppedNanoseconds, reason);

    internal void Flushed(long writtenBytes)
    {
        _ = Interlocked.Increment(ref _flushCount);
        _ = Interlocked.Add(ref _flushedBytes, writtenBytes);
    }

    internal void Compacted(CompactionPlan plan, long readBytes, long writtenBytes, long elapsedMilliseconds)
    {
        switch (plan.Kind)
        {
            case CompactionKind.Move:
                _ = Interlocked.Increment(ref _moveCount);
                break;
            case CompactionKind.Drop:
                _ = Interlocked.Add(ref _dropCount, plan.Inputs.Length);
                _ = Interlocked.Add(ref _droppedBytes, CompactionPlanModule.inputBytes(plan));
                break;
            default:
                _ = Interlocked.Increment(ref _compactionCount);
                _ = Interlocked.Add(ref _compactionReadBytes, readBytes);
                _ = Interlocked.Add(ref _compactionWrittenBytes, writtenBytes);
                Volatile.Write(ref _lastCompactionMilliseconds, elapsedMilliseconds);
                // Two that end together may miss one another, which the next longest one mends.
                Volatile.Write(ref _longestCompactionMilliseconds, Math.Max(LongestCompactionMilliseconds, elapsedMilliseconds));
                break;
        }
    }

    internal void Paced(WritePressure reason, double nanoseconds) => Interlocked.Add(ref _pacedNanoseconds[(int)reason], (long)nanoseconds);

    internal void Stopped(WritePressure reason, TimeSpan time) => Interlocked.Add(ref _stoppedNanoseconds[(int)reason], time.Ticks * TimeSpan.NanosecondsPerTick);

    private static TimeSpan Time(long[] nanoseconds, WritePressure reason) =>
        new(Volatile.Read(ref nanoseconds[(int)reason]) / TimeSpan.NanosecondsPerTick);
}
