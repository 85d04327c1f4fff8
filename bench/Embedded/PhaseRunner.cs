using System.Diagnostics;
using LsmFs.Load;

namespace LsmFs.Embedded;

/// <summary>Runs phases on an engine, one after the other, and measures them.</summary>
internal sealed class PhaseRunner(IEngine engine, Settings settings, Dataset dataset, string folder)
{
    // Less than this in half a second is housekeeping.
    private const long QuietBytes = 64 * 1024;

    /// <summary>Items that are read from each key that is sought.</summary>
    private const int ScanItemCount = 50;

    private readonly TimeSpan _quietTime = TimeSpan.FromSeconds(Math.Min(3, settings.SettleSeconds / 2));

    // Longer where space comes back by what the engine does now and then.
    private readonly TimeSpan _quietTimeAfterRemoval = TimeSpan.FromSeconds(Math.Min(20, settings.SettleSeconds / 2));
    private long _liveCount;
    private long _wrongCount;
    private long _userWrittenBytes;
    private volatile bool _isOver;

    public List<PhaseResult> Results { get; } = [];

    /// <summary>Threads that read in the phases that follow.</summary>
    public int ReaderCount { get; set; } = settings.ReaderCount;

    /// <summary>Writes every key once, in random order unless the settings say otherwise; or only those that outlive the deletions.</summary>
    public void Load(string name, bool onlyKept = false)
    {
        _liveCount = onlyKept ? CountKept() : settings.KeyCount;
        Run(name, null, _quietTime, (worker, writer) =>
        {
            for (var ordinal = (long)worker; ordinal < settings.KeyCount; ordinal += settings.WriterCount)
            {
                var index = settings.IsAscending ? (uint)ordinal : dataset.Order.At((uint)ordinal);
                if (!onlyKept || dataset.IsKept(index))
                {
                    writer.Put(index);
                }
            }
        });
    }

    /// <summary>Overwrites keys that are chosen uniformly.</summary>
    public void Overwrite(string name = "overwrite") => Run(name, settings.OverwriteSeconds, _quietTime, OverwriteUniformly);

    /// <summary>Overwrites and reads at the same time, both uniformly.</summary>
    public void OverwriteAndRead(string name = "overwrite and read") =>
        Run(name, settings.MixedSeconds, _quietTime, OverwriteUniformly, (worker, log) => Read(worker, log, null));

    public void ReadUniform(string name = "read uniform") => Run(name, settings.ReadSeconds, null, null, (worker, log) => Read(worker, log, null));

    public void ReadZipfian(string name = "read zipfian")
    {
        var zipfian = new Zipfian(settings.KeyCount, 0.99);
        Run(name, settings.ReadSeconds, null, null, (worker, log) => Read(worker, log, zipfian));
    }

    /// <summary>Reads keys that were never written; each would lie right behind one that was.</summary>
    public void ReadMissing(string name = "read missing") => Run(name, settings.ReadSeconds, null, null, ReadMissing);

    /// <summary>Seeks keys that are chosen uniformly, and reads on from each.</summary>
    public void SeekAndScan(string name = "seek and scan") => Run(name, settings.ReadSeconds, null, null, SeekAndScan);

    /// <summary>Deletes all keys but those to keep, or lets them expire, in random order, and watches what becomes of the space.</summary>
    public void Delete()
    {
        _liveCount = CountKept();
        Run("delete", null, _quietTimeAfterRemoval, (worker, writer) =>
        {
            for (var ordinal = (long)worker; ordinal < settings.KeyCount; ordinal += settings.WriterCount)
            {
                var index = dataset.Order.At((uint)ordinal);
                if (dataset.IsKept(index))
                {
                    continue;
                }

                if (settings.IsExpiring)
                {
                    writer.PutExpiring(index);
                }
                else
                {
                    writer.Delete(index);
                }
            }
        });
    }

    /// <summary>Goes through everything twice: to verify every byte, and to see how fast it goes when nothing is done with it.</summary>
    public void Scan(string name, bool onlyKept)
    {
        var seenCount = 0L;
        engine.Scan((key, value) =>
        {
            var index = Dataset.IndexOf(key);
            seenCount++;
            if ((onlyKept && !dataset.IsKept(index)) || !dataset.IsValue(index, dataset.VersionOf(index), value))
            {
                _wrongCount++;
            }
        });
        // No key comes twice, so what is missing is what the count is short of.
        _wrongCount += Math.Abs(_liveCount - seenCount);
        Measure(name, null, () =>
        {
            var count = 0L;
            var checksum = 0;
            engine.Scan((key, value) =>
            {
                count++;
                checksum ^= key[^1] ^ value[^1];
            });
            GC.KeepAlive(checksum);
            return result => result with { ScannedCount = count };
        });
    }

