using System.Runtime.InteropServices;

namespace LsmFs.Host;

// Invariant: when the channel waits for bytes and HasUnread is false, an event will come for every byte, and for the peer's end, that was not received yet.

/// <summary>A connected socket watched by an epoll loop. The key tells this channel's events from those of a closed one in the same slot.</summary>
internal sealed unsafe class EpollChannel(EpollLoop loop, int descriptor, Origin origin, ulong key) : Channel(origin)
{
    private bool _isWatched;
    private bool _isEnding;
    private bool _isClosed;

    /// <summary>What events of this channel carry.</summary>
    public ulong Key => key;

    public Connection Connection { get; set; } = null!;

    /// <summary>Takes note of an event, which is not reported a second time.</summary>
    public void Report(uint events)
    {
        HasUnread = true;
        _isEnding |= (events & ~Epoll.Readable) != 0;
    }

    public override int Receive(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            // Most find something, and need no error kept for them.
            nint count = Libc.recvWithoutError(descriptor, start, buffer.Length, Libc.MessageDontWait);

            while (true)
            {
                if (count >= 0)
                {
                    // A receive that left room has taken everything; behind it can only be the end, which may have come with the same event.
                    HasUnread = count == buffer.Length || _isEnding;
                    return (int)count;
                }

                count = Libc.recv(descriptor, start, buffer.Length, Libc.MessageDontWait);

                if (count >= 0)
                {
                    continue;
                }

                switch (Marshal.GetLastPInvokeError())
                {
                    case Libc.Interrupted:
                        continue;
                    case Libc.TryAgain:
                        HasUnread = false;
                        return NothingNow;
                    default:
                        return Broken;
                }
            }
        }
    }

    public override int Send(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            nint count = Libc.sendWithoutError(descriptor, start, bytes.Length, Libc.MessageDontWait | Libc.MessageNoSignal);

            while (true)
            {
                if (count >= 0)
                {
                    return (int)count;
                }

                count = Libc.send(descriptor, start, bytes.Length, Libc.MessageDontWait | Libc.MessageNoSignal);

                if (count >= 0)
                {
                    continue;
                }

                switch (Marshal.GetLastPInvokeError())
                {
                    case Libc.Interrupted:
                        continue;
                    case Libc.TryAgain or Libc.NoBufferSpace:
                        return 0;
                    default:
                        return Broken;
                }
            }
        }
    }

    public override void AwaitReadable() => Await(Interest.Readable, Epoll.Readable | Epoll.Ended | Epoll.OnceForEach);

    public override void AwaitWritable(ReadOnlySpan<byte> unsent) => Await(Interest.Writable, Epoll.Writable);

    public override void AwaitNothing() => Await(Interest.None, 0);

    public override void Close(bool orderly)
    {
        if (_isClosed)
        {
            return;
        }

        _isClosed = true;

        if (orderly)
        {
            Libc.shutdown(descriptor, Libc.ShutdownWrite);
            DiscardArrived(loop.ReceiveBuffer);
        }

        // Closing the only reference to the socket also takes it out of epoll.
        Libc.close(descriptor);
        loop.Free(key);
    }

    private void Await(Interest interest, uint events)
    {
        if (_isWatched && Interest == interest && !(HasUnread && interest == Interest.Readable))
        {
            return;
        }

        Interest = interest;

        if (_isWatched)
        {
            loop.Epoll.Change(descriptor, events, key);
        }
        else
        {
            loop.Epoll.Watch(descriptor, events, key);
            _isWatched = true;
        }
    }
}
