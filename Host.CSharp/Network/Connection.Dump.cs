using LsmFs.Engine;

namespace LsmFs.Host;

// `lru_crawler`, `stats cachedump` and `stats conns`: lists, which are sent piece by piece while everything behind them in the pipeline waits.
internal sealed partial class Connection
{
    // Not null: a list is under way, and the commands behind it wait.
    private Dump? _dump;

    /// <summary>A piece of the list is ready.</summary>
    public void OnDumped(Dump dump)
    {
        if (_isClosed || _dump != dump)
        {
            return;
        }

        try
        {
            _workLeft = loop.WorkMax;
            _lastMoveSeconds = loop.ClockSeconds;
            Write(dump.Piece);

            if (dump.IsComplete)
            {
                _dump = null;
            }

            ServeKept();
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>Carries out an `lru_crawler` line; false when it must wait.</summary>
    private bool TryCrawl(in Command command, ReadOnlySpan<byte> input)
    {
        if (MustWaitForCommit() || !HasRoom(2 * Reply.lineLengthMax))
        {
            return false;
        }

        Server server = loop.Server;
        CrawlerRequest request = CrawlerRequestModule.understand(
            input.Slice(command.KeyOffset, command.KeysLength), server.IsCrawlerEnabled, server.Options.Restrictions);
        ReplyCode reply = request.Reply;

        switch (request.Action)
        {
            case CrawlerAction.Enable:
                server.IsCrawlerEnabled = true;
                break;
            case CrawlerAction.Disable:
                server.IsCrawlerEnabled = false;
                break;
            case CrawlerAction.Metadump or CrawlerAction.Mgdump when server.TryBeginCrawl():
                server.CountCrawl();
                Put(Reply.line(request.Start));
                // Its first piece is asked for once the replies before it are sent.
                _dump = new KeyDump(loop, this, KeyListing.ofCrawler(request));
                return true;
            case CrawlerAction.Metadump or CrawlerAction.Mgdump:
                reply = ReplyCode.CrawlerBusy;
                break;
        }

        if (!command.NoReply)
        {
            Put(Reply.line(reply == request.Reply ? request.Start : ReplyCode.None));
            Put(Reply.line(reply));
        }

        return true;
    }

    /// <summary>The peer has taken everything: the next piece of the list is wanted.</summary>
    private void ContinueDump(Dump dump)
    {
        if (channel.Interest != Interest.None)
        {
            channel.AwaitNothing();
        }

        if (dump.IsIdle)
        {
            dump.Request();
        }
    }

    private void EndDump()
    {
        _dump?.End();
        _dump = null;
    }
}
