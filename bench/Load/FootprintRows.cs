using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>What a server needs for a connection that does nothing, and for an operation on its managed heap.</summary>
internal static class FootprintRows
{
    const string Section = "Memory";
    const int MemoryMegabytes = 64;
    const long OperationCount = 1_000_000;

    public static readonly SuiteRow[] Rows =
    [
        new("idle connection", w => w with { ConnectionCount = 10_000 }),
        new("get", w => w with { PipelineDepth = 16, OperationCount = OperationCount }),
        new("set", w => w with { PipelineDepth = 16, OperationCount = OperationCount, GetRatio = 0 }),
    ];

    public static List<ResultRow> Run(SuiteOptions options, IReadOnlyList<SuiteRow> rows, CancellationToken stop)
    {
        using var servers = new ServerPair(options, "os", MemoryMegabytes, MemoryMegabytes, stop);
        List<ResultRow> results = [];
        foreach (var row in rows)
        {
            Console.Error.WriteLine(row.Name);
            var workload = row.Shape(options.Workload);
            results.Add(row == Rows[0] ? IdleConnections(row.Name, workload.ConnectionCount, servers, stop) : Allocation(row.Name, workload, servers, options, stop));
        }
        return results;
    }

    static ResultRow IdleConnections(string name, int count, ServerPair servers, CancellationToken stop)
    {
        double? Of(Target target)
        {
            // So that code, buffers and heaps which the first connections need are there before.
            Connections(target, 100, stop);
            return Connections(target, count, stop) / 1024 / count;
        }
        return SuiteReport.Row(
            Section,
            name,
            "KiB/connection",
            [Of(servers.LsmFs)],
            [Of(servers.Memcached)],
            SuiteReport.Text($"{count:N0} connections that have each been answered one get; resident memory of the process after against before. The kernel's buffers are not in it."));
    }

    /// <summary>Bytes that the resident memory grows by.</summary>
    static double Connections(Target target, int count, CancellationToken stop)
    {
        List<int> descriptors = [];
        double Resident()
        {
            stop.WaitHandle.WaitOne(TimeSpan.FromSeconds(1));
            return ProcessSample.Read(target.ProcessId!.Value).ResidentBytes;
        }
        try
        {
            var before = Resident();
            Span<byte> reply = stackalloc byte[64];
            while (descriptors.Count < count && !stop.IsCancellationRequested)
            {
                var descriptor = Native.Connect(target.Address);
                descriptors.Add(descriptor);
                Native.Send(descriptor, "get nothing\r\n"u8);
                Native.AwaitReadable(descriptor);
                if (Native.Receive(descriptor, reply) != "END\r\n".Length)
                {
                    throw new LoadException($"{target.Name} did not answer on connection {descriptors.Count}");
                }
            }
            return Resident() - before;
        }
        finally
        {
            descriptors.ForEach(Native.Close);
        }
    }

    static ResultRow Allocation(string name, Workload workload, ServerPair servers, SuiteOptions options, CancellationToken stop)
    {
        const double WarmupSeconds = 3;
        List<double?> figures = [];
        double? flushes = 0;
        // What the memtables of -m are made of is allocated once, by the fill and the warm-up, and is used again after each flush.
        Comparison.Fill(workload, servers.LsmFs, stop);
        for (var round = 0; round < options.RoundCount; round++)
        {
            double? before = 0, toAsk = 0;
            void Begin()
            {
                var first = StatisticsClient.AskEngine(servers.LsmFs);
                var second = StatisticsClient.AskEngine(servers.LsmFs);
                before = second["gc_allocated_bytes"];
                toAsk = before - first["gc_allocated_bytes"];
                flushes -= second["flushes"];
            }
            void End()
            {
                var after = StatisticsClient.AskEngine(servers.LsmFs);
                figures.Add((after["gc_allocated_bytes"] - before - toAsk) / OperationCount);
                flushes += after["flushes"];
            }
            var measured = Runner.Run(workload with { WarmupSeconds = WarmupSeconds }, servers.LsmFs, stop, Begin, End);
            Console.Error.WriteLine(SuiteReport.Text($"  {figures[^1]:F3} bytes, {measured.Hits} hits"));
        }
        return SuiteReport.Row(
            Section,
            name,
            "managed bytes/operation",
            figures.ConvertAll(figure => figure is { } bytes ? Math.Max(Math.Round(bytes, 1), 0) : (double?)null),
            note: SuiteReport.Text($"All that the process of LsmFs allocates on the managed heap during {OperationCount:N0} operations, 50 connections, pipeline of 16, {workload.KeyCount:N0} keys, -m {MemoryMegabytes}, to a tenth of a byte; {flushes} flushes are among it."));
    }
}
