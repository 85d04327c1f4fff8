namespace LsmFs.Load;

/// <summary>Waits for the end of what a store does in the background.</summary>
internal static class Quiet
{
    const int StepMilliseconds = 250, QuietStepCount = 6, StepCountMax = 480;

    /// <summary>Returns when nothing was flushed or compacted for some time, at once for a server without an engine.</summary>
    public static void Wait(Target target, CancellationToken stop)
    {
        (double? Written, double? Waiting) State()
        {
            var figures = StatisticsClient.AskEngine(target);
            return (figures["flush_written_bytes"] + figures["compaction_written_bytes"] + figures["compactions"] + figures["compaction_moves"], figures["memtables_frozen"]);
        }
        var (last, quietCount) = (State(), 0);
        for (var step = 0; step < StepCountMax && quietCount < QuietStepCount && last.Written is not null; step++)
        {
            stop.WaitHandle.WaitOne(StepMilliseconds);
            if (stop.IsCancellationRequested)
            {
                throw new LoadException("stopped while waiting for compactions");
            }
            // A long compaction tells nothing until its end; the processor time of the process does.
            var before = ProcessSample.Read(target.ProcessId!.Value).CpuSeconds;
            stop.WaitHandle.WaitOne(StepMilliseconds);
            var used = ProcessSample.Read(target.ProcessId!.Value).CpuSeconds - before;
            var now = State();
            quietCount = now == last && now.Waiting == 0 && used < 0.05 ? quietCount + 1 : 0;
            last = now;
        }
    }
}
