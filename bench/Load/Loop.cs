using System.Buffers.Binary;

namespace LsmFs.Load;

/// <summary>
/// One thread's epoll loop over its share of the connections: one receive and one send per connection and turn, no allocation once
/// every connection has met its largest partial reply. Not thread-safe.
/// </summary>
internal sealed class Loop : IDisposable
{
    const int EventCountMax = 512;
    const int ReceiveLengthMin = 128 * 1024, ReceiveLengthMax = 1024 * 1024;
    const int TimerNumber = int.MaxValue;
    const int WaitMilliseconds = 200;
    // Between two wakes to send what is due: a wake for each operation would take a core for itself. Latency runs from the due time all the same.
    const long WakeIntervalNanoseconds = 50_000;
    const long OpenLoopDrainNanoseconds = 5_000_000_000;

    readonly Workload workload;
    readonly Target target;
    readonly int thread;
    readonly Dataset dataset;
    readonly OperationSource source;
    readonly ReplyReader replies;
    readonly Connection[] connections;
    readonly Queue<Connection> idle;
    readonly byte[] events = new byte[EventCountMax * Native.EventLengthBytes];
    readonly byte[] received;
    readonly byte[] requests;
    readonly int keysPerGet;
    readonly int epoll, timer;
    ArrivalSchedule? schedule;
    long timerSetTo;
    long issuedCount, issuedLimit, endsAt;
    int inFlightCount;
    long progressedAt;

    public Loop(Workload workload, Target target, Dataset dataset, Zipfian? zipfian, int thread)
    {
        this.workload = workload;
        this.target = target;
        this.thread = thread;
        this.dataset = dataset;
        source = new OperationSource(workload, zipfian, thread);
        replies = new ReplyReader(dataset, workload.IsVerified, Result);
        keysPerGet = workload.MultiGetCount;
        var getLengthMax = 8 + (keysPerGet * (dataset.KeyLength + 1));
        requests = GC.AllocateUninitializedArray<byte>(workload.PipelineDepth * Math.Max(dataset.SetLengthMax, getLengthMax), pinned: true);
        var repliesLength = (long)workload.PipelineDepth * keysPerGet * dataset.ReplyLengthMax;
        received = GC.AllocateUninitializedArray<byte>((int)Math.Clamp(repliesLength, ReceiveLengthMin, ReceiveLengthMax), pinned: true);

        epoll = Native.CreateEpoll();
        timer = Native.CreateTimer();
        Native.AddToEpoll(epoll, timer, Native.Readable, TimerNumber);
        var count = (workload.ConnectionCount - thread + workload.ThreadCount - 1) / workload.ThreadCount;
        connections = new Connection[count];
        idle = new Queue<Connection>(count);
    }

    public LoopResult Result { get; } = new();

    public long EndedAt { get; private set; }

    public void Connect()
    {
        for (var number = 0; number < connections.Length; number++)
        {
            var descriptor = Native.Connect(target.Address);
            connections[number] = new Connection(descriptor, number, workload.PipelineDepth, keysPerGet);
            Native.AddToEpoll(epoll, descriptor, Native.Readable, number);
        }
    }

    /// <summary>
    /// Sends for the given time, or for the operations the workload counts when there is none, and returns when all replies are in.
    /// </summary>
    public void Run(double? seconds, CancellationToken stop)
    {
        Result.Reset();
        idle.Clear();
        var now = progressedAt = ArrivalSchedule.Now;
        issuedCount = 0;
        issuedLimit = seconds is null ? source.OperationCount : long.MaxValue;
        endsAt = seconds is { } bound ? now + (long)(bound * 1e9) : long.MaxValue;
        schedule = workload.RatePerSecond is { } rate ? CreateSchedule(now, seconds, rate / workload.ThreadCount) : null;
        foreach (var connection in connections)
        {
            StartNext(connection, now);
        }
        while (inFlightCount > 0 || issuedCount < (schedule?.Count ?? 0))
        {
            Turn();
            if (stop.IsCancellationRequested)
            {
                throw new LoadException($"stopped after {Result.OperationCount} operations");
            }
        }
        EndedAt = ArrivalSchedule.Now;
    }

