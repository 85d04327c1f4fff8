using System.Buffers.Binary;
using System.Runtime.InteropServices;
using LsmFs.Load;

namespace LsmFs.Embedded;

/// <summary>
/// The keys and values of a run. A value follows from its key's number and a version, which it begins with, so that whoever reads it can verify every byte; one byte
/// for each key remembers the version last acknowledged. Threads may share it, as long as each key has one writer.
/// </summary>
internal sealed class Dataset
{
    public const int KeyLength = 16;
    public const int ValueLengthMin = sizeof(ulong);

    private const ulong KeySpread = 0xD1B54A32D192ED03;
    private const ulong VersionSpread = 0x9E3779B97F4A7C15;
    private readonly Load.Dataset _keys;
    private readonly byte[] _versions;
    private readonly uint _keepEvery;
    private readonly int _randomLength;

    public Dataset(Settings settings)
    {
        _keys = new Load.Dataset(settings.KeyCount, KeyLength, settings.ValueLength, settings.ValueLength, 1);
        _keepEvery = settings.KeepEvery;
        ValueLength = settings.ValueLength;
        _randomLength = settings.IsCompressible ? Math.Max(ValueLengthMin, ValueLength / 2) : ValueLength;
        _versions = GC.AllocateUninitializedArray<byte>((int)Math.Min(settings.KeyCount, (uint)Array.MaxLength), pinned: true);
        // Touched, so that it counts before the engine is opened.
        Array.Clear(_versions);
        Order = new Permutation(settings.KeyCount, 1);
    }

    public int ValueLength { get; }

    /// <summary>A random order of the keys.</summary>
    public Permutation Order { get; }

    /// <summary>Whether the key outlives the deletions.</summary>
    public bool IsKept(uint index) => Random64.Mix(index + KeySpread) % _keepEvery == 0;

    public void WriteKey(uint index, Span<byte> key) => _keys.WriteKey(index, key);

    /// <summary>The number of a key of ours.</summary>
    public static uint IndexOf(ReadOnlySpan<byte> key) => uint.Parse(key[(KeyLength - 10)..], System.Globalization.CultureInfo.InvariantCulture);

    public byte VersionOf(uint index) => Volatile.Read(ref _versions[index]);

    /// <summary>The version is acknowledged.</summary>
    public void SetVersion(uint index, byte version) => Volatile.Write(ref _versions[index], version);

    public void WriteValue(uint index, byte version, Span<byte> value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(value, version);
        var words = MemoryMarshal.Cast<byte, ulong>(value[ValueLengthMin.._randomLength]);
        var seed = SeedOf(index, version);
        for (var word = 0; word < words.Length; word++)
        {
            words[word] = Word(seed, word);
        }

        Span<byte> last = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(last, Word(seed, words.Length));
        var rest = value[(ValueLengthMin + (words.Length * sizeof(ulong)))..];
        var randomRest = _randomLength - ValueLengthMin - (words.Length * sizeof(ulong));
        last[..randomRest].CopyTo(rest);
        rest[randomRest..].Clear();
    }

    /// <summary>Whether these are the bytes of a version of the key that was acknowledged at <paramref name="oldest"/> or was written since, up to the one now under way.</summary>
    public bool IsValue(uint index, byte oldest, ReadOnlySpan<byte> value)
    {
        if (value.Length != ValueLength)
        {
            return false;
        }

        var version = value[0];
        var newest = (byte)(VersionOf(index) + 1);
        if ((byte)(version - oldest) > (byte)(newest - oldest))
        {
            return false;
        }

        Span<byte> expected = stackalloc byte[ValueLength <= 1024 ? ValueLength : 0];
        expected = ValueLength <= 1024 ? expected : new byte[ValueLength];
        WriteValue(index, version, expected);
        return value.SequenceEqual(expected);
    }

    private static ulong SeedOf(uint index, byte version) => (index * KeySpread) + (version * 0xA24BAED4963EE407);

    private static ulong Word(ulong seed, int word) => Random64.Mix(seed + ((ulong)word * VersionSpread));
}