    /// <summary>Removes everything with one call, and watches what becomes of the space.</summary>
    public void RemoveEverything()
    {
        _liveCount = 0;
        Measure("remove everything", _quietTimeAfterRemoval, () =>
        {
            var startedAt = Stopwatch.GetTimestamp();
            engine.RemoveEverything();
            var milliseconds = Stopwatch.GetElapsedTime(startedAt).TotalMilliseconds;
            engine.Scan((_, _) => _wrongCount++);
            return result => result with { RemovalMilliseconds = milliseconds };
        });
    }

    private long CountKept()
    {
        var count = 0L;
        for (var index = 0u; index < settings.KeyCount; index++)
        {
            count += dataset.IsKept(index) ? 1 : 0;
        }

        return count;
    }

    private void OverwriteUniformly(int worker, BatchWriter writer)
    {
        var random = new Random64(((ulong)Results.Count << 32) + (ulong)worker);
        var stride = (uint)settings.WriterCount;
        // A key belongs to one writer, so that its versions ascend.
        var ownCount = (settings.KeyCount - (uint)worker + stride - 1) / stride;
        while (!_isOver)
        {
            writer.Put((random.NextBelow(ownCount) * stride) + (uint)worker);
        }
    }

    private void Read(int worker, OperationLog log, Zipfian? zipfian)
    {
        using var reader = engine.CreateReader();
        var random = new Random64(((ulong)Results.Count << 32) + 0x10000 + (ulong)worker);
        Span<byte> key = stackalloc byte[Dataset.KeyLength];
        Span<byte> value = new byte[settings.ValueLength];
        var wrongCount = 0L;
        while (!_isOver)
        {
            var index = zipfian is null ? random.NextBelow(settings.KeyCount) : dataset.Order.At(zipfian.Next(ref random));
            dataset.WriteKey(index, key);
            var oldest = dataset.VersionOf(index);
            var beganAt = Stopwatch.GetTimestamp();
            var length = reader.Get(key, value);
            log.Add(beganAt, Stopwatch.GetTimestamp(), 1);
            if (length < 0 || !dataset.IsValue(index, oldest, value[..length]))
            {
                wrongCount++;
            }
        }

        Interlocked.Add(ref _wrongCount, wrongCount);
    }

    private void ReadMissing(int worker, OperationLog log)
    {
        using var reader = engine.CreateReader();
        var random = new Random64(((ulong)Results.Count << 32) + 0x20000 + (ulong)worker);
        Span<byte> key = stackalloc byte[Dataset.KeyLength + 1];
        Span<byte> value = new byte[settings.ValueLength];
        key[^1] = (byte)'x';
        var wrongCount = 0L;
        while (!_isOver)
        {
            dataset.WriteKey(random.NextBelow(settings.KeyCount), key[..Dataset.KeyLength]);
            var beganAt = Stopwatch.GetTimestamp();
            wrongCount += reader.Get(key, value) < 0 ? 0 : 1;
            log.Add(beganAt, Stopwatch.GetTimestamp(), 1);
        }

        Interlocked.Add(ref _wrongCount, wrongCount);
    }

    private void SeekAndScan(int worker, OperationLog log)
    {
        using var reader = engine.CreateReader();
        var random = new Random64(((ulong)Results.Count << 32) + 0x30000 + (ulong)worker);
        Span<byte> key = stackalloc byte[Dataset.KeyLength];
        var wrongCount = 0L;
        var expected = 0u;
        // Keys ascend with their numbers, and nothing is deleted or written meanwhile.
        void Visit(ReadOnlySpan<byte> itemKey, ReadOnlySpan<byte> value)
        {
            wrongCount += Dataset.IndexOf(itemKey) == expected && dataset.IsValue(expected, dataset.VersionOf(expected), value) ? 0 : 1;
            expected++;
        }

        ItemVisitor visit = Visit;
        while (!_isOver)
        {
            var index = expected = random.NextBelow(settings.KeyCount);
            dataset.WriteKey(index, key);
            var beganAt = Stopwatch.GetTimestamp();
            var count = reader.Scan(key, ScanItemCount, visit);
            log.Add(beganAt, Stopwatch.GetTimestamp(), 1);
            wrongCount += count == Math.Min(ScanItemCount, settings.KeyCount - index) ? 0 : 1;
        }

        Interlocked.Add(ref _wrongCount, wrongCount);
    }

