using System.Numerics;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// Counters of one event loop, or of one submission until it completes. One thread adds; any thread reads, and may see a moment's
/// delay, never a torn number.
/// </summary>
internal sealed class LoopCounters
{
    // Kept apart from what other loops write: a shared cache line would cost more than the counting.
    private const int Padding = 8;

    private static readonly int CommandCount = Counter.names.Length;

    private readonly long[] _values = new long[CommandCount + 2 * Padding];

    public long TotalConnections;
    public long BytesRead;
    public long BytesWritten;
    public long GetExpired;
    public long GetFlushed;
    public long TotalItems;

    /// <summary>Connections closed because they were idle for too long.</summary>
    public long IdleKicks;

    /// <summary>How often a connection had work left and others got their turn.</summary>
    public long Yields;

    /// <summary>The counter at this position of <see cref="Counter.names"/>.</summary>
    public long this[int position] => _values[Padding + position];

    /// <summary>Adds one to each counter of the set.</summary>
    public void Count(Counters counters)
    {
        for (uint bits = (uint)counters; bits != 0; bits &= bits - 1)
        {
            _values[Padding + BitOperations.TrailingZeroCount(bits)]++;
        }
    }

    /// <summary>Counts why a key of a retrieval was missed although something was stored under it.</summary>
    public void CountMiss(LookupOutcome outcome)
    {
        if (outcome == LookupOutcome.Expired)
        {
            GetExpired++;
        }
        else if (outcome == LookupOutcome.Flushed)
        {
            GetFlushed++;
        }
    }

    /// <summary>Adds all of another's counters to these.</summary>
    public void Add(LoopCounters other) => Combine(other, 1);

    /// <summary>Takes all of another's counters from these.</summary>
    public void Subtract(LoopCounters other) => Combine(other, -1);

    /// <summary>Sets all counters to zero.</summary>
    public void Clear()
    {
        Array.Clear(_values);
        TotalConnections = BytesRead = BytesWritten = GetExpired = GetFlushed = TotalItems = IdleKicks = Yields = 0;
    }

    private void Combine(LoopCounters other, long sign)
    {
        for (int index = 0; index < _values.Length; index++)
        {
            _values[index] += sign * other._values[index];
        }

        TotalConnections += sign * other.TotalConnections;
        BytesRead += sign * other.BytesRead;
        BytesWritten += sign * other.BytesWritten;
        GetExpired += sign * other.GetExpired;
        GetFlushed += sign * other.GetFlushed;
        TotalItems += sign * other.TotalItems;
        IdleKicks += sign * other.IdleKicks;
        Yields += sign * other.Yields;
    }
}
