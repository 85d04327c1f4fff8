namespace LsmFs.Embedded;

/// <summary>What the harness asks of a store that is part of its process. Writers and readers belong to one thread each.</summary>
internal interface IEngine : IDisposable
{
    /// <summary>How the engine was set up, word for word.</summary>
    string Setup { get; }

    IWriter CreateWriter();

    IReader CreateReader();

    /// <summary>Shows every live item in the order of the keys, from one point in time. The spans are valid during the call.</summary>
    void Scan(ItemVisitor visit);

    /// <summary>Removes everything there is by the cheapest call the engine has for it, and returns when that is acknowledged.</summary>
    void RemoveEverything();

    /// <summary>What the engine counts itself: totals since it was opened, and sizes.</summary>
    SortedDictionary<string, long> ReadCounters();
}

internal delegate void ItemVisitor(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value);

/// <summary>Collects writes and commits them together.</summary>
internal interface IWriter : IDisposable
{
    void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value);

    /// <summary>A value that is there until a Unix time.</summary>
    void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, uint expirySeconds);

    void Delete(ReadOnlySpan<byte> key);

    /// <summary>Returns when what was collected is as durable as it was asked to be, and visible.</summary>
    void Commit();
}

internal interface IReader : IDisposable
{
    /// <summary>Copies the value of a key; returns its length, or -1 when there is none.</summary>
    int Get(ReadOnlySpan<byte> key, Span<byte> value);

    /// <summary>Shows the first items from a key on, as they are now: at most <paramref name="count"/>. Returns how many there were.</summary>
    int Scan(ReadOnlySpan<byte> from, int count, ItemVisitor visit);
}
