using System.Buffers;
using LsmFs.Engine;

namespace LsmFs.Host;

// `stats`; lists of keys and of connections are only begun here.
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

        const int TextLengthMax = ServerStatistics.ReplyLengthMax;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(TextLengthMax + BinaryReply.statisticsLengthMax(TextLengthMax));
        Span<byte> packets = buffer.AsSpan(TextLengthMax);
        int length = ServerStatistics.Write(server, request, buffer);
        Write(packets[..BinaryReply.writeStatistics(packets, input, buffer.AsSpan(0, length))]);
        ArrayPool<byte>.Shared.Return(buffer);
        return true;
    }
}
