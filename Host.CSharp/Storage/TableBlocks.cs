using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>What came of asking for a block.</summary>
internal enum BlockState
{
    /// <summary>It is there, opened.</summary>
    AtHand,

    /// <summary>The disk would have to be waited for.</summary>
    NotNow,

    /// <summary>The disk did not give it back, or not as it was written; the log says why.</summary>
    Unreadable,
}

/// <summary>Blocks read from their tables, opened, and put into the cache. Thread-safe.</summary>
internal sealed class TableBlocks(TableFiles files, BlockCache cache, ILogger log)
{
    /// <summary>
    /// Reads a block to the start of <paramref name="buffer"/>, which has room for it as it is stored, and opens it; false when it is unreadable. The
    /// content lies at the start of the buffer, or of one of the decoder's. Throws <see cref="ObjectDisposedException"/> when the table has been deleted,
    /// which does not happen to one in an entered snapshot.
    /// </summary>
    internal bool TryRead(in BlockRequest request, BlockDecoder decoder, byte[] buffer, bool isCached, out BlockContent content)
    {
        try
        {
            files.Read(request.Table, request.Handle.OffsetBytes, buffer.AsSpan(0, request.Handle.LengthBytes));
        }
        catch (IOException cause)
        {
            log.TableUnreadable(request.Table.File, request.Handle.OffsetBytes, cause.Message);
            content = default;
            return false;
        }

        return TryOpen(in request, decoder, buffer, isCached, out content);
    }

    /// <summary>Reads and opens a block if the operating system has it in memory.</summary>
    internal BlockState TryReadNow(in BlockRequest request, BlockDecoder decoder, byte[] buffer, bool isCached, out BlockContent content)
    {
        if (!files.TryReadNow(request.Table, request.Handle.OffsetBytes, buffer.AsSpan(0, request.Handle.LengthBytes)))
        {
            content = default;
            return BlockState.NotNow;
        }

        return TryOpen(in request, decoder, buffer, isCached, out content) ? BlockState.AtHand : BlockState.Unreadable;
    }

    /// <summary>Opens a block as it was read, and puts it into the cache.</summary>
    private bool TryOpen(in BlockRequest request, BlockDecoder decoder, byte[] buffer, bool isCached, out BlockContent content)
    {
        var opened = request.Open(decoder, buffer, 0);
        if (opened.IsError)
        {
            var damage = opened.ErrorValue;
            log.TableUnreadable(damage.File, damage.OffsetBytes, damage.Reason);
            content = default;
            return false;
        }

        content = opened.ResultValue;
        if (isCached)
        {
            cache.Add(request.Table.Number.Value, request.Handle.OffsetBytes, content.Bytes.AsSpan(content.Start, content.Length));
        }

        return true;
    }
}
