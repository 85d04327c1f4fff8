using System.Diagnostics;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>
/// A persistent, ordered key-value store in a folder: the engine's decisions carried out on files. Thread-safe. Reads go through a
/// <see cref="StoreReader"/> for each thread, writes through <see cref="Submit"/>, or both through the plain methods.
/// </summary>
public sealed class Store : IDisposable
{
    private readonly Lock _readersLock = new();
    private readonly List<StoreReader> _readers = [];
    private (long Hits, long Misses) _readBefore;
    private readonly Committer _committer;
    private readonly BackgroundWork _background;
    private readonly ItemCounter _items;
    private Snapshot _current;
    private ulong _nextFile;
    private int _isDisposed;

    private Store(StoreOptions options, ILogger log, DataFolder folder)
    {
        Options = options;
        EngineOptions = options.EngineOptions ?? OptionsModule.withCompression(options.Compression, OptionsModule.ofBudget(options.MemoryBudgetBytes));
        Log = log;
        Folder = folder;
        Tables = new TableFiles(folder);
        Holds = new Holds(options.Clock);
        Cache = new BlockCache(Epochs, EngineOptions.CacheSizeBytes);
        Blocks = new TableBlocks(Tables, Cache, log);
        Reads = new BlockReads(Blocks, log);
        Decisions = new DecisionRecorder(this);
        var chunks = new ChunkPool(EngineOptions.ChunkSizeBytes, OptionsModule.recycledBytesMax(EngineOptions));
        ManifestWriter? manifest = null;
        LogWriter? writer;
        try
        {
            folder.Reserve = new Reserve(folder, EngineOptions, options.Clock, options.RetryDelay, log, () => _background?.LacksSpace ?? false, WakeCommitter);
            var recovered = StoreRecovery.Run(folder, EngineOptions, Tables, chunks, log);
            _nextFile = recovered.NextFile.Value;
            var activeLog = NextFileNumber();
            _current = SnapshotModule.recovered(
                Memtable.Create(chunks), activeLog, recovered.Frozen, recovered.State.Version, recovered.Tables, recovered.Flush, recovered.LastSequence);
            var oldestLog = SnapshotModule.oldestLog(_current);
            manifest = new ManifestWriter(folder, recovered.StateSince(oldestLog), options.ManifestEditBytesMax, NextFileNumber, log);
            manifest.Rewrite();
            StoreRecovery.RemoveLeftovers(folder, recovered, oldestLog, log);
            FitCache(_current.Tables);
            writer = options.Durability == Durability.Memory ? null : LogWriter.Create(folder, LogKind.WriteAheadLog, activeLog, durable: true, takesAhead: options.Durability == Durability.Os);
            folder.Reserve.Opened();
        }
        catch
        {
            manifest?.Dispose();
            Tables.Dispose();
            folder.Reserve?.Dispose();
            throw;
        }

        Versions = new VersionInstaller(this, manifest);
        _committer = new Committer(this, chunks, writer);
        _items = new ItemCounter(this);
        _background = new BackgroundWork(this);
        Scheduler = new WorkScheduler(this, _committer, _background);
        _background.Start();
        if (options.Durability == Durability.Memory)
        {
            log.NotDurable();
        }
    }

    internal StoreOptions Options { get; }

    internal Options EngineOptions { get; }

    internal ILogger Log { get; }

    internal DataFolder Folder { get; }

    internal TableFiles Tables { get; }

    internal BlockCache Cache { get; }

    internal TableBlocks Blocks { get; }

    internal BlockReads Reads { get; }

    internal DecisionRecorder Decisions { get; }

    internal VersionInstaller Versions { get; }

    internal WorkScheduler Scheduler { get; }

    internal Epochs Epochs { get; } = new();

    internal Holds Holds { get; }

    /// <summary>The newest snapshot. Whoever uses it from a thread of his own pins the epoch first.</summary>
    internal Snapshot Current => Volatile.Read(ref _current);