    ArrivalSchedule CreateSchedule(long now, double? seconds, double ratePerSecond)
    {
        var count = seconds is { } bound ? (long)(bound * ratePerSecond) : issuedLimit;
        // The threads take turns instead of sending at the same moment.
        var offset = (long)(thread * 1e9 / (ratePerSecond * workload.ThreadCount));
        return new ArrivalSchedule(now + offset, 1e9 / ratePerSecond, count);
    }

    void Turn()
    {
        if (schedule is not null)
        {
            SendDue(schedule);
        }
        var count = Native.Wait(epoll, events, WaitMilliseconds);
        if (count <= 0 && inFlightCount > 0 && ArrivalSchedule.Now - progressedAt > (long)(workload.TimeoutSeconds * 1e9))
        {
            throw new LoadException(
                $"{target.Name} did not answer for {workload.TimeoutSeconds} s ({inFlightCount} connections waiting, {Result.OperationCount} operations answered)");
        }
        for (var i = 0; i < count; i++)
        {
            var entry = events.AsSpan(i * Native.EventLengthBytes, Native.EventLengthBytes);
            var number = BinaryPrimitives.ReadInt32LittleEndian(entry[Native.EventDataOffset..]);
            if (number == TimerNumber)
            {
                continue;
            }
            var ready = BinaryPrimitives.ReadUInt32LittleEndian(entry);
            var connection = connections[number];
            if ((ready & Native.Writable) != 0)
            {
                SendRest(connection);
            }
            if ((ready & ~Native.Writable) != 0)
            {
                Receive(connection);
            }
        }
    }

    void StartNext(Connection connection, long now)
    {
        if (schedule is not null)
        {
            idle.Enqueue(connection);
        }
        else if (now < endsAt && issuedCount < issuedLimit)
        {
            Send(connection, (int)Math.Min(workload.PipelineDepth, issuedLimit - issuedCount), now);
        }
    }

    void SendDue(ArrivalSchedule arrivals)
    {
        var now = ArrivalSchedule.Now;
        if (now > arrivals.At(arrivals.Count) + OpenLoopDrainNanoseconds)
        {
            GiveUp(arrivals, now);
        }
        var due = arrivals.DueCount(now);
        while (issuedCount < due && idle.TryDequeue(out var connection))
        {
            Send(connection, (int)Math.Min(workload.PipelineDepth, due - issuedCount), now);
        }
        if (idle.Count == 0 || issuedCount == arrivals.Count)
        {
            // Without an idle connection, or with nothing left to send, only replies matter.
            Wake(0);
        }
        else if (timerSetTo <= now)
        {
            Wake(Math.Max(arrivals.At(issuedCount), now + WakeIntervalNanoseconds));
        }
    }

    /// <summary>Sets the timer, or disarms it with 0.</summary>
    void Wake(long at)
    {
        if (at != timerSetTo)
        {
            Native.SetTimer(timer, at);
            timerSetTo = at;
        }
    }

    /// <summary>The server is so far behind that what is due will not be sent: its wait so far still counts.</summary>
    void GiveUp(ArrivalSchedule arrivals, long now)
    {
        for (; issuedCount < arrivals.Count; issuedCount++)
        {
            Result.RecordUnsent(workload.GetRatio > 0, now - arrivals.At(issuedCount));
        }
    }

    void Send(Connection connection, int count, long now)
    {
        var length = 0;
        for (var i = 0; i < count; i++)
        {
            ref var operation = ref connection.Operations[i];
            operation.FirstKey = i * keysPerGet;
            operation.StartedAt = schedule is null ? now : schedule.At(issuedCount);
            var keys = connection.Keys.AsSpan(operation.FirstKey, keysPerGet);
            source.Next(ref operation, keys);
            var destination = requests.AsSpan(length);
            length += operation.IsGet
                ? WriteGet(keys[..operation.KeyCount], destination)
                : dataset.WriteSet(keys[0], destination);
            issuedCount++;
        }
        connection.OperationCount = count;
        connection.AnsweredCount = 0;
        inFlightCount++;

        var bytes = requests.AsSpan(0, length);
        var sent = SendSome(connection, bytes);
        if (sent < length)
        {
            connection.Unsent ??= new byte[requests.Length];
            bytes[sent..].CopyTo(connection.Unsent);
            connection.UnsentOffset = 0;
            connection.UnsentLength = length - sent;
            Native.ChangeInEpoll(epoll, connection.Descriptor, Native.Readable | Native.Writable, connection.Number);
        }
    }

