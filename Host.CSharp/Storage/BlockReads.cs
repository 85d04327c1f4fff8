using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// Invariants
//   1. A block is read by one thread at a time, however many ask for it.
//   2. Every read that was asked for completes, also when the store closes meanwhile.

/// <summary>The threads that wait for the disk in the place of those who must not. Thread-safe.</summary>
internal sealed class BlockReads(TableBlocks blocks, ILogger log) : IDisposable
{
    /// <summary>Reads under way at once: enough for a solid-state disk to overlap them, and few enough for the processor not to notice.</summary>
    private const int ThreadCountMax = 16;

    private readonly object _gate = new();
    private readonly Dictionary<(ulong Table, long OffsetBytes), PendingRead> _underWay = [];
    private readonly Queue<PendingRead> _queue = new();
    private readonly List<Thread> _threads = [];
    private int _idleCount;
    private long _count;
    private bool _isStopping;

    /// <summary>Reads so far.</summary>
    internal long Count => Interlocked.Read(ref _count);

    /// <summary>Begins to read a block, or joins the read that is under way. The caller holds a reference.</summary>
    internal PendingRead Request(in BlockRequest request)
    {
        PendingRead? read;
        var key = (request.Table.Number.Value, request.Handle.OffsetBytes);
        lock (_gate)
        {
            if (_underWay.TryGetValue(key, out read))
            {
                read.AddReference();
                return read;
            }

            read = new PendingRead(request);
            read.AddReference();
            if (!_isStopping)
            {
                _count++;
                _underWay.Add(key, read);
                _queue.Enqueue(read);
                if (_queue.Count > _idleCount && _threads.Count < ThreadCountMax)
                {
                    var thread = new Thread(RunThread) { IsBackground = true, Name = $"lsmfs-read-{_threads.Count}" };
                    _threads.Add(thread);
                    thread.Start();
                }

                Monitor.Pulse(_gate);
                return read;
            }
        }

        read.Complete();
        return read;
    }

    /// <summary>Ends the reads that were asked for, and stops. Later ones find their block unreadable.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _isStopping = true;
            Monitor.PulseAll(_gate);
        }

        _threads.ForEach(thread => thread.Join());
    }

    private void RunThread()
    {
        var decoder = new BlockDecoder();
        while (TryTake() is { } read)
        {
            try
            {
                read.Run(blocks, decoder);
            }
            catch (Exception cause)
            {
                // A fault of the program: the block's readers get an error, and the others are served.
                log.TableUnreadable(read.Request.Table.File, read.Request.Handle.OffsetBytes, cause.ToString().ReplaceLineEndings(" "));
            }

            lock (_gate)
            {
                // Whoever asks from here on finds the block in the cache, or reads it again.
                _underWay.Remove((read.Request.Table.Number.Value, read.Request.Handle.OffsetBytes));
            }

            read.Complete();
        }
    }

    private PendingRead? TryTake()
    {
        lock (_gate)
        {
            while (_queue.Count == 0 && !_isStopping)
            {
                _idleCount++;
                Monitor.Wait(_gate);
                _idleCount--;
            }

            return _queue.TryDequeue(out var read) ? read : null;
        }
    }
}
