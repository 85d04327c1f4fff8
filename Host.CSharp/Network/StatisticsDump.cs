using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// The answer to a `stats` line that tells how many items there are, which may have to be counted first. <paramref name="binaryHeader"/> is the
/// header of the request when it is a binary one, empty else.
/// </summary>
internal sealed class StatisticsDump(EventLoop loop, Connection connection, StatsRequest request, byte[] binaryHeader) : Dump(loop, connection)
{
    public override ConnectionFacts Facts => ConnectionFacts.HasWork;

    protected override ReadOnlySpan<byte> Apology => "SERVER_ERROR the statistics cannot be told, see the server's log\r\n"u8;

    /// <summary>Whether the answer to this request is made here, and not in the loop's turn.</summary>
    public static bool IsFor(StatsRequest request) => request.Topic is StatsTopic.General or StatsTopic.Items;

    /// <summary>The packets of the binary answer to a request whose answer in the text protocol is <paramref name="lines"/>.</summary>
    public static void AppendPackets(ByteBuffer target, ReadOnlySpan<byte> header, ReadOnlySpan<byte> lines)
    {
        int lengthMax = BinaryReply.statisticsLengthMax(lines.Length);
        int start = target.Length;
        int length = BinaryReply.writeStatistics(target.Reserve(lengthMax), header, lines);
        target.Truncate(start + length);
    }

    protected override bool Append(ByteBuffer piece)
    {
        if (binaryHeader.Length == 0)
        {
            AppendLines(piece);
        }
        else
        {
            var lines = new ByteBuffer(ServerStatistics.ReplyLengthMax);
            AppendLines(lines);
            AppendPackets(piece, binaryHeader, lines.Written);
        }

        return true;
    }

    protected override void Release()
    {
    }

    private void AppendLines(ByteBuffer target)
    {
        int start = target.Length;
        int length = ServerStatistics.Write(Loop.Server, request, target.Reserve(ServerStatistics.ReplyLengthMax));
        target.Truncate(start + length);
    }
}
