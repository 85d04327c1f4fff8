using LsmFs.Engine;

namespace LsmFs.Host;

// `stats`, but for the lists of keys.
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

        if (request.Topic != StatsTopic.Cachedump)
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
}
