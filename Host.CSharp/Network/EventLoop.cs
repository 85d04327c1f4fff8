using System.Collections.Concurrent;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// A loop works in turns: what has arrived is received, parsed and answered; the writes of all its connections go to the store in
// one submission; the replies to committed writes are sent. Short replies are sent together at the end of both halves. How a turn starts is the transport's business.
//
// Invariants
//   1. One thread is in a turn at a time, and only it touches the loop's connections, buffers and counters.
//   2. Submissions complete in the order in which they were submitted, so replies keep the order of the commands.
//   3. A command is looked up in a snapshot taken after the command arrived, so a client that knows a write committed, on
//      whatever connection, reads it.
//   4. Before a loop waits, every write it collected has been submitted and every connection with work left is due.
//   5. No turn waits for the disk to read: blocks that are not in memory are read by the store's read threads, which tell the loop when they are there.
//      The one exception is a commit on the loop whose block has left the cache since its write was collected.

/// <summary>The part of an event loop that does not depend on the transport.</summary>
internal abstract class EventLoop : IDisposable
{
    /// <summary>Bytes received at once.</summary>
    public const int ReceiveBufferLength = 64 * 1024;

    /// <summary>Bytes of replies collected before they are sent.</summary>
    public const int SendBufferLength = 128 * 1024;

    /// <summary>Keys that are fetched side by side: more only push each other out of the nearest cache.</summary>
    public const int ComingCountMax = 16;

    /// <summary>Bytes of writes that one loop may have waiting for their commit; connections that write then wait.</summary>
    private const int PendingBytesMax = 32 * 1024 * 1024;

    /// <summary>Bytes of writes after which a turn's submission is sent off before the turn's end.</summary>
    private const int SubmissionBytesMax = 1024 * 1024;

    /// <summary>Submissions a turn may make one after the other for connections that mix writes and reads, before others get their turn.</summary>
    private const int RoundCountMax = 16;

    /// <summary>Bytes of the submissions kept for their next use. There are many small ones while another loop's commit takes long, again and again.</summary>
    private const long IdleBytesMax = 16 * 1024 * 1024;

    private readonly Store _store;
    private readonly StoreReader _reader;
    private readonly Queue<WriteSubmission> _inFlight = new();
    private readonly Stack<WriteSubmission> _idle = new();
    private long _idleBytes;
    private readonly HashSet<Connection> _connections = [];
    private readonly ConcurrentQueue<Action> _inbox = new();
    private readonly ConcurrentQueue<Connection> _served = new();
    private Queue<Connection> _due = new();
    private Queue<Connection> _dueNow = new();
    private readonly Queue<Connection> _starved = new();
    private WriteSubmission _writes;
    private long _pendingBytes;
    private int _turnThreadId;
    private long _turnCount;
    private bool _hasReader;
    private long _stopDeadline = long.MaxValue;
    private readonly int _idleTimeoutSeconds;
    private readonly TimeProvider _clock;
    private long _nextSweepSeconds;

    protected EventLoop(Server server, Store store, ILogger logger)
    {
        Server = server;
        Recency = server.Recency;
        _store = store;
        Logger = logger;
        _reader = store.CreateReader();
        _writes = new WriteSubmission(this);
        _idleTimeoutSeconds = server.Options.IdleTimeoutSeconds;
        _clock = server.Options.Clock;
        WorkMax = server.Options.RequestCountMaxPerTurn;
        NowSeconds = UnixTimeSeconds();
        ClockSeconds = ReadClock();
    }

    /// <summary>Units of work of a connection before others get their turn.</summary>
    public int WorkMax { get; }

    /// <summary>Seconds on a clock that nobody sets, as of this turn; up to a second late where no idle connection is looked for.</summary>
    public long ClockSeconds { get; private set; }

    public Server Server { get; }

    /// <summary>When items were read last.</summary>
    public RecencyTable Recency { get; }

    public ILogger Logger { get; }

    /// <summary>Counters of this loop's thread; others may read them.</summary>
    public LoopCounters Counters { get; } = new();

    /// <summary>Where commands arrive; belongs to the connection that is being served.</summary>
    public byte[] ReceiveBuffer { get; } = GC.AllocateUninitializedArray<byte>(ReceiveBufferLength, pinned: true);

    /// <summary>Where replies are written; belongs to the connection that is being served.</summary>
    public byte[] SendBuffer { get; } = GC.AllocateUninitializedArray<byte>(SendBufferLength, pinned: true);

