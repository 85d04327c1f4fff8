namespace LsmFs.Load;

/// <summary>Runs one workload against one server: connects, warms up, measures, disconnects.</summary>
public static class Runner
{
    /// <param name="workload">What is sent.</param>
    /// <param name="target">To whom.</param>
    /// <param name="stop">Gives up.</param>
    /// <param name="begin">Called between warm-up and measured phase.</param>
    /// <param name="end">Called after the measured phase, before the connections are closed.</param>
    public static Measurement Run(Workload workload, Target target, CancellationToken stop, Action? begin = null, Action? end = null)
    {
        var dataset = workload.CreateDataset();
        var zipfian = workload.ZipfianTheta is { } theta ? new Zipfian(workload.KeyCount, theta) : null;
        var loops = new List<Loop>(workload.ThreadCount);
        try
        {
            for (var thread = 0; thread < workload.ThreadCount; thread++)
            {
                loops.Add(new Loop(workload, target, dataset, zipfian, thread));
                loops[thread].Connect();
            }
            if (workload.Kind == WorkloadKind.Run && workload.WarmupSeconds > 0)
            {
                RunLoops(loops, workload.WarmupSeconds, stop);
            }
            var isTimed = workload.Kind == WorkloadKind.Run && workload.OperationCount is null;
            begin?.Invoke();
            var before = CpuSample.Take(target);
            var startedAt = ArrivalSchedule.Now;
            RunLoops(loops, isTimed ? workload.Seconds : null, stop);
            var after = CpuSample.Take(target);
            end?.Invoke();

            var result = new LoopResult();
            loops.ForEach(loop => result.Add(loop.Result));
            var elapsed = (loops.Max(loop => loop.EndedAt) - startedAt) / 1e9;
            return Measurement.From(workload, target, result, elapsed, before, after);
        }
        finally
        {
            loops.ForEach(loop => loop.Dispose());
        }
    }

    /// <summary>Runs every loop on a thread of its own; the first failure stops the others and is thrown here.</summary>
    static void RunLoops(List<Loop> loops, double? seconds, CancellationToken stop)
    {
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Exception? failure = null;
        var threads = loops.ConvertAll(loop => new Thread(() =>
        {
            try
            {
                loop.Run(seconds, failed.Token);
            }
            catch (Exception exception)
            {
                Interlocked.CompareExchange(ref failure, exception, null);
                failed.Cancel();
            }
        }));
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        if (failure is not null)
        {
            throw failure is LoadException ? failure : new InvalidOperationException("a load loop failed", failure);
        }
    }
}
