using System.Diagnostics;

namespace LsmFs.Embedded;

/// <summary>Writes keys of the dataset in batches, times each batch from its first write to its acknowledgement, and remembers what was acknowledged.</summary>
internal sealed class BatchWriter(IWriter writer, Dataset dataset, int batchCount, OperationLog log) : IDisposable
{
    private readonly byte[] _key = new byte[Dataset.KeyLength];
    private readonly byte[] _value = new byte[dataset.ValueLength];
    private readonly (uint Index, byte Version)[] _pending = new (uint, byte)[batchCount];
    private int _pendingCount;
    private long _beganAt;

    /// <summary>Bytes of keys and values so far.</summary>
    public long WrittenBytes { get; private set; }

    /// <summary>Gives a key its next version.</summary>
    public void Put(uint index)
    {
        var version = (byte)(dataset.VersionOf(index) + 1);
        dataset.WriteKey(index, _key);
        dataset.WriteValue(index, version, _value);
        BeginBatch();
        writer.Put(_key, _value);
        Add(index, version, _key.Length + _value.Length);
    }

    /// <summary>Gives a key its next version, which is gone in a second.</summary>
    public void PutExpiring(uint index)
    {
        var version = (byte)(dataset.VersionOf(index) + 1);
        dataset.WriteKey(index, _key);
        dataset.WriteValue(index, version, _value);
        BeginBatch();
        writer.Put(_key, _value, (uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 1);
        Add(index, version, _key.Length + _value.Length);
    }

    public void Delete(uint index)
    {
        dataset.WriteKey(index, _key);
        BeginBatch();
        writer.Delete(_key);
        Add(index, dataset.VersionOf(index), _key.Length);
    }

    public void Commit()
    {
        if (_pendingCount == 0)
        {
            return;
        }

        writer.Commit();
        log.Add(_beganAt, Stopwatch.GetTimestamp(), _pendingCount);
        foreach (var (index, version) in _pending.AsSpan(0, _pendingCount))
        {
            dataset.SetVersion(index, version);
        }

        _pendingCount = 0;
    }

    public void Dispose() => writer.Dispose();

    private void BeginBatch()
    {
        if (_pendingCount == 0)
        {
            _beganAt = Stopwatch.GetTimestamp();
        }
    }

    private void Add(uint index, byte version, int lengthBytes)
    {
        _pending[_pendingCount++] = (index, version);
        WrittenBytes += lengthBytes;
        if (_pendingCount == _pending.Length)
        {
            Commit();
        }
    }
}
