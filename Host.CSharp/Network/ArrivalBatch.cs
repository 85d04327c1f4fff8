using LsmFs.Engine;

namespace LsmFs.Host;

// Invariants
//   1. A connection has at most one part of the batch, and nothing of its input outside of it.
//   2. Nothing is in the batch between two turns: what was received is served, or its connection is closed.

/// <summary>
/// What has arrived for some connections of a turn, received before any of it is served. The system calls follow each other, one snapshot serves all, and the
/// processor fetches what the lookups will read side by side.
/// </summary>
internal sealed class ArrivalBatch(EventLoop loop)
{
    /// <summary>Connections at most: one key of each is fetched, and more are not fetched side by side.</summary>
    private const int PartCountMax = EventLoop.ComingCountMax;

    /// <summary>Where a part may begin: two in one cache line are no gain.</summary>
    private const int Alignment = 64;

    private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(2 * EventLoop.ReceiveBufferLength, pinned: true);
    private readonly BatchPart[] _parts = new BatchPart[PartCountMax];
    private int _length;
    private int _count;

    /// <summary>Receives what has arrived for the connection, to be served by <see cref="Serve"/>. False: the connection must receive for itself.</summary>
    public bool TryReceive(Connection connection)
    {
        if (!connection.CanReceiveApart)
        {
            return false;
        }

        if (_count == PartCountMax || _bytes.Length - _length < EventLoop.ReceiveBufferLength)
        {
            Serve();
        }

        int count = connection.ReceiveApart(_bytes.AsSpan(_length, EventLoop.ReceiveBufferLength));

        if (count >= 0)
        {
            _parts[_count++] = new BatchPart { Connection = connection, Start = _length, Length = count };
            _length += (count + Alignment - 1) & -Alignment;
        }

        return true;
    }

    /// <summary>Serves everything that was received.</summary>
    public void Serve()
    {
        if (_count == 0)
        {
            return;
        }

        Span<BatchPart> parts = _parts.AsSpan(0, _count);
        _count = 0;
        _length = 0;

        try
        {
            loop.LeaveSnapshot();

            if (parts.Length > 1 && loop.IsWorthFetching)
            {
                Fetch(parts);
            }
        }
        catch (Exception exception)
        {
            // What was received is lost with the batch.
            foreach (ref readonly BatchPart part in parts)
            {
                part.Connection.Fail(exception);
            }
        }

        // Connections guard themselves, and receive nothing into the batch meanwhile.
        foreach (ref readonly BatchPart part in parts)
        {
            part.Connection.OnArrived(_bytes, part.Start, part.Length);
        }

        // Closed connections must not live on in here.
        parts.Clear();
    }

    /// <summary>Fetches the keys of connections that ask for one alone; those that ask for several fetch their own.</summary>
    private void Fetch(Span<BatchPart> parts)
    {
        ComingKey[] keys = loop.ComingKeys;
        int count = 0;

        foreach (ref readonly BatchPart part in parts)
        {
            if (part.Connection.TryFindComing(_bytes.AsSpan(part.Start, part.Length), out ComingKey key))
            {
                keys[count++] = ComingKey.At(part.Start + key.Offset, key.Length);
            }
        }

        if (count > 1)
        {
            loop.EnterSnapshot().Fetch(_bytes, keys.AsSpan(0, count));
        }
    }
}
