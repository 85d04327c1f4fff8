using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Writes that take place together: all of them, or none. For one thread; it can be used again after <see cref="Clear"/>.</summary>
public sealed class WriteBatch : Submission
{
    private readonly List<(byte[] Key, byte[]? Value, uint Flags, uint ExpirySeconds)> _writes = [];
    private readonly ManualResetEventSlim _isDone = new(false);
    private CommitOutcome _outcome;

    /// <summary>Gives a key a value, with memcached's flags and a Unix time in seconds from which it is expired; 0 never.</summary>
    public WriteBatch Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, uint flags = 0, uint expirySeconds = 0)
    {
        _writes.Add((Checked(key), value.ToArray(), flags, expirySeconds));
        return this;
    }

    /// <summary>Removes the value of a key.</summary>
    public WriteBatch Delete(ReadOnlySpan<byte> key)
    {
        _writes.Add((Checked(key), null, 0, 0));
        return this;
    }

    /// <summary>Forgets the writes, for the next use.</summary>
    public void Clear()
    {
        _writes.Clear();
        _isDone.Reset();
    }

    /// <summary>Waits for the outcome; throws <see cref="StoreException"/> when the writes were refused.</summary>
    internal void Wait(Store store)
    {
        store.Scheduler.Await(_isDone);
        if (_outcome.Refusal is { } refusal)
        {
            throw new StoreException($"the writes were refused: {refusal}");
        }
    }

    /// <inheritdoc/>
    protected internal override bool NeedsPuts => _writes.Exists(write => write.Value is not null);

    /// <inheritdoc/>
    protected internal override void Execute(WriteContext context)
    {
        foreach (var (key, value, flags, expirySeconds) in _writes)
        {
            if (value is null)
            {
                context.Delete(key);
            }
            else
            {
                context.Put(key, value, default, flags, expirySeconds, 0);
            }
        }
    }

    /// <inheritdoc/>
    protected internal override void Completed(CommitOutcome outcome)
    {
        _outcome = outcome;
        _isDone.Set();
    }

    private static byte[] Checked(ReadOnlySpan<byte> key)
    {
        if (key.IsEmpty || key.Length > EntryFormat.keyLengthMax)
        {
            throw new ArgumentException($"A key has 1 to {EntryFormat.keyLengthMax} bytes.", nameof(key));
        }

        return key.ToArray();
    }
}
