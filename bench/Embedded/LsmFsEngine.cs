using System.Globalization;
using System.Reflection;
using LsmFs.Engine;
using LsmFs.Host;
using Microsoft.Extensions.Logging.Abstractions;

namespace LsmFs.Embedded;

/// <summary>LsmFs in this process, on the operating system's files.</summary>
internal sealed class LsmFsEngine : IEngine
{
    private readonly Store _store;

    public LsmFsEngine(string folder, Settings settings)
    {
        var options = new StoreOptions
        {
            DataFolder = folder,
            Durability = settings.IsSynced ? Durability.Sync : Durability.Os,
            MemoryBudgetBytes = settings.MemoryBudgetBytes,
            Compression = settings.IsCompressed ? Compression.Lz4 : Compression.None,
        };
        _store = Store.Open(options, NullLogger.Instance);
        Setup = $"Durability = {options.Durability}, MemoryBudgetBytes = {options.MemoryBudgetBytes}, from which follows:\n"
            + OptionsModule.withCompression(options.Compression, OptionsModule.ofBudget(options.MemoryBudgetBytes));
    }

    public string Setup { get; }

    public IWriter CreateWriter() => new Writer(_store);

    public IReader CreateReader() => new Reader(_store);

    public void Scan(ItemVisitor visit)
    {
        using var snapshot = _store.CreateSnapshot();
        foreach (var entry in snapshot.Scan())
        {
            visit(entry.Key, entry.Value);
        }
    }

    public void RemoveEverything()
    {
        var flush = new FlushAll();
        _store.Submit(flush);
        flush.Await();
    }

    /// <summary>Every number in the store's statistics, by name, so that new ones show up by themselves.</summary>
    public SortedDictionary<string, long> ReadCounters()
    {
        var statistics = _store.Statistics;
        var counters = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (var property in typeof(StoreStatistics).GetProperties(BindingFlags.Public | BindingFlags.Instance))
        {
            switch (property.GetValue(statistics))
            {
                case long or int or ulong or uint:
                    counters[property.Name] = Convert.ToInt64(property.GetValue(statistics), CultureInfo.InvariantCulture);
                    break;
                case IReadOnlyList<long> sizes:
                    counters[property.Name] = sizes.Sum();
                    break;
                case IReadOnlyList<int> counts:
                    counters[property.Name] = counts.Sum();
                    break;
            }
        }

        return counters;
    }

    public void Dispose() => _store.Dispose();

    private static uint NowSeconds() => (uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    /// <summary>A submission whose thread waits for its outcome, and which is used over and over: nothing is allocated for a write.</summary>
    private abstract class Waiting : Submission
    {
        private readonly ManualResetEventSlim _isDone = new(false);
        private string? _refusal;

        public void Await()
        {
            _isDone.Wait();
            _isDone.Reset();
            if (_refusal is not null)
            {
                throw new InvalidOperationException($"LsmFs refused a write: {_refusal}");
            }
        }

        protected override void Completed(CommitOutcome outcome)
        {
            _refusal = outcome.Refusal;
            _isDone.Set();
        }
    }

    private sealed class FlushAll : Waiting
    {
        protected override void Execute(WriteContext context) => context.FlushAll(0);
    }

    private sealed class Writer(Store store) : Waiting, IWriter
    {
        private const int DeleteMark = -1;
        private readonly List<(int KeyLength, int ValueLength, uint ExpirySeconds)> _writes = [];
        private byte[] _bytes = new byte[4096];
        private int _length;

        public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value) => Put(key, value, 0);

        public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, uint expirySeconds)
        {
            Append(key);
            Append(value);
            _writes.Add((key.Length, value.Length, expirySeconds));
        }

        public void Delete(ReadOnlySpan<byte> key)
        {
            Append(key);
            _writes.Add((key.Length, DeleteMark, 0));
        }

        public void Commit()
        {
            store.Submit(this);
            Await();
            _writes.Clear();
            _length = 0;
        }

        public void Dispose()
        {
        }

        protected override void Execute(WriteContext context)
        {
            ReadOnlySpan<byte> rest = _bytes;
            foreach (var (keyLength, valueLength, expirySeconds) in _writes)
            {
                if (valueLength == DeleteMark)
                {
                    context.Delete(rest[..keyLength]);
                    rest = rest[keyLength..];
                }
                else
                {
                    context.Put(rest[..keyLength], rest.Slice(keyLength, valueLength), default, 0, expirySeconds, 0);
                    rest = rest[(keyLength + valueLength)..];
                }
            }
        }

        private void Append(ReadOnlySpan<byte> bytes)
        {
            if (_bytes.Length - _length < bytes.Length)
            {
                Array.Resize(ref _bytes, (_length + bytes.Length) * 2);
            }

            bytes.CopyTo(_bytes.AsSpan(_length));
            _length += bytes.Length;
        }
    }

    private sealed class Reader(Store store) : IReader
    {
        private readonly StoreReader _reader = store.CreateReader();

        public int Get(ReadOnlySpan<byte> key, Span<byte> value)
        {
            _reader.Enter();
            try
            {
                switch (_reader.Find(key, NowSeconds(), out var entry))
                {
                    case LookupOutcome.Found:
                        entry.Value.CopyTo(value);
                        return entry.ValueLength;
                    case LookupOutcome.Unreadable:
                        throw new InvalidOperationException("LsmFs could not read a block");
                    default:
                        return -1;
                }
            }
            finally
            {
                _reader.Exit();
            }
        }

        public int Scan(ReadOnlySpan<byte> from, int count, ItemVisitor visit)
        {
            using var snapshot = store.CreateSnapshot();
            using var cursor = snapshot.Scan(from).GetEnumerator();
            var seen = 0;
            for (; seen < count && cursor.MoveNext(); seen++)
            {
                visit(cursor.Current.Key, cursor.Current.Value);
            }

            return seen;
        }

        public void Dispose() => _reader.Dispose();
    }
}
