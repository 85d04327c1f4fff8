using System.Buffers.Binary;
using System.Buffers.Text;
using System.Runtime.InteropServices;

namespace LsmFs.Load;

/// <summary>
/// The keys and values of a load: key number i, its flags and its value follow from i (and a seed), so that every reply can be
/// checked without remembering anything. Values are arbitrary bytes, line ends included, to catch framing mistakes.
/// Immutable; safe to share between threads.
/// </summary>
public sealed class Dataset
{
    const int DigitCountMax = 10;
    const ulong KeySpread = 0xD1B54A32D192ED03;
    static readonly byte[] DigitPairs = [.. Enumerable.Range(0, 100).SelectMany(n => new[] { (byte)('0' + (n / 10)), (byte)('0' + (n % 10)) })];
    readonly byte[] keyTemplate;
    readonly int digitCount;
    readonly int valueLengthMin;
    readonly ulong valueSeed;

    public Dataset(uint keyCount, int keyLength, int valueLengthMin, int valueLengthMax, ulong valueSeed)
    {
        if (keyLength is < 2 or > 250)
        {
            throw new LoadException($"--key-length {keyLength}: a key has 2 to 250 bytes");
        }
        digitCount = Math.Min(keyLength - 1, DigitCountMax);
        if (digitCount < DigitCountMax && keyCount > Math.Pow(10, digitCount))
        {
            throw new LoadException($"--key-length {keyLength} leaves {digitCount} digits, too few for {keyCount} keys");
        }
        keyTemplate = new byte[keyLength];
        keyTemplate.AsSpan().Fill((byte)'0');
        keyTemplate[0] = (byte)'k';
        this.valueLengthMin = valueLengthMin;
        ValueLengthMax = valueLengthMax;
        this.valueSeed = valueSeed;
    }

    public int KeyLength => keyTemplate.Length;

    public int ValueLengthMax { get; }

    /// <summary>The longest set command, line and data.</summary>
    public int SetLengthMax => KeyLength + ValueLengthMax + 32;

    /// <summary>The longest VALUE line with its data.</summary>
    public int ReplyLengthMax => KeyLength + ValueLengthMax + 32;

    public int ValueLength(uint index) =>
        valueLengthMin == ValueLengthMax
            ? valueLengthMin
            : valueLengthMin + (int)(Random64.Mix(index * KeySpread) % (ulong)(ValueLengthMax - valueLengthMin + 1));

    /// <summary>One decimal digit, so that checking flags costs nothing.</summary>
    public static uint Flags(uint index) => index % 10;

    public void WriteKey(uint index, Span<byte> destination)
    {
        keyTemplate.CopyTo(destination);
        var position = KeyLength;
        var digitsLeft = digitCount;
        while (digitsLeft >= 2)
        {
            (index, var pair) = Math.DivRem(index, 100);
            position -= 2;
            digitsLeft -= 2;
            destination[position] = DigitPairs[2 * pair];
            destination[position + 1] = DigitPairs[(2 * pair) + 1];
        }
        if (digitsLeft == 1)
        {
            destination[position - 1] = (byte)('0' + (index % 10));
        }
    }

    public void WriteValue(uint index, Span<byte> destination)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(destination);
        for (var word = 0; word < words.Length; word++)
        {
            words[word] = Word(index, word);
        }
        Span<byte> last = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(last, Word(index, words.Length));
        var rest = destination[(words.Length * sizeof(ulong))..];
        last[..rest.Length].CopyTo(rest);
    }

    public bool IsValue(uint index, ReadOnlySpan<byte> bytes)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        for (var word = 0; word < words.Length; word++)
        {
            if (words[word] != Word(index, word))
            {
                return false;
            }
        }
        Span<byte> last = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(last, Word(index, words.Length));
        var rest = bytes[(words.Length * sizeof(ulong))..];
        return rest.SequenceEqual(last[..rest.Length]);
    }

    ulong Word(uint index, int word) => Random64.Mix(valueSeed + (index * KeySpread) + ((ulong)word * 0x9E3779B97F4A7C15));

    /// <summary>Writes `set KEY FLAGS 0 LENGTH`, the data and both line ends; returns the length.</summary>
    public int WriteSet(uint index, Span<byte> destination)
    {
        "set "u8.CopyTo(destination);
        WriteKey(index, destination[4..]);
        var position = 4 + KeyLength;
        destination[position] = (byte)' ';
        destination[position + 1] = (byte)('0' + Flags(index));
        " 0 "u8.CopyTo(destination[(position + 2)..]);
        position += 5;
        position += WriteValueLength(index, destination[position..], out var valueLength);
        WriteValue(index, destination.Slice(position, valueLength));
        position += valueLength;
        "\r\n"u8.CopyTo(destination[position..]);
        return position + 2;
    }

    /// <summary>Writes the line `VALUE KEY FLAGS LENGTH` a correct server answers with; returns its length, line end included.</summary>
    public int WriteReplyLine(uint index, Span<byte> destination, out int valueLength)
    {
        "VALUE "u8.CopyTo(destination);
        WriteKey(index, destination[6..]);
        var position = 6 + KeyLength;
        destination[position] = (byte)' ';
        destination[position + 1] = (byte)('0' + Flags(index));
        destination[position + 2] = (byte)' ';
        position += 3;
        return position + WriteValueLength(index, destination[position..], out valueLength);
    }

    int WriteValueLength(uint index, Span<byte> destination, out int valueLength)
    {
        valueLength = ValueLength(index);
        Utf8Formatter.TryFormat(valueLength, destination, out var written);
        "\r\n"u8.CopyTo(destination[written..]);
        return written + 2;
    }
}
