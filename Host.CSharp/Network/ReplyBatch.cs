using System.Runtime.CompilerServices;

namespace LsmFs.Host;

// Invariants
//   1. A connection has at most one part of the batch, so its bytes leave in their order.
//   2. Nothing is in the batch between two turns, and none of a connection that closes orderly.

/// <summary>
/// Replies of a turn that are sent together when it ends. The system calls are as many, but what they run through stays in the processor's cache, and a client
/// with several connections wakes up once for all of them.
/// </summary>
internal sealed class ReplyBatch
{
    /// <summary>Longer replies are sent at once: copying them would cost more than it saves.</summary>
    private const int LengthMax = 16 * 1024;

    /// <summary>Connections whose replies wait for each other at most.</summary>
    private const int PartCountMax = 64;

    private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(EventLoop.SendBufferLength, pinned: true);
    private readonly BatchPart[] _parts = new BatchPart[PartCountMax];
    private int _length;
    private int _count;

    /// <summary>
    /// Takes a copy of the bytes, to be sent by <see cref="Send"/>. False: it takes none, and has nothing of the connection any more, which may have output left or
    /// be closed now.
    /// </summary>
    public bool TryTake(Connection connection, ReadOnlySpan<byte> bytes)
    {
        bool fits = bytes.Length <= LengthMax && bytes.Length <= _bytes.Length - _length;

        if (connection.IsInBatch)
        {
            ref BatchPart last = ref _parts[_count - 1];

            if (!fits || last.Connection != connection)
            {
                Send();
                return false;
            }

            last.Length += Copy(bytes);
            return true;
        }

        if (bytes.Length > LengthMax)
        {
            return false;
        }

        if (!fits || _count == PartCountMax)
        {
            Send();
        }

        int start = _length;
        _parts[_count++] = new BatchPart { Connection = connection, Start = start, Length = Copy(bytes) };
        connection.IsInBatch = true;
        return true;
    }

    /// <summary>Sends everything that was taken.</summary>
    public void Send()
    {
        // Sending closes connections at most, and takes nothing more.
        for (int index = 0; index < _count; index++)
        {
            ref BatchPart part = ref _parts[index];
            part.Connection.IsInBatch = false;
            part.Connection.SendBatched(_bytes.AsSpan(part.Start, part.Length));
            part = default;
        }

        _count = 0;
        _length = 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Copy(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_bytes.AsSpan(_length));
        _length += bytes.Length;
        return bytes.Length;
    }
}
