using System.Diagnostics;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>An event loop on a thread of its own that waits in epoll. One receive and one send for each event that can do with them; those of a turn follow each other.</summary>
internal sealed class EpollLoop : EventLoop
{
    private const ulong WakeKey = ulong.MaxValue;

    private readonly ArrivalBatch _arrivals;
    private readonly WakeEvent _wake = new();
    private readonly Thread _thread;
    private readonly Stack<int> _freeSlots = new();
    private EpollChannel?[] _slots = new EpollChannel?[64];
    private int _slotCount;
    private uint _generation;
    private int _servedCount;
    private Gathering _gathering = GatheringModule.initial;

    public EpollLoop(Server server, Store store, ILogger logger, int index) : base(server, store, logger)
    {
        _arrivals = new ArrivalBatch(this);
        Epoll.Watch(_wake.Descriptor, Epoll.Readable, WakeKey);
        _thread = new Thread(Run) { IsBackground = true, Name = $"loop {index}" };
    }

    public Epoll Epoll { get; } = new();

    public void Start() => _thread.Start();

    /// <summary>Takes over an accepted socket. Any thread.</summary>
    public void Accept(int descriptor, Origin origin) => Post(() => Open(descriptor, origin));

    /// <summary>Lets the slot of a closed channel be used again; events of the old one no longer fit it.</summary>
    public void Free(ulong key)
    {
        int slot = (int)(uint)key;
        _slots[slot] = null;
        _freeSlots.Push(slot);
    }

    public override void Dispose()
    {
        _thread.Join();
        _wake.Dispose();
        Epoll.Dispose();
        base.Dispose();
    }

    protected override void Wake() => _wake.Signal();

    private void Run()
    {
        while (!Stopped.IsCompleted)
        {
            try
            {
                Turn();
            }
            catch (Exception exception)
            {
                // Connections guard themselves, so this is the loop's own failure: staying up slowly beats taking the process down.
                Logger.LogError("An event loop failed and goes on: {Reason}", exception.ToString().ReplaceLineEndings(" "));
                Thread.Sleep(10);
            }
        }
    }

    private void Turn()
    {
        if (!HasWorkLeft)
        {
            Gather();
        }

        int count = Epoll.Wait(HasWorkLeft ? 0 : -1);

        for (int index = 0; index < count; index++)
        {
            if (Epoll[index].Data == WakeKey)
            {
                _wake.Clear();
            }
        }

        BeginTurn();

        for (int index = 0; index < count; index++)
        {
            (uint events, ulong key) = Epoll[index];

            if (key != WakeKey && _slots[(int)(uint)key] is { } channel && channel.Key == key)
            {
                _servedCount++;
                Dispatch(channel, events);
            }
        }

        _arrivals.Serve();
        EndTurn();
    }

    /// <summary>Lets other threads run, where more will have arrived afterwards.</summary>
    private void Gather()
    {
        _gathering = GatheringModule.next(Stopwatch.GetTimestamp(), _servedCount, in _gathering);
        _servedCount = 0;

        if (GatheringModule.isOn(in _gathering))
        {
            Thread.Yield();
        }
    }

    private void Dispatch(EpollChannel channel, uint events)
    {
        Connection connection = channel.Connection;

        switch (channel.Interest)
        {
            case Interest.Writable:
                connection.OnWritable(0);
                break;
            case Interest.Readable:
                channel.Report(events);

                if (!_arrivals.TryReceive(connection))
                {
                    connection.OnReadable();
                }

                break;
            case Interest.None when (events & (Epoll.Failed | Epoll.HungUp)) != 0:
                // Nobody is there to take the replies, and epoll would report it for ever.
                connection.Close();
                break;
        }
    }

    private void Open(int descriptor, Origin origin)
    {
        if (!_freeSlots.TryPop(out int slot))
        {
            slot = _slotCount++;

            if (slot == _slots.Length)
            {
                Array.Resize(ref _slots, _slots.Length * 2);
            }
        }

        var channel = new EpollChannel(this, descriptor, origin, ((ulong)++_generation << 32) | (uint)slot);
        channel.Connection = new Connection(this, channel);
        _slots[slot] = channel;
        Add(channel.Connection);
    }
}
