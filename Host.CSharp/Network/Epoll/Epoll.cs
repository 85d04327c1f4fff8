using System.ComponentModel;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace LsmFs.Host;

// struct epoll_event:
//
//   x86-64 (packed)             elsewhere
//   0        4                  0        4         8
//   +--------+--------+         +--------+---------+--------+
//   | events | data   |         | events | padding | data   |
//   | u32    | u64    |         | u32    |         | u64    |
//   +--------+--------+         +--------+---------+--------+

/// <summary>One epoll instance and the array its events arrive in. Closing belongs to the thread that waits.</summary>
internal sealed unsafe partial class Epoll : IDisposable
{
    public const uint Readable = 1;
    public const uint Writable = 4;
    public const uint Failed = 8;
    public const uint HungUp = 16;

    /// <summary>The peer sends no more.</summary>
    public const uint Ended = 0x2000;

    /// <summary>What has come is reported once, and again when more comes or the interest is changed; without it, at every wait for as long as it is there.</summary>
    public const uint OnceForEach = 1u << 31;

    private const int EventCountMax = 512;
    private const int Add = 1;
    private const int Delete = 2;
    private const int Modify = 3;

    private static readonly bool IsPacked = RuntimeInformation.ProcessArchitecture == Architecture.X64;
    private static readonly int EventLength = IsPacked ? 12 : 16;
    private static readonly int DataOffset = IsPacked ? 4 : 8;

    private readonly int _descriptor;
    private readonly byte* _events = (byte*)NativeMemory.AllocZeroed(EventCountMax * 16);

    public Epoll()
    {
        _descriptor = epoll_create1(Libc.CloseOnExec);

        if (_descriptor < 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Waits for events and returns how many came; 0 after <paramref name="timeoutMilliseconds"/>, where -1 means never.</summary>
    public int Wait(int timeoutMilliseconds)
    {
        int count = epoll_wait(_descriptor, _events, EventCountMax, timeoutMilliseconds);

        if (count >= 0)
        {
            return count;
        }

        int error = Marshal.GetLastPInvokeError();
        return error == Libc.Interrupted ? 0 : throw new Win32Exception(error);
    }

    /// <summary>What happened in the event at <paramref name="index"/>, and the data its descriptor was added with.</summary>
    public (uint Events, ulong Data) this[int index]
    {
        get
        {
            byte* at = _events + index * EventLength;
            return (Unsafe.ReadUnaligned<uint>(at), Unsafe.ReadUnaligned<ulong>(at + DataOffset));
        }
    }

    /// <summary>Starts to watch a descriptor.</summary>
    public void Watch(int watched, uint interest, ulong data) => Control(Add, watched, interest, data);

    /// <summary>Changes what a watched descriptor is watched for.</summary>
    public void Change(int watched, uint interest, ulong data) => Control(Modify, watched, interest, data);

    /// <summary>Stops to watch a descriptor.</summary>
    public void Forget(int watched) => Control(Delete, watched, 0, 0);

    public void Dispose()
    {
        Libc.close(_descriptor);
        NativeMemory.Free(_events);
    }

    private void Control(int operation, int watched, uint interest, ulong data)
    {
        byte* change = stackalloc byte[16];
        Unsafe.WriteUnaligned(change, interest);
        Unsafe.WriteUnaligned(change + DataOffset, data);

        if (epoll_ctl(_descriptor, operation, watched, change) != 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_create1(int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_ctl(int instance, int operation, int watched, byte* change);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_wait(int instance, byte* events, int eventCountMax, int timeoutMilliseconds);
}
