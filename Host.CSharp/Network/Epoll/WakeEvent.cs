using System.ComponentModel;
using System.Runtime.InteropServices;

namespace LsmFs.Host;

/// <summary>An eventfd: any thread wakes the one that waits for it in epoll. Signals between two waits are one.</summary>
internal sealed unsafe class WakeEvent : IDisposable
{
    private readonly Lock _gate = new();
    private int _pending;
    private bool _isDisposed;

    public WakeEvent()
    {
        Descriptor = Libc.eventfd(0, Libc.NonBlocking | Libc.CloseOnExec);

        if (Descriptor < 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
    }

    public int Descriptor { get; }

    /// <summary>Wakes the waiting thread. Any thread, also after disposal, when it does nothing.</summary>
    public void Signal()
    {
        if (Interlocked.Exchange(ref _pending, 1) != 0)
        {
            return;
        }

        // The lock keeps a late signal from writing to a descriptor that was closed and given to someone else.
        lock (_gate)
        {
            if (!_isDisposed)
            {
                ulong one = 1;
                Libc.write(Descriptor, &one, sizeof(ulong));
            }
        }
    }

    /// <summary>Takes the signal, before the waiting thread looks at what it was woken for.</summary>
    public void Clear()
    {
        ulong count;
        Libc.read(Descriptor, &count, sizeof(ulong));
        Interlocked.Exchange(ref _pending, 0);
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (!_isDisposed)
            {
                _isDisposed = true;
                Libc.close(Descriptor);
            }
        }
    }
}