    int WriteGet(ReadOnlySpan<uint> keys, Span<byte> destination)
    {
        "get"u8.CopyTo(destination);
        var position = 3;
        foreach (var key in keys)
        {
            destination[position] = (byte)' ';
            dataset.WriteKey(key, destination[(position + 1)..]);
            position += 1 + dataset.KeyLength;
        }
        "\r\n"u8.CopyTo(destination[position..]);
        return position + 2;
    }

    void SendRest(Connection connection)
    {
        var rest = connection.Unsent.AsSpan(connection.UnsentOffset, connection.UnsentLength);
        var sent = SendSome(connection, rest);
        connection.UnsentOffset += sent;
        connection.UnsentLength -= sent;
        if (connection.UnsentLength == 0)
        {
            Native.ChangeInEpoll(epoll, connection.Descriptor, Native.Readable, connection.Number);
            if (connection.IsAnswered)
            {
                FinishWhenSent(connection, ArrivalSchedule.Now);
            }
        }
    }

    int SendSome(Connection connection, ReadOnlySpan<byte> bytes)
    {
        var sent = Native.Send(connection.Descriptor, bytes);
        return sent >= 0 ? sent
            : Native.LastError is Native.WouldBlock or Native.Interrupted ? 0
            : throw Closed();
    }

    void Receive(Connection connection)
    {
        var isFresh = connection.TailLength == 0;
        var count = Native.Receive(connection.Descriptor, isFresh ? received : connection.Tail.AsSpan(connection.TailLength));
        if (count <= 0)
        {
            if (count < 0 && Native.LastError is Native.WouldBlock or Native.Interrupted)
            {
                return;
            }
            throw Closed();
        }
        var now = progressedAt = ArrivalSchedule.Now;
        var bytes = isFresh ? received.AsSpan(0, count) : connection.Tail.AsSpan(0, connection.TailLength + count);
        var answeredBefore = connection.AnsweredCount;
        var used = replies.Read(connection, bytes);
        Record(connection, answeredBefore, now);
        if (!connection.IsAnswered)
        {
            KeepTail(connection, bytes[used..]);
            return;
        }
        if (used < bytes.Length)
        {
            throw new LoadException($"{target.Name} sent {bytes.Length - used} bytes nobody asked for (after: {Result.FirstError ?? "no error"})");
        }
        connection.TailLength = 0;
        FinishWhenSent(connection, now);
    }

    /// <summary>A refused value is answered before all of it is sent; the rest must go out before the next batch does.</summary>
    void FinishWhenSent(Connection connection, long now)
    {
        if (connection.UnsentLength == 0)
        {
            inFlightCount--;
            StartNext(connection, now);
        }
    }

    /// <summary>Records what was answered, in runs of one start time and kind: a closed loop's batch is one run or few.</summary>
    void Record(Connection connection, int from, long now)
    {
        for (var i = from; i < connection.AnsweredCount;)
        {
            ref readonly var first = ref connection.Operations[i];
            var run = 0;
            do
            {
                run++;
                i++;
            }
            while (i < connection.AnsweredCount
                && connection.Operations[i].StartedAt == first.StartedAt
                && connection.Operations[i].IsGet == first.IsGet);
            Result.Record(first.IsGet, now - first.StartedAt, run);
        }
    }

    void KeepTail(Connection connection, ReadOnlySpan<byte> rest)
    {
        connection.TailLength = rest.Length;
        if (rest.IsEmpty)
        {
            return;
        }
        connection.Tail ??= GC.AllocateUninitializedArray<byte>(received.Length + dataset.ReplyLengthMax);
        if (rest.Length == connection.Tail.Length)
        {
            throw new LoadException($"{target.Name} sent a reply longer than any of this workload's");
        }
        rest.CopyTo(connection.Tail);
    }

    LoadException Closed() => new($"{target.Name} closed a connection after {Result.OperationCount} answered operations of this loop");

    public void Dispose()
    {
        foreach (var connection in connections)
        {
            if (connection is not null)
            {
                Native.Close(connection.Descriptor);
            }
        }
        Native.Close(timer);
        Native.Close(epoll);
    }
}