    /// <summary>What is known of the disk, for the engine to decide which writes are taken.</summary>
    internal DiskCondition DiskCondition =>
        new(
            Folder.Reserve!.IsDiskFull,
            Folder.Reserve.Shares,
            _background?.FlushFailure?.Trouble ?? DiskTrouble.None,
            _background?.CompactionFailure?.Trouble ?? DiskTrouble.None,
            _background?.IsFlushing ?? false,
            _background?.IsCompacting ?? false);

    /// <summary>Why writes, or all but removals, are refused for now, in a few words for a client, or null.</summary>
    internal string? WriteTrouble =>
        (_background?.FlushFailure ?? _background?.CompactionFailure)?.Reason
        ?? (Folder.Reserve!.IsDiskFull ? DiskSpace.reason(DiskTrouble.Full) : null);

    /// <summary>How fast writes may go on, as background work keeps up.</summary>
    internal WritePace Pace => Work.pace(EngineOptions, Debt, Current);

    /// <summary>Why writes must wait for background work.</summary>
    internal WritePressure Pressure => Work.pressure(EngineOptions, Debt, Current);

    /// <summary>Whether flushes and compactions may leave their processors to others now and then: nobody waits for their end.</summary>
    internal bool RestsInBackground => Options.Scheduling == Scheduling.Threads && Options.RestsInBackground;

    /// <summary>Whether a flush may that has come so far, from 0 to 1.</summary>
    internal bool MayFlushRest(double progress) => Work.mayFlushRest(EngineOptions, Current, progress);

    /// <summary>Whether a compaction may that has come so far, from 0 to 1.</summary>
    internal bool MayCompactionRest(double progress) => Work.mayCompactionRest(EngineOptions, Debt, Current, progress);

    internal BackgroundCounters BackgroundCounters => _background.Counters;

    /// <summary>Tables that compaction leaves alone because they cannot be read.</summary>
    internal FSharpList<FileNumber> QuarantinedTables => _background.Compactions.Quarantined;

    private CompactionDebt Debt => _background is null ? default : _background.Compactions.DebtOf(Current.Version);

    /// <summary>Why flushes or compactions fail for now, or null.</summary>
    internal string? BackgroundFailure => (_background.FlushFailure ?? _background.CompactionFailure)?.Reason;

    /// <summary>What the next compaction is decided from.</summary>
    internal PickingInput PickingInput => _background.Compactions.Input;

    /// <summary>Figures for an operator.</summary>
    public StoreStatistics Statistics =>
        StoreStatistics.Of(this, _background, CacheStatistics, _committer);

    /// <summary>
    /// How many items there are: exact for a small store, for a large one projected from samples of it, and then a few seconds old at times. Takes
    /// a tenth of a second at most.
    /// </summary>
    public long CountItems() => _items.Count();

    private CacheStatistics CacheStatistics
    {
        get
        {
            lock (_readersLock)
            {
                return new CacheStatistics(
                    Cache,
                    _readBefore.Hits + _readers.Sum(reader => reader.HitCount),
                    _readBefore.Misses + _readers.Sum(reader => reader.MissCount),
                    Reads.Count,
                    _committer.Groups.BlockReadCount);
            }
        }
    }

