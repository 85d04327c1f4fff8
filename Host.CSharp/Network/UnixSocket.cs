using System.ComponentModel;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;

namespace LsmFs.Host;

/// <summary>
/// A listening socket that has a path. The file is there as long as the socket listens: one that a crash has left behind is replaced, and nothing else ever is.
/// </summary>
internal static unsafe class UnixSocket
{
    /// <summary>Bytes that a path may have: sun_path of Linux, without its final zero.</summary>
    private const int PathLengthMax = 107;

    private const int AddressFamilyLength = 2;
    private const ushort AddressFamilyUnix = 1;

    /// <summary>What a path of the file system stands for; a file is told from another that takes its name later.</summary>
    public readonly record struct Identity(uint DeviceMajor, uint DeviceMinor, ulong Number);

    /// <summary>Binds and listens. Whoever <paramref name="mode"/> keeps out never gets in: nobody can connect before the mode is set.</summary>
    /// <exception cref="ListenException">It cannot be listened on.</exception>
    public static Socket Open(string path, UnixFileMode mode, int backlogCount, out Identity identity)
    {
        if (Encoding.UTF8.GetByteCount(path) > PathLengthMax)
        {
            throw new ListenException($"cannot listen on {path}: the path of a socket may have {PathLengthMax} bytes; choose a shorter one with -s");
        }

        MakeWay(path);
        Socket? socket = null;

        try
        {
            socket = Bind(path);

            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(path, mode);
            }

            TryIdentify(path, out identity, out _);
            socket.Listen(backlogCount);
            return socket;
        }
        catch (Exception exception) when (exception is SocketException or IOException or UnauthorizedAccessException)
        {
            socket?.Dispose();
            throw new ListenException($"cannot listen on {path}: {Reason(exception)}", exception);
        }
    }

    /// <summary>Removes the file of a socket, unless its name stands for something else by now.</summary>
    public static void Remove(string path, Identity identity)
    {
        if (TryIdentify(path, out Identity current, out bool isSocket) && isSocket && current == identity)
        {
            try
            {
                File.Delete(path);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // Whoever serves as another user may have lost the right to; the next start replaces the file.
            }
        }
    }

    /// <summary>Removes a socket on which nobody listens any more.</summary>
    private static void MakeWay(string path)
    {
        if (!TryIdentify(path, out _, out bool isSocket))
        {
            return;
        }

        if (!isSocket)
        {
            throw new ListenException($"cannot listen on {path}: there is a file of this name, which is no socket; remove it, or choose another path with -s");
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };

        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionRefused)
        {
            try
            {
                File.Delete(path);
                return;
            }
            catch (Exception refusal) when (refusal is IOException or UnauthorizedAccessException)
            {
                throw new ListenException($"cannot listen on {path}: a socket is left over there and cannot be removed: {refusal.Message}", refusal);
            }
        }
        catch (SocketException exception) when (exception.SocketErrorCode is SocketError.AccessDenied)
        {
            throw new ListenException($"cannot listen on {path}: a socket of another user is there; choose another path with -s", exception);
        }
        catch (SocketException)
        {
            // Somebody is there who has no time at the moment.
        }

        throw new ListenException($"cannot listen on {path}: another process listens there; choose another path with -s");
    }

    // The base library's bind would delete whatever has the socket's name when the socket is closed.
    private static Socket Bind(string path)
    {
        if (!OperatingSystem.IsLinux())
        {
            var bound = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            bound.Bind(new UnixDomainSocketEndPoint(path));
            return bound;
        }

        byte* address = stackalloc byte[AddressFamilyLength + PathLengthMax + 1];
        *(ushort*)address = AddressFamilyUnix;
        int length = Encoding.UTF8.GetBytes(path, new Span<byte>(address + AddressFamilyLength, PathLengthMax));
        address[AddressFamilyLength + length] = 0;
        int descriptor = Libc.socket(AddressFamilyUnix, Libc.SocketStream | Libc.CloseOnExec, 0);

        if (descriptor < 0)
        {
            throw new SocketException(Marshal.GetLastPInvokeError());
        }

        if (Libc.bind(descriptor, address, (uint)(AddressFamilyLength + length + 1)) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            Libc.close(descriptor);
            throw new IOException(new Win32Exception(error).Message);
        }

        return new Socket(new SafeSocketHandle(descriptor, ownsHandle: true));
    }

    /// <summary>Whether there is something at a path, links not followed. Where the system is not Linux all that is there is a file.</summary>
    private static bool TryIdentify(string path, out Identity identity, out bool isSocket)
    {
        identity = default;
        isSocket = false;

        if (!OperatingSystem.IsLinux())
        {
            return Path.Exists(path);
        }

        byte* status = stackalloc byte[Libc.StatusLength];

        if (Libc.statx(Libc.CurrentFolder, path, Libc.NoFollow, Libc.StatusBasic, status) != 0)
        {
            return false;
        }

        identity = new Identity(
            *(uint*)(status + Libc.StatusDeviceMajor),
            *(uint*)(status + Libc.StatusDeviceMinor),
            *(ulong*)(status + Libc.StatusNumber));
        isSocket = (*(ushort*)(status + Libc.StatusMode) & Libc.FileTypeMask) == Libc.FileTypeSocket;
        return true;
    }

    private static string Reason(Exception exception) =>
        exception is SocketException socketException ? new Win32Exception(socketException.NativeErrorCode).Message : exception.Message;
}
