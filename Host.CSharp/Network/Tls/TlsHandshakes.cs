using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// Accepted connections on their way to a loop. A handshake takes no loop's time: it waits in the system, computes on other threads, and ends after a while
/// in any case. It holds a place of the connections that the server has.
/// </summary>
internal sealed class TlsHandshakes(Server server, TlsContext context, SocketLoop[] loops, ILogger logger)
{
    private readonly CancellationTokenSource _stopping = new();
    private int _workCount;
    private int _nextLoop;
    private long _handshakeErrors;
    private long _protocolErrors;

    /// <summary>Handshakes that the peer gave up, or that took too long.</summary>
    public long HandshakeErrors => Interlocked.Read(ref _handshakeErrors);

    /// <summary>Handshakes and connections that ended because what came was not TLS as it should be, or a certificate was not good.</summary>
    public long ProtocolErrors => Interlocked.Read(ref _protocolErrors);

    /// <summary>Bytes that a connection hands over to its TLS stream at once.</summary>
    public int WriteLength => context.Options.WriteBufferBytes;

    /// <summary>Takes over a socket that has a place. Any thread.</summary>
    public void Begin(Socket socket, ListenPoint point)
    {
        EnterWork();
        _ = Task.Run(() => ShakeHands(socket, point));
    }

    /// <summary>What came on an open connection was not TLS.</summary>
    public void CountProtocolError() => Interlocked.Increment(ref _protocolErrors);

    /// <summary>Something begins that needs the loops. It is waited for before they are gone.</summary>
    public void EnterWork() => Interlocked.Increment(ref _workCount);

    /// <summary>It has ended.</summary>
    public void LeaveWork() => Interlocked.Decrement(ref _workCount);

    /// <summary>Gives up the handshakes that are under way; nobody begins new ones.</summary>
    public async Task Stop()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await AwaitWork().ConfigureAwait(false);
    }

    /// <summary>Waits for what has begun; all of it ends by itself.</summary>
    public async Task AwaitWork()
    {
        while (Volatile.Read(ref _workCount) > 0)
        {
            await Task.Delay(1).ConfigureAwait(false);
        }
    }

    private async Task ShakeHands(Socket socket, ListenPoint point)
    {
        SslStream? stream = null;

        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
            limit.CancelAfter(context.HandshakeTimeout);
            socket.NoDelay = true;
            stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
            await stream.AuthenticateAsServerAsync(context.For(point), limit.Token).ConfigureAwait(false);
            int loop = (Interlocked.Increment(ref _nextLoop) & int.MaxValue) % loops.Length;
            loops[loop].Accept(stream, socket, point, this);
        }
        catch (Exception exception)
        {
            Refuse(exception);
            await Close(stream, socket).ConfigureAwait(false);
            server.Release();
        }
        finally
        {
            LeaveWork();
        }
    }

    private void Refuse(Exception exception)
    {
        switch (exception)
        {
            case AuthenticationException:
                Interlocked.Increment(ref _protocolErrors);
                break;
            case IOException or SocketException or OperationCanceledException:
                Interlocked.Increment(ref _handshakeErrors);
                break;
            default:
                logger.LogError("A TLS handshake failed for a reason of its own: {Reason}", exception.ToString().ReplaceLineEndings(" "));
                Interlocked.Increment(ref _handshakeErrors);
                return;
        }

        logger.LogDebug(
            "A TLS handshake ended: {Reason}", (exception.InnerException ?? exception).Message.ReplaceLineEndings(" "));
    }

    private static async Task Close(SslStream? stream, Socket socket)
    {
        if (stream is not null)
        {
            await stream.DisposeAsync().ConfigureAwait(false);
        }

        socket.Dispose();
    }
}
