using System.Collections;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// Items of a snapshot in ascending order of their keys. A <c>foreach</c> over it shows each <see cref="Entry"/> where it lies, without a copy;
/// as an <see cref="IEnumerable{T}"/>, for LINQ say, it copies each key and value. It can be walked any number of times.
/// </summary>
public sealed class SnapshotRange : IEnumerable<KeyValuePair<byte[], byte[]>>
{
    private readonly StoreSnapshot _snapshot;
    private readonly KeyBounds _bounds;

    internal SnapshotRange(StoreSnapshot snapshot, KeyBounds bounds)
    {
        _snapshot = snapshot;
        _bounds = bounds;
    }

    /// <summary>A cursor before the first item. Throws <see cref="ObjectDisposedException"/> when the snapshot is disposed of.</summary>
    public SnapshotCursor GetEnumerator() => new(_snapshot, _bounds);

    IEnumerator<KeyValuePair<byte[], byte[]>> IEnumerable<KeyValuePair<byte[], byte[]>>.GetEnumerator() => Copies().GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => Copies().GetEnumerator();

    private IEnumerable<KeyValuePair<byte[], byte[]>> Copies()
    {
        using var cursor = GetEnumerator();
        while (cursor.MoveNext())
        {
            yield return new(cursor.Current.Key.ToArray(), cursor.Current.Value.ToArray());
        }
    }
}

/// <summary>
/// A walk over items of a snapshot in ascending order of their keys. It reads tables a few blocks at a time into buffers of its own, past the block
/// cache, which a scan must not empty: up to about 64 KiB for each sorted run, of which a store has a handful, beginning with a block where a key is sought. One owner; while it is not
/// disposed of, the snapshot is held.
/// </summary>
public sealed class SnapshotCursor : IDisposable
{
    private const int ReadLengthBytesMax = 64 * 1024;

    private readonly StoreSnapshot _snapshot;
    private readonly Scan _scan;
    private bool _isDisposed;

    internal SnapshotCursor(StoreSnapshot snapshot, KeyBounds bounds)
    {
        _snapshot = snapshot;
        _scan = new Scan(snapshot.Use(), snapshot.NowSeconds, bounds, ReadLengthBytesMax);
    }

    /// <summary>The item that <see cref="MoveNext"/> came to. Valid until the next call of it.</summary>
    public Entry Current => _scan.Current;

    /// <summary>Ends the walk with an <see cref="OperationCanceledException"/>, at the next read of a table.</summary>
    internal CancellationToken Cancellation { get; set; }

    /// <summary>
    /// To the next item; false when there is none. Throws <see cref="StoreException"/> when a table cannot be read or is damaged, after which the cursor
    /// is of no use, and <see cref="ObjectDisposedException"/> when the cursor or the store is.
    /// </summary>
    public bool MoveNext()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        while (true)
        {
            switch (_scan.MoveNext())
            {
                case SourceState.Ready when _snapshot.Store.Holds.IsClosed:
                    throw StoreSnapshot.StoreClosed();

                case SourceState.Ready:
                    return true;

                case SourceState.NeedsBlock:
                    Cancellation.ThrowIfCancellationRequested();
                    Read(_scan.Wanted);
                    break;

                default:
                    return false;
            }
        }
    }

    /// <summary>Ends the walk.</summary>
    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            _snapshot.Leave();
        }
    }

    private void Read(in BlockRead wanted)
    {
        var store = _snapshot.Store;
        try
        {
            store.Tables.Read(wanted.Table, wanted.Handle.OffsetBytes, wanted.Destination.AsSpan(0, wanted.Handle.LengthBytes));
        }
        catch (Exception) when (store.Holds.IsClosed)
        {
            throw StoreSnapshot.StoreClosed();
        }
        catch (IOException cause)
        {
            store.Log.TableUnreadable(wanted.Table.File, wanted.Handle.OffsetBytes, cause.Message);
            throw new StoreException($"{wanted.Table.File} cannot be read at offset {wanted.Handle.OffsetBytes}: {cause.Message}", cause);
        }

        if (_scan.Supply() is { IsError: true } supplied)
        {
            var damage = supplied.ErrorValue;
            store.Log.TableUnreadable(damage.File, damage.OffsetBytes, damage.Reason);
            throw StoreException.Damaged(store.Folder.Path, damage);
        }
    }
}
