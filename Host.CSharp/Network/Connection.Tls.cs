using System.Text;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

// `refresh_certs`: a thread of the pool reads the files, while everything behind it in the pipeline waits. `noreply` silences OK only.
internal sealed partial class Connection
{
    /// <summary>Has the certificates read again; false when it must wait.</summary>
    private bool TryRefresh(in Command command)
    {
        if (MustWaitForCommit() || !HasRoom(Reply.lineLengthMax))
        {
            return false;
        }

        if (loop.Server.Options.Tls is { } tls)
        {
            bool isQuiet = command.NoReply;
            _isRefreshing = true;
            loop.Server.EnterCrawlWork();
            ThreadPool.UnsafeQueueUserWorkItem(_ => Refresh(tls, isQuiet), null);
        }
        else
        {
            Put(Reply.line(ReplyCode.TlsNotEnabled));
        }

        return true;
    }

    /// <summary>On a thread of the pool.</summary>
    private void Refresh(TlsContext tls, bool isQuiet)
    {
        byte[] answer;

        try
        {
            tls.Refresh();
            answer = isQuiet ? [] : Reply.line(ReplyCode.Ok).ToArray();
        }
        catch (UnusableFileException exception)
        {
            // As memcached has it: neither SERVER_ERROR nor the like.
            answer = Encoding.ASCII.GetBytes($"Error{exception.Message.AsSpan("error".Length)}\r\n");
        }
        catch (Exception exception)
        {
            loop.Logger.LogError("Reading the certificates failed: {Reason}", exception.ToString().ReplaceLineEndings(" "));
            answer = "Error loading the certificates\r\n"u8.ToArray();
        }

        loop.Post(() => OnRefreshed(answer));
        loop.Server.LeaveCrawlWork();
    }

    private void OnRefreshed(byte[] answer)
    {
        _isRefreshing = false;

        if (_isClosed)
        {
            return;
        }

        try
        {
            _workLeft = loop.WorkMax;
            _lastMoveSeconds = loop.ClockSeconds;
            Write(answer);
            ServeKept();
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }
}
