using LsmFs.Engine;
using Microsoft.FSharp.Core;

namespace LsmFs.Host;

/// <summary>
/// The answer to `stats conns`: the listeners and the connections that are there when it begins, by their descriptors, each as it is when its lines are made.
/// No loop is asked or kept: what another thread reads of a connection may be a moment old.
/// </summary>
internal sealed class ConnectionDump(EventLoop loop, Connection connection, ReplyCode finish) : Dump(loop, connection)
{
    // Descriptors instead of connections, lest a client that does not read keeps closed ones in memory.
    private List<long>? _descriptors;
    private int _next;

    public override ConnectionFacts Facts => ConnectionFacts.HasWork;

    protected override ReadOnlySpan<byte> Apology => "SERVER_ERROR the connections cannot be listed, see the server's log\r\n"u8;

    protected override bool Append(ByteBuffer piece)
    {
        Server server = Loop.Server;
        TimeProvider clock = server.Options.Clock;
        long nowSeconds = clock.GetTimestamp() / clock.TimestampFrequency;

        if (_descriptors is null)
        {
            foreach (Listener listener in server.Listeners)
            {
                ConnectionListing.appendLines(
                    piece, listener.Descriptor, listener.Address, default, ConnectionFacts.IsListener, (long)server.Uptime.TotalSeconds);
            }

            // Enumerating takes no locks, as Keys would.
            _descriptors = [.. server.Connections.Select(entry => entry.Key)];
            _descriptors.Sort();
        }

        while (_next < _descriptors.Count && piece.Length < PieceLengthBytes && !Cancellation.IsCancellationRequested)
        {
            if (server.Connections.TryGetValue(_descriptors[_next++], out Connection? listed))
            {
                ConnectionListing.appendLines(
                    piece,
                    listed.Origin.Descriptor,
                    listed.Origin.Address,
                    FSharpValueOption<string>.Some(listed.Origin.ListenAddress),
                    listed.Facts,
                    nowSeconds - listed.LastMoveSeconds);
            }
        }

        if (_next < _descriptors.Count)
        {
            return false;
        }

        piece.Append(Reply.line(finish));
        return true;
    }

    protected override void Release() => _descriptors = null;
}
