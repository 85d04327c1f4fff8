using System.Buffers.Binary;
using System.Net;

namespace LsmFs.Host;

// struct sockaddr_in            struct sockaddr_in6
//
//   0        2      4         8   0        2      4       8         24
//   +--------+------+---------+   +--------+------+-------+---------+-------+
//   | family | port | address |   | family | port | flow  | address | scope |
//   | u16    | u16  | 4 bytes |   | u16    | u16  | u32   | 16 bytes| u32   |
//   +--------+------+---------+   +--------+------+-------+---------+-------+
//
// The family is in the machine's byte order, the port in the network's.

/// <summary>The names of sockets as the kernel tells them.</summary>
internal static unsafe class SocketName
{
    /// <summary>Bytes of the longest name that is looked at.</summary>
    public const int LengthMax = 28;

    private const int FamilyIPv4 = 2;
    private const int FamilyIPv6 = 10;

    /// <summary>The address in a name of <see cref="LengthMax"/> bytes; null when it is none of TCP.</summary>
    public static IPEndPoint? Parse(ReadOnlySpan<byte> name)
    {
        int port = BinaryPrimitives.ReadUInt16BigEndian(name[2..]);

        return BitConverter.ToUInt16(name) switch
        {
            FamilyIPv4 => new IPEndPoint(new IPAddress(name.Slice(4, 4)), port),
            FamilyIPv6 => new IPEndPoint(new IPAddress(name.Slice(8, 16)), port),
            _ => null,
        };
    }

    /// <summary>The address of this end of a connection.</summary>
    public static IPEndPoint? Local(int descriptor)
    {
        byte* name = stackalloc byte[LengthMax];
        uint length = LengthMax;
        return Libc.getsockname(descriptor, name, &length) == 0 ? Parse(new ReadOnlySpan<byte>(name, LengthMax)) : null;
    }
}
