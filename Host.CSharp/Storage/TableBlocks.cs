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
    /// Reads a block to the start of <paramref name="buffer"/>, which has room for it, and opens it; false when it is unreadable. Throws
    /// <see cref="ObjectDisposedException"/> when the table has been deleted, which does not happen to one in an entered snapshot.
    /// </summary>
    internal bool TryRead(Table table, BlockHandle handle, byte[] buffer, bool isCached)
    {
        try
        {
            files.Read(table, handle.OffsetBytes, buffer.AsSpan(0, handle.LengthBytes));
        }
        catch (IOException cause)
        {
            log.TableUnreadable(table.File, handle.OffsetBytes, cause.Message);
            return false;
        }

        return TryOpen(table, handle, buffer, isCached);
    }

    /// <summary>Reads and opens a block if the operating system has it in memory.</summary>
    internal BlockState TryReadNow(Table table, BlockHandle handle, byte[] buffer, bool isCached) =>
        !files.TryReadNow(table, handle.OffsetBytes, buffer.AsSpan(0, handle.LengthBytes)) ? BlockState.NotNow
        : TryOpen(table, handle, buffer, isCached) ? BlockState.AtHand
        : BlockState.Unreadable;

    /// <summary>Verifies a block as it was read, and puts it into the cache.</summary>
    private bool TryOpen(Table table, BlockHandle handle, byte[] buffer, bool isCached)
    {
        var verified = Block.verify(table.File, handle, buffer, 0);
        if (verified.IsError)
        {
            var damage = verified.ErrorValue;
            log.TableUnreadable(damage.File, damage.OffsetBytes, damage.Reason);
            return false;
        }

        if (isCached)
        {
            cache.Add(table.Number.Value, handle.OffsetBytes, buffer.AsSpan(0, handle.LengthBytes));
        }

        return true;
    }
}
