using System.Runtime.InteropServices;

namespace LsmFs.Host;

/// <summary>A connected socket watched by an epoll loop. The key tells this channel's events from those of a closed one in the same slot.</summary>
internal sealed unsafe class EpollChannel(EpollLoop loop, int descriptor, Origin origin, ulong key) : Channel(origin)
{
    private bool _isWatched;
    private bool _isClosed;

    /// <summary>What events of this channel carry.</summary>
    public ulong Key => key;

    public Connection Connection { get; set; } = null!;

    public override int Receive(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            while (true)
            {
                nint count = Libc.recv(descriptor, start, buffer.Length, Libc.MessageDontWait);

                if (count >= 0)
                {
                    return (int)count;
                }

                switch (Marshal.GetLastPInvokeError())
                {
                    case Libc.Interrupted:
                        continue;
                    case Libc.TryAgain:
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
            while (true)
            {
                nint count = Libc.send(descriptor, start, bytes.Length, Libc.MessageDontWait | Libc.MessageNoSignal);

                if (count >= 0)
                {
                    return (int)count;
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

    public override void AwaitReadable() => Await(Interest.Readable, Epoll.Readable);

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
        if (_isWatched && Interest == interest)
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
