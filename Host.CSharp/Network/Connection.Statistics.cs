using System.Buffers;
using LsmFs.Engine;

namespace LsmFs.Host;

// `stats`; lists of keys and of connections, and what waits for the items to be counted, are only begun here.
internal sealed partial class Connection
{
    /// <summary>Answers a `stats` line; false when it must wait.</summary>
    private bool TryAnswerStatistics(in Command command, ReadOnlySpan<byte> input)
    {
        if (MustWaitForCommit() || !HasRoom(ServerStatistics.ReplyLengthMax))
        {
            return false;
        }

        Server server = loop.Server;
        StatsRequest request = StatsRequestModule.understand(
            input.Slice(command.KeyOffset, command.KeysLength), server.Options.Restrictions);

        if (request.Topic == StatsTopic.Conns)
        {
            _dump = new ConnectionDump(loop, this, request.Reply);
        }
        else if (StatisticsDump.IsFor(request))
        {
            _dump = new StatisticsDump(loop, this, request, []);
        }
        else if (request.Topic != StatsTopic.Cachedump)
        {
            _sendLength += ServerStatistics.Write(server, request, loop.SendBuffer.AsSpan(_sendLength));
        }
        else if (server.TryBeginCrawl())
        {
            _dump = new KeyDump(loop, this, KeyListing.ofStats(request));
        }
        else
        {
            Put(Reply.line(ReplyCode.CrawlerBusy));
        }

        return true;
    }

    /// <summary>Answers a binary `stat`; false when it must wait.</summary>
    private bool TryAnswerBinaryStatistics(in Command command, ReadOnlySpan<byte> input)
    {
        if (MustWaitForCommit() || !HasRoom(Answer.codeLengthMax))
        {
            return false;
        }

        Server server = loop.Server;
        StatsRequest request = StatsRequestModule.understand(
            input.Slice(command.KeyOffset, command.KeysLength), server.Options.Restrictions);

        if (request.Topic is StatsTopic.Cachedump or StatsTopic.Conns)
        {
            // As memcached has it.
            PutCode(ReplyCode.NotFound, Dialect.Binary, input);
            return true;
        }

        if (StatisticsDump.IsFor(request))
        {
            _dump = new StatisticsDump(loop, this, request, input[..BinaryFormat.headerLength].ToArray());
            return true;
        }

        byte[] lines = ArrayPool<byte>.Shared.Rent(ServerStatistics.ReplyLengthMax);
        var packets = new ByteBuffer(ServerStatistics.ReplyLengthMax);
        StatisticsDump.AppendPackets(packets, input, lines.AsSpan(0, ServerStatistics.Write(server, request, lines)));
        Write(packets.Written);
        ArrayPool<byte>.Shared.Return(lines);
        return true;
    }
}