    /// <summary>
    /// Opens the store in a folder, creating it when there is none, and recovers what a crash left. Throws <see cref="StoreException"/> when the
    /// folder cannot be used or its files are damaged.
    /// </summary>
    public static Store Open(StoreOptions options, ILogger log)
    {
        var folder = DataFolder.Open(options.FileSystem, options.DataFolder);
        try
        {
            return new Store(options, log, folder);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            folder.Dispose();
            throw DiskError.TroubleOf(cause) switch
            {
                DiskTrouble.Full => new StoreException(
                    $"cannot open the store in {folder.Path}: out of disk space, and its reserve is used up; make some room there and start again", cause),
                DiskTrouble.ReadOnly => new StoreException(
                    $"cannot open the store in {folder.Path}: the disk is read-only; mount it read-write and start again", cause),
                _ => new StoreException($"cannot open the store in {folder.Path}: {cause.Message}", cause),
            };
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    /// <summary>A reader for one thread.</summary>
    public StoreReader CreateReader() => new(this);

    /// <summary>
    /// The store as it is now, for as long as it is wanted; see <see cref="StoreSnapshot"/> for what that costs. O(1). Throws
    /// <see cref="ObjectDisposedException"/> when the store is closed.
    /// </summary>
    public StoreSnapshot CreateSnapshot() => new(this);

    /// <summary>
    /// Queues writes. They are executed in the order of submission, and <see cref="Submission.Completed"/> tells how they ended: before this returns
    /// under <see cref="Durability.Os"/> and <see cref="Durability.Memory"/> as a rule, and on another thread under <see cref="Durability.Sync"/>.
    /// </summary>
    public void Submit(Submission submission) => _committer.Submit(submission);

    /// <summary>The value of a key, or null. Allocates the copy; a hot path uses a <see cref="StoreReader"/>.</summary>
    public byte[]? Get(ReadOnlySpan<byte> key)
    {
        using var reader = CreateReader();
        reader.Enter();
        try
        {
            return reader.Find(key, NowSeconds(), out var entry) switch
            {
                LookupOutcome.Found => entry.Value.ToArray(),
                LookupOutcome.Unreadable => throw new StoreException("the key's block cannot be read, see the log"),
                _ => null,
            };
        }
        finally
        {
            reader.Exit();
        }
    }

    /// <summary>Applies a batch of writes whole or not at all, and returns when it is as durable as the store promises. Throws <see cref="StoreException"/> when refused.</summary>
    public void Write(WriteBatch batch)
    {
        Submit(batch);
        batch.Wait(this);
    }

    /// <summary>Writes the active memtable and all frozen ones to tables, and returns when that is done. Throws <see cref="StoreException"/> when it fails.</summary>
    public void Flush()
    {
        if (_committer.FreezeActive() is { } refusal)
        {
            throw new StoreException($"the flush failed: {refusal}");
        }

        Scheduler.AwaitFlush();
    }

    /// <summary>
    /// Syncs and closes the store, and releases its folder. Without a log the memtables are written to tables first. Throws when that fails; the
    /// store is closed all the same.
    /// </summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
        {
            return;
        }

        _items.Dispose();
        try
        {
            // First, so that everything that was accepted is in what is made durable.
            _committer.Stop();
            if (Options.Durability == Durability.Memory)
            {
                _committer.Groups.FreezeLast();
                Scheduler.AwaitFlush();
                // A flush_all after the last value is in no memtable, and so in no flush.
                Versions.Install([], current => Work.flushEdit(current, FSharpList<TableMeta>.Empty), (_, before) => before);
            }
        }
        finally
        {
            _background.Dispose();
            Decisions.Dispose();
            Holds.Close();
            _committer.Dispose();
            Versions.Dispose();
            Reads.Dispose();
            Tables.Dispose();
            Folder.Reserve!.Dispose();
            Folder.Dispose();
        }
    }

    /// <summary>
    /// Carries out a piece of work, for a store that does not do so itself (<see cref="Scheduling.Manual"/>). False when there is none of the kind, when it
    /// failed, and when it cannot be begun now: the call comes from within another one, out of a file operation or a submission, that would have held it up, were
    /// the two on threads of their own. Throws <see cref="InvalidOperationException"/> when the store has its own threads.
    /// </summary>
    public bool TryRun(StoreWork work)
    {
        if (Options.Scheduling != Scheduling.Manual)
        {
            throw new InvalidOperationException("The store carries out its work on threads of its own.");
        }

        return Scheduler.TryRun(work);
    }

    internal uint NowSeconds() => (uint)Options.Clock.GetUtcNow().ToUnixTimeSeconds();

    internal FileNumber NextFileNumber() => FileNumber.NewFileNumber(Interlocked.Increment(ref _nextFile) - 1);

    /// <summary>Makes a group of writes visible.</summary>
    internal void PublishCommit(Memtable active, FlushState flush, SequenceNumber lastSequence)
    {
        Snapshot before;
        do
        {
            before = Current;
        }
        while (!TryPublish(before, SnapshotModule.committed(active, flush, lastSequence, before)));

        if (before.Flush.Through.Value != flush.Through.Value || before.Flush.PendingAtSeconds != flush.PendingAtSeconds)
        {
            // Tables may be dropped now, or at a time that is sooner.
            _background.WakeCompactors();
        }
    }

    /// <summary>Freezes the active memtable.</summary>
    internal void PublishFrozen(Memtable active, FileNumber activeLog)
    {
        Snapshot before;
        do
        {
            before = Current;
        }
        while (!TryPublish(before, SnapshotModule.frozen(active, activeLog, before)));

        Decisions.Frozen(before.Active.SizeBytes);

        _background.WakeFlusher();
    }

    /// <summary>Closes and deletes a table that nothing refers to.</summary>
    internal void DeleteTable(FileNumber number)
    {
        try
        {
            Tables.Delete(number);
        }
        catch (IOException cause)
        {
            Log.DeleteFailed(FileName.ofFile(StoreFile.NewTable(number)), cause.Message);
        }
    }

    /// <summary>Deletes the logs whose entries are all in tables.</summary>
    internal void DeleteLogsBefore(FileNumber oldestLog)
    {
        _committer.Groups.CloseLogsBefore(oldestLog);
        var file = "old logs";
        try
        {
            foreach (var log in Folder.Files().OfType<StoreFile.Log>().Where(log => log.Item.Value < oldestLog.Value))
            {
                file = FileName.ofFile(log);
                Folder.Delete(log);
            }
        }
        catch (IOException cause)
        {
            // The next flush tries again.
            Log.DeleteFailed(file, cause.Message);
        }
    }

    /// <summary>Lets waiting writes look again whether they may go on.</summary>
    internal void WakeCommitter() => _committer?.Wake();

    /// <summary>Asks for the active memtable to be frozen soon.</summary>
    internal void RequestFreeze() => _committer?.RequestFreeze();

    /// <summary>Gives the memory of a flushed memtable back once nobody can read it. After publishing the snapshot without it.</summary>
    internal void RetireMemtable(Memtable memtable) =>
        Epochs.Retire(() => Holds.Release(memtable, () => _committer.Groups.Recycle(memtable)));

    /// <summary>Deletes a table once nobody can read it. After publishing the snapshot without it.</summary>
    internal void RetireTable(TableMeta table) =>
        Epochs.Retire(() => Holds.Release(table, () => DeleteTable(table.Number)));

    /// <summary>Counts a reader's blocks in the statistics.</summary>
    internal void Add(StoreReader reader)
    {
        lock (_readersLock)
        {
            _readers.Add(reader);
        }
    }

    /// <summary>Keeps what a reader has counted, who is given up.</summary>
    internal void Remove(StoreReader reader)
    {
        lock (_readersLock)
        {
            if (_readers.Remove(reader))
            {
                _readBefore.Hits += reader.HitCount;
                _readBefore.Misses += reader.MissCount;
            }
        }
    }

    /// <summary>Leaves the cache what the metadata of the tables leaves of its budget.</summary>
    internal void FitCache(Table[][] tables) =>
        Cache.Resize(OptionsModule.cacheSizeBytes(EngineOptions, tables.Sum(level => level.Sum(table => table.MemoryBytes))));

    /// <summary>Makes a snapshot the newest one, unless another has come after the one that it was made from.</summary>
    internal bool TryPublish(Snapshot before, Snapshot after) =>
        ReferenceEquals(Interlocked.CompareExchange(ref _current, after, before), before);
}