    private void Run(string name, double? seconds, TimeSpan? quietTime, Action<int, BatchWriter>? write, Action<int, OperationLog>? read = null) =>
        Measure(name, quietTime, () =>
        {
            _isOver = false;
            _userWrittenBytes = 0;
            var startedAt = Stopwatch.GetTimestamp();
            List<OperationLog> writeLogs = [];
            List<OperationLog> readLogs = [];
            List<Action> bodies = [];
            for (var worker = 0; write is not null && worker < settings.WriterCount; worker++)
            {
                var (number, log) = (worker, new OperationLog(startedAt));
                writeLogs.Add(log);
                bodies.Add(() =>
                {
                    using var writer = new BatchWriter(engine.CreateWriter(), dataset, settings.BatchCount, log);
                    write(number, writer);
                    writer.Commit();
                    Interlocked.Add(ref _userWrittenBytes, writer.WrittenBytes);
                });
            }

            for (var worker = 0; read is not null && worker < ReaderCount; worker++)
            {
                var (number, log) = (worker, new OperationLog(startedAt));
                readLogs.Add(log);
                bodies.Add(() => read(number, log));
            }

            RunThreads(bodies, seconds);
            return result => result with
            {
                Writes = OperationLog.Join(writeLogs),
                Reads = OperationLog.Join(readLogs),
                UserWrittenBytes = _userWrittenBytes,
            };
        });

    private void RunThreads(List<Action> bodies, double? seconds)
    {
        Exception? failure = null;
        var threads = bodies.ConvertAll(body => new Thread(() =>
        {
            try
            {
                body();
            }
            catch (Exception exception)
            {
                Interlocked.CompareExchange(ref failure, exception, null);
                _isOver = true;
            }
        }));
        threads.ForEach(thread => thread.Start());
        if (seconds is { } limit)
        {
            var startedAt = Stopwatch.GetTimestamp();
            while (!_isOver && Stopwatch.GetElapsedTime(startedAt).TotalSeconds < limit)
            {
                Thread.Sleep(10);
            }

            _isOver = true;
        }

        threads.ForEach(thread => thread.Join());
        if (failure is not null)
        {
            throw new InvalidOperationException(failure.Message, failure);
        }
    }

    /// <summary>Measures what <paramref name="work"/> takes, and the background work after it until that has been quiet for a while; what it found out completes the result.</summary>
    private void Measure(string name, TimeSpan? quietTime, Func<Func<PhaseResult, PhaseResult>> work)
    {
        var countersBefore = engine.ReadCounters();
        var ioBefore = IoFigures.Read();
        var cpuBefore = Environment.CpuUsage.TotalTime;
        using var sampler = new Sampler(folder);
        var startedAt = Stopwatch.GetTimestamp();
        var complete = work();
        var seconds = Stopwatch.GetElapsedTime(startedAt).TotalSeconds;
        var io = IoFigures.Read() - ioBefore;
        var (settleSeconds, isUnsettled) = quietTime is { } time ? AwaitQuiet(time) : (0, false);
        var countersAfter = engine.ReadCounters();
        var result = complete(new PhaseResult
        {
            Name = name,
            Seconds = seconds,
            LiveCount = _liveCount,
            WrongCount = _wrongCount,
            CpuSeconds = (Environment.CpuUsage.TotalTime - cpuBefore).TotalSeconds,
            Io = io,
            SettleSeconds = settleSeconds,
            SettleIo = IoFigures.Read() - ioBefore - io,
            IsUnsettled = isUnsettled,
            Samples = sampler.Stop(),
            Counters = new(countersAfter.ToDictionary(pair => pair.Key, pair => pair.Value - countersBefore.GetValueOrDefault(pair.Key)), StringComparer.Ordinal),
            CountersAtEnd = countersAfter,
        });
        Results.Add(result);
        _wrongCount = 0;
        Report.PrintPhase(result);
    }

    /// <summary>Waits until the process has written next to nothing for a while, and says when that began.</summary>
    private (double Seconds, bool IsUnsettled) AwaitQuiet(TimeSpan quietTime)
    {
        var startedAt = Stopwatch.GetTimestamp();
        var quietSince = TimeSpan.Zero;
        var written = IoFigures.Read().WrittenBytes;
        while (true)
        {
            var elapsed = Stopwatch.GetElapsedTime(startedAt);
            if (elapsed - quietSince >= quietTime)
            {
                return (quietSince.TotalSeconds, false);
            }

            if (elapsed.TotalSeconds >= settings.SettleSeconds)
            {
                return (elapsed.TotalSeconds, true);
            }

            Thread.Sleep(500);
            var now = IoFigures.Read().WrittenBytes;
            if (now - written > QuietBytes)
            {
                quietSince = Stopwatch.GetElapsedTime(startedAt);
            }

            written = now;
        }
    }
}
