using System.Text;
using HdrHistogram;

namespace LsmFs.Load;

/// <summary>What one loop saw in one phase. Latencies in nanoseconds. One writer; merged after the loops have ended.</summary>
public sealed class LoopResult
{
    const long LatencyMaxNanoseconds = 3_600_000_000_000;
    const int SignificantDigits = 3;
    const int SampleCountMax = 10;

    public LongHistogram GetLatency { get; } = new(LatencyMaxNanoseconds, SignificantDigits);
    public LongHistogram SetLatency { get; } = new(LatencyMaxNanoseconds, SignificantDigits);
    public long HitCount { get; set; }
    public long MissCount { get; private set; }
    public long WrongCount { get; private set; }
    public long ErrorCount { get; private set; }
    /// <summary>Operations an open loop could not even send before it gave up; their wait so far is in the latencies.</summary>
    public long UnsentCount { get; private set; }
    public string? FirstError { get; private set; }
    public List<uint> MissingKeys { get; } = new(SampleCountMax);
    public List<uint> WrongKeys { get; } = new(SampleCountMax);

    public long OperationCount => GetLatency.TotalCount + SetLatency.TotalCount;

    public void Record(bool isGet, long latencyNanoseconds, long count)
    {
        if (count > 0)
        {
            (isGet ? GetLatency : SetLatency).RecordValueWithCount(Math.Clamp(latencyNanoseconds, 1, LatencyMaxNanoseconds), count);
        }
    }

    public void RecordUnsent(bool isGet, long waitNanoseconds)
    {
        UnsentCount++;
        Record(isGet, waitNanoseconds, 1);
    }

    public void CountMiss(uint key)
    {
        MissCount++;
        Sample(MissingKeys, key);
    }

    public void CountWrong(uint key)
    {
        WrongCount++;
        Sample(WrongKeys, key);
    }

    public void CountError(ReadOnlySpan<byte> line)
    {
        ErrorCount++;
        FirstError ??= Encoding.Latin1.GetString(line).Trim();
    }

    public void CountError(string reason)
    {
        ErrorCount++;
        FirstError ??= reason;
    }

    public void Reset()
    {
        GetLatency.Reset();
        SetLatency.Reset();
        HitCount = MissCount = WrongCount = ErrorCount = UnsentCount = 0;
        FirstError = null;
        MissingKeys.Clear();
        WrongKeys.Clear();
    }

    public void Add(LoopResult other)
    {
        GetLatency.Add(other.GetLatency);
        SetLatency.Add(other.SetLatency);
        HitCount += other.HitCount;
        MissCount += other.MissCount;
        WrongCount += other.WrongCount;
        ErrorCount += other.ErrorCount;
        UnsentCount += other.UnsentCount;
        FirstError ??= other.FirstError;
        other.MissingKeys.ForEach(key => Sample(MissingKeys, key));
        other.WrongKeys.ForEach(key => Sample(WrongKeys, key));
    }

    static void Sample(List<uint> keys, uint key)
    {
        if (keys.Count < SampleCountMax)
        {
            keys.Add(key);
        }
    }
}