    /// <summary>Keys that are looked for next; belongs to the connection that is being served, and before that to the batch that it has arrived in.</summary>
    public ComingKey[] ComingKeys { get; } = new ComingKey[ComingCountMax];

    /// <summary>Whether keys should be fetched ahead. Looked at without entering a snapshot: nothing is read but the shape of the newest one.</summary>
    public bool IsWorthFetching => Lookup.isWorthFetching(_store.Current);

    /// <summary>Short replies of this turn.</summary>
    public ReplyBatch Replies { get; } = new();

    /// <summary>Where keys are decoded that do not stand in the input as they are stored.</summary>
    public byte[] KeyScratch { get; } = new byte[ProtocolLimits.keyScratchLength];

    /// <summary>Turns so far. Any thread may read it; a loop that has nothing to do makes none.</summary>
    public long TurnCount => Volatile.Read(ref _turnCount);

    /// <summary>Unix time of this turn in seconds.</summary>
    public uint NowSeconds { get; private set; }

    /// <summary>The submission that collects the writes of this turn.</summary>
    public WriteSubmission Writes => _writes;

    /// <summary>Whether one more write may be collected; otherwise the connection calls <see cref="Starve"/>.</summary>
    public bool HasRoomForWrites => _pendingBytes < PendingBytesMax;

    /// <summary>Whether the server is stopping: what was received is finished, nothing more is.</summary>
    public bool IsStopping => _stopDeadline != long.MaxValue;

    /// <summary>The reader, in a snapshot that stays until <see cref="LeaveSnapshot"/>.</summary>
    public StoreReader EnterSnapshot()
    {
        if (!_hasReader)
        {
            _reader.Enter();
            _hasReader = true;
        }

        return _reader;
    }

    /// <summary>Releases the snapshot, if there is one. Invariant 3: called whenever more bytes or commits are taken in.</summary>
    public void LeaveSnapshot()
    {
        if (_hasReader)
        {
            _hasReader = false;
            _reader.Exit();
        }
    }

    /// <summary>Gives a connection another turn soon: it has work left.</summary>
    public void MakeDue(Connection connection) => _due.Enqueue(connection);

    /// <summary>Gives a connection another turn when a submission has completed.</summary>
    public void Starve(Connection connection) => _starved.Enqueue(connection);

    /// <summary>Called after a write was collected, with the bytes it is charged for.</summary>
    public void ChargeWrite(int bytes)
    {
        _pendingBytes += bytes;

        if (_writes.LengthBytes >= SubmissionBytesMax)
        {
            SubmitWrites();
        }
    }

    /// <summary>A connection was closed.</summary>
    public void Forget(Connection connection)
    {
        if (_connections.Remove(connection))
        {
            Server.Connections.TryRemove(connection.Origin.Descriptor, out _);
            Server.Release();
        }
    }

    /// <summary>A submission of this loop has completed. Any thread; the replies are sent in a turn.</summary>
    public void OnCompleted()
    {
        if (Volatile.Read(ref _turnThreadId) != Environment.CurrentManagedThreadId)
        {
            Wake();
        }
    }

    /// <summary>A block that a connection waits for was read. Any thread; the connection goes on in a turn.</summary>
    public void OnBlockRead(Connection connection)
    {
        _served.Enqueue(connection);
        Wake();
    }

    /// <summary>Has something done in the next turn. Any thread.</summary>
    public void Post(Action work)
    {
        _inbox.Enqueue(work);
        Wake();
    }

    /// <summary>Finishes the commands already received and closes the connections, those that take too long at the deadline. Any thread.</summary>
    public void Stop(TimeSpan patience) => Post(() => BeginStop(patience));

    /// <summary>Completes when the loop has closed all its connections and waits no more.</summary>
    public Task Stopped => _stopped.Task;

    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public virtual void Dispose() => _reader.Dispose();

    /// <summary>Has the loop look at the clock. Any thread.</summary>
    public void Nudge() => Wake();

    /// <summary>Has a turn start soon. Any thread.</summary>
    protected abstract void Wake();

    /// <summary>Whether a turn should start at once: work is left over from the last one.</summary>
    protected bool HasWorkLeft => _due.Count > 0 || _writes.Count > 0 || IsOldestCompleted;

    private bool IsOldestCompleted => _inFlight.TryPeek(out WriteSubmission? submission) && submission.IsCompleted;

    /// <summary>Takes a new connection in.</summary>
    protected void Add(Connection connection)
    {
        _connections.Add(connection);
        Server.Connections[connection.Origin.Descriptor] = connection;
        Counters.TotalConnections++;
        connection.Start();
    }

