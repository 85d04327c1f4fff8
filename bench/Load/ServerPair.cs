namespace LsmFs.Load;

/// <summary>LsmFs with a new folder, and memcached beside it. Both are stopped and the folder is removed at the end.</summary>
internal sealed class ServerPair : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("lsmfs-load-").FullName;
    readonly List<ServerProcess> servers = [];

    /// <param name="options">The commands.</param>
    /// <param name="durability">os or sync.</param>
    /// <param name="memoryMegabytes">-m of LsmFs.</param>
    /// <param name="peerMemoryMegabytes">-m of memcached, which forgets what does not fit.</param>
    /// <param name="stop">Gives up.</param>
    public ServerPair(SuiteOptions options, string durability, int memoryMegabytes, int peerMemoryMegabytes, CancellationToken stop)
    {
        try
        {
            Target Start(string name, string command, int memory)
            {
                var filled = command
                    .Replace("{memory}", $"{memory}", StringComparison.Ordinal)
                    .Replace("{data}", $"\"{folder}\"", StringComparison.Ordinal)
                    .Replace("{durability}", durability, StringComparison.Ordinal);
                servers.Add(ServerProcess.Start(name, options.ServerCpus is { } cpus ? $"taskset -c {cpus} {filled}" : filled, stop));
                return servers[^1].Target;
            }
            Memcached = Start("memcached", options.MemcachedCommand, peerMemoryMegabytes);
            LsmFs = Start("LsmFs", options.LsmFsCommand, memoryMegabytes);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public Target LsmFs { get; }

    public Target Memcached { get; }

    /// <summary>Stores every key on both.</summary>
    public void Fill(Workload workload, CancellationToken stop)
    {
        Comparison.Fill(workload, LsmFs, stop);
        Comparison.Fill(workload, Memcached, stop);
    }

    /// <summary>A just-in-time compiled server is at its speed only after a while of both kinds of operation, alone and pipelined.</summary>
    public void WarmUp(Workload workload, double seconds, CancellationToken stop)
    {
        var mixed = workload with { GetRatio = 0.5, WarmupSeconds = 0, Seconds = seconds / 2, ConnectionCount = 50 };
        foreach (var target in (Target[])[LsmFs, Memcached])
        {
            Runner.Run(mixed, target, stop);
            Runner.Run(mixed with { PipelineDepth = 16 }, target, stop);
        }
    }

    public void Dispose()
    {
        servers.ForEach(server => server.Dispose());
        Directory.Delete(folder, recursive: true);
    }
}
