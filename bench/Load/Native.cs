using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace LsmFs.Load;

/// <summary>
/// The few Linux calls of an epoll loop. Sockets stay blocking and every send and receive says MSG_DONTWAIT, so that connecting
/// needs no state machine.
/// </summary>
internal static unsafe partial class Native
{
    public const uint Readable = 0x1, Writable = 0x4;
    public const int WouldBlock = 11, Interrupted = 4;
    const int CloseOnExec = 0x80000, AddInterest = 1, ModifyInterest = 3;
    const int DoNotWait = 0x40, NoSignal = 0x4000;
    const int StreamSocket = 1, ProtocolTcp = 6, OptionNoDelay = 1;
    const int MonotonicClock = 1, AbsoluteTime = 1;
    const int SignalTerminate = 15;

    // struct epoll_event is packed on x86-64 and naturally aligned everywhere else.
    static readonly bool IsPacked = RuntimeInformation.ProcessArchitecture == Architecture.X64;
    public static readonly int EventLengthBytes = IsPacked ? 12 : 16;
    public static readonly int EventDataOffset = IsPacked ? 4 : 8;

    [LibraryImport("libc", SetLastError = true)]
    private static partial int socket(int domain, int type, int protocol);
    [LibraryImport("libc", SetLastError = true)]
    private static partial int connect(int socket, byte* address, uint length);
    [LibraryImport("libc", SetLastError = true)]
    private static partial int setsockopt(int socket, int level, int option, void* value, uint length);
    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_create1(int flags);
    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_ctl(int epoll, int operation, int descriptor, byte* @event);
    [LibraryImport("libc")]
    private static partial int epoll_wait(int epoll, byte* events, int count, int timeoutMilliseconds);
    [LibraryImport("libc", SetLastError = true)]
    private static partial nint send(int socket, byte* bytes, nint length, int flags);
    [LibraryImport("libc", SetLastError = true)]
    private static partial nint recv(int socket, byte* bytes, nint length, int flags);
    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(long* descriptors, ulong count, int timeoutMilliseconds);
    [LibraryImport("libc", SetLastError = true)]
    private static partial int timerfd_create(int clock, int flags);
    [LibraryImport("libc", SetLastError = true)]
    private static partial int timerfd_settime(int timer, int flags, long* interval, long* previous);
    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int CloseDescriptor(int descriptor);
    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);

    /// <summary>The error number of the send or receive just made on this thread.</summary>
    public static int LastError => Marshal.GetLastPInvokeError();

    public static int Connect(IPEndPoint server)
    {
        var address = server.Serialize();
        var family = server.AddressFamily == AddressFamily.InterNetworkV6 ? 10 : 2;
        var descriptor = Checked(socket(family, StreamSocket | CloseOnExec, 0), "socket");
        fixed (byte* bytes = address.Buffer.Span)
        {
            if (connect(descriptor, bytes, (uint)address.Size) != 0)
            {
                var reason = Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError());
                Close(descriptor);
                throw new LoadException($"cannot connect to {server}: {reason}");
            }
        }
        var on = 1;
        Checked(setsockopt(descriptor, ProtocolTcp, OptionNoDelay, &on, sizeof(int)), "setsockopt");
        return descriptor;
    }

    public static int CreateEpoll() => Checked(epoll_create1(CloseOnExec), "epoll_create1");

    public static void AddToEpoll(int epoll, int descriptor, uint events, int data) =>
        Control(epoll, AddInterest, descriptor, events, data);

    public static void ChangeInEpoll(int epoll, int descriptor, uint events, int data) =>
        Control(epoll, ModifyInterest, descriptor, events, data);

    static void Control(int epoll, int operation, int descriptor, uint events, int data)
    {
        var @event = stackalloc byte[16];
        *(uint*)@event = events;
        *(ulong*)(@event + EventDataOffset) = (uint)data;
        Checked(epoll_ctl(epoll, operation, descriptor, @event), "epoll_ctl");
    }

    public static int Wait(int epoll, Span<byte> events, int timeoutMilliseconds)
    {
        fixed (byte* bytes = events)
        {
            return epoll_wait(epoll, bytes, events.Length / EventLengthBytes, timeoutMilliseconds);
        }
    }

    /// <summary>Bytes taken by the kernel, or -1 with <see cref="LastError"/>.</summary>
    public static int Send(int descriptor, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            return (int)send(descriptor, start, bytes.Length, DoNotWait | NoSignal);
        }
    }

    /// <summary>Bytes received, 0 when the peer closed, or -1 with <see cref="LastError"/>.</summary>
    public static int Receive(int descriptor, Span<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            return (int)recv(descriptor, start, bytes.Length, DoNotWait);
        }
    }

    /// <summary>Waits until a receive has something, for some seconds at most.</summary>
    public static void AwaitReadable(int descriptor)
    {
        const int TimeoutMilliseconds = 15_000;
        // struct pollfd: the descriptor, and 16 bits each of what is wanted and of what there is.
        var entry = (long)(((ulong)Readable << 32) | (uint)descriptor);
        poll(&entry, 1, TimeoutMilliseconds);
    }

    public static int CreateTimer() => Checked(timerfd_create(MonotonicClock, CloseOnExec), "timerfd_create");

    /// <summary>Makes the timer readable at a moment of the clock that Stopwatch reads; setting it anew takes readiness back.</summary>
    public static void SetTimer(int timer, long atNanoseconds)
    {
        var interval = stackalloc long[4];
        interval[0] = interval[1] = 0;
        interval[2] = atNanoseconds / 1_000_000_000;
        interval[3] = atNanoseconds % 1_000_000_000;
        Checked(timerfd_settime(timer, AbsoluteTime, interval, null), "timerfd_settime");
    }

    public static void Close(int descriptor) => CloseDescriptor(descriptor);

    public static void Terminate(int process) => Signal(process, SignalTerminate);

    static int Checked(int result, string call) =>
        result >= 0
            ? result
            : throw new LoadException($"{call}: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");
}