    /// <summary>Starts a turn: the time, what other threads asked for, blocks that were read, completed writes.</summary>
    protected void BeginTurn()
    {
        Volatile.Write(ref _turnThreadId, Environment.CurrentManagedThreadId);
        _turnCount++;
        uint nowSeconds = UnixTimeSeconds();

        // Without a timeout it is read once a second: turns are many.
        if (_idleTimeoutSeconds > 0 || nowSeconds != NowSeconds)
        {
            ClockSeconds = ReadClock();
        }

        NowSeconds = nowSeconds;

        while (_inbox.TryDequeue(out Action? work))
        {
            work();
        }

        while (_served.TryDequeue(out Connection? connection))
        {
            connection.OnBlockRead();
        }

        CollectCompleted();
    }

    /// <summary>Ends a turn: connections with work left get their share, writes are submitted, and so on while that makes new work.</summary>
    protected void EndTurn()
    {
        // Connections that become due again from here on wait for the next turn.
        (_due, _dueNow) = (_dueNow, _due);

        while (_dueNow.TryDequeue(out Connection? connection))
        {
            connection.OnDue();
        }

        // Before the commit, which they have nothing to do with.
        Replies.Send();

        for (int round = 0; round < RoundCountMax && (_writes.Count > 0 || IsOldestCompleted); round++)
        {
            if (_writes.Count > 0)
            {
                SubmitWrites();
            }

            CollectCompleted();
        }

        Replies.Send();
        LeaveSnapshot();

        if (_idleTimeoutSeconds > 0 && ClockSeconds >= _nextSweepSeconds)
        {
            KickIdle();
        }

        if (IsStopping)
        {
            ContinueStop();
        }

        Volatile.Write(ref _turnThreadId, 0);
    }

    private long ReadClock() => _clock.GetTimestamp() / _clock.TimestampFrequency;

    private static uint UnixTimeSeconds() => (uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    private void SubmitWrites()
    {
        WriteSubmission submission = _writes;
        _writes = TakeIdle() ?? new WriteSubmission(this);
        _inFlight.Enqueue(submission);
        LeaveSnapshot();
        _store.Submit(submission);
    }

    private WriteSubmission? TakeIdle()
    {
        if (_idle.TryPop(out WriteSubmission? submission))
        {
            _idleBytes -= submission.HeldBytes;
        }

        return submission;
    }

    private void CollectCompleted()
    {
        // Invariant 2: a submission that completed before an older one waits for it.
        while (IsOldestCompleted)
        {
            WriteSubmission submission = _inFlight.Dequeue();
            LeaveSnapshot();
            _pendingBytes -= submission.ChargedBytes;
            Counters.Add(submission.Counters);
            submission.DeliverReplies();
            submission.Reset();

            if (_idleBytes + submission.HeldBytes <= IdleBytesMax)
            {
                _idleBytes += submission.HeldBytes;
                _idle.Push(submission);
            }

            for (int count = _starved.Count; count > 0; count--)
            {
                _starved.Dequeue().OnDue();
            }
        }
    }

    /// <summary>
    /// Closes connections whose peer has not moved for the time that it has. At the end of a turn, when what has arrived is served. One pass over the
    /// connections, and the next not before one of them can be due.
    /// </summary>
    private void KickIdle()
    {
        long oldest = ClockSeconds;
        List<Connection>? idle = null;

        foreach (Connection connection in _connections)
        {
            if (connection.IsPeersTurn && ClockSeconds - connection.LastMoveSeconds > _idleTimeoutSeconds)
            {
                (idle ??= []).Add(connection);
            }
            else
            {
                oldest = Math.Min(oldest, connection.LastMoveSeconds);
            }
        }

        idle?.ForEach(connection => connection.Kick());
        _nextSweepSeconds = Math.Max(oldest + _idleTimeoutSeconds, ClockSeconds) + 1;
    }

    private void BeginStop(TimeSpan patience)
    {
        if (IsStopping)
        {
            return;
        }

        _stopDeadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;

        foreach (Connection connection in _connections.ToArray())
        {
            connection.OnStopping();
        }
    }

    private void ContinueStop()
    {
        if (_connections.Count > 0 && Environment.TickCount64 >= _stopDeadline)
        {
            Logger.LogWarning("Closing {Count} connections that did not take their replies in time", _connections.Count);

            foreach (Connection connection in _connections.ToArray())
            {
                connection.Close();
            }
        }

        if (_connections.Count == 0 && _inFlight.Count == 0 && _writes.Count == 0 || Environment.TickCount64 >= _stopDeadline)
        {
            _stopped.TrySetResult();
        }
    }
}
