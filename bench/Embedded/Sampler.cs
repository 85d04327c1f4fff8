using System.Diagnostics;

namespace LsmFs.Embedded;

/// <summary>Takes a sample of memory and folder every second, on a thread of its own, until it is disposed of.</summary>
internal sealed class Sampler : IDisposable
{
    private readonly List<SizeSample> _samples = [];
    private readonly ManualResetEventSlim _stop = new(false);
    private readonly Thread _thread;
    private readonly string _folder;
    private readonly long _startedAt = Stopwatch.GetTimestamp();

    public Sampler(string folder)
    {
        _folder = folder;
        Sample();
        _thread = new Thread(Run) { IsBackground = true, Name = "sampler" };
        _thread.Start();
    }

    /// <summary>Ends the sampling with a last sample.</summary>
    public IReadOnlyList<SizeSample> Stop()
    {
        Dispose();
        Sample();
        return _samples;
    }

    public void Dispose()
    {
        _stop.Set();
        _thread.Join();
    }

    private void Run()
    {
        for (var second = 1; ; second++)
        {
            var wait = TimeSpan.FromSeconds(second) - Elapsed;
            if (_stop.Wait(wait > TimeSpan.Zero ? wait : TimeSpan.Zero))
            {
                return;
            }

            Sample();
        }
    }

    private TimeSpan Elapsed => Stopwatch.GetElapsedTime(_startedAt);

    private void Sample() => _samples.Add(SizeSample.Take(Elapsed.TotalSeconds, _folder));
}
