using System.Buffers.Text;
using System.Text;

namespace LsmFs.Load;

/// <summary>
/// Checks replies against what the requests must give. The expected bytes are known, so the usual reply costs one comparison; only a
/// reply that differs is parsed. One per loop.
/// </summary>
internal sealed class ReplyReader(Dataset dataset, bool isVerified, LoopResult result)
{
    const int LineLengthMax = 8192;
    readonly byte[] expected = new byte[dataset.KeyLength + 64];

    /// <summary>Takes whole replies from the front of bytes; returns how many bytes. The connection's AnsweredCount moves on.</summary>
    public int Read(Connection connection, ReadOnlySpan<byte> bytes)
    {
        var offset = 0;
        while (!connection.IsAnswered)
        {
            ref readonly var operation = ref connection.Operations[connection.AnsweredCount];
            var used = operation.IsGet
                ? ReadRetrieved(connection, in operation, bytes[offset..])
                : ReadStored(connection, bytes[offset..]);
            if (used == 0)
            {
                break;
            }
            offset += used;
        }
        return offset;
    }

    int ReadStored(Connection connection, ReadOnlySpan<byte> bytes)
    {
        var stored = "STORED\r\n"u8;
        if (!bytes.StartsWith(stored))
        {
            return ReadFailure(connection, bytes);
        }
        connection.AnsweredCount++;
        return stored.Length;
    }

    /// <summary>Reads one VALUE with its data, or the END, or an error line.</summary>
    int ReadRetrieved(Connection connection, in Operation operation, ReadOnlySpan<byte> bytes)
    {
        var end = "END\r\n"u8;
        if (bytes.StartsWith(end))
        {
            Skip(connection, in operation, operation.KeyCount);
            Finish(connection);
            return end.Length;
        }
        if (connection.KeyPosition < operation.KeyCount)
        {
            var key = connection.Keys[operation.FirstKey + connection.KeyPosition];
            var line = expected.AsSpan(0, dataset.WriteReplyLine(key, expected, out var valueLength));
            if (bytes.StartsWith(line))
            {
                var length = line.Length + valueLength + 2;
                if (bytes.Length < length)
                {
                    return 0;
                }
                var isRight = bytes[length - 2] == '\r' && bytes[length - 1] == '\n'
                    && (!isVerified || dataset.IsValue(key, bytes.Slice(line.Length, valueLength)));
                connection.KeyPosition++;
                Count(key, isRight);
                return length;
            }
        }
        return bytes.StartsWith("VALUE "u8) ? ReadUnexpectedValue(connection, in operation, bytes) : ReadFailure(connection, bytes);
    }

    /// <summary>A VALUE that is not the next one asked for: keys before it are missing, or its flags, length or key are wrong.</summary>
    int ReadUnexpectedValue(Connection connection, in Operation operation, ReadOnlySpan<byte> bytes)
    {
        var lineLength = LineLength(bytes);
        if (lineLength == 0)
        {
            return 0;
        }
        var rest = bytes["VALUE ".Length..lineLength];
        var keyLength = rest.IndexOf((byte)' ');
        if (keyLength < 0)
        {
            return ReadFailure(connection, bytes);
        }
        for (var position = connection.KeyPosition; position < operation.KeyCount; position++)
        {
            var key = connection.Keys[operation.FirstKey + position];
            dataset.WriteKey(key, expected);
            if (!rest[..keyLength].SequenceEqual(expected.AsSpan(0, dataset.KeyLength)))
            {
                continue;
            }
            if (position > connection.KeyPosition)
            {
                Skip(connection, in operation, position);
                return ReadRetrieved(connection, in operation, bytes);
            }
            var taken = TakeValue(bytes, lineLength);
            if (taken > 0)
            {
                connection.KeyPosition++;
                Count(key, isRight: false);
            }
            return taken;
        }
        var length = TakeValue(bytes, lineLength);
        if (length > 0)
        {
            result.CountError($"a value nobody asked for: {Encoding.Latin1.GetString(bytes[..lineLength]).Trim()}");
        }
        return length;
    }

    /// <summary>Length of a VALUE and its data going by what its own line says, or 0 when it is not all there.</summary>
    static int TakeValue(ReadOnlySpan<byte> bytes, int lineLength)
    {
        var line = bytes[..lineLength].TrimEnd("\r\n"u8);
        if (!Utf8Parser.TryParse(line[(line.LastIndexOf((byte)' ') + 1)..], out uint valueLength, out _))
        {
            throw new LoadException($"the server answered with a malformed line: {Encoding.Latin1.GetString(line)}");
        }
        var length = lineLength + (long)valueLength + 2;
        return bytes.Length < length ? 0 : (int)length;
    }

    /// <summary>A line that is neither a value nor a success ends the operation as an error.</summary>
    int ReadFailure(Connection connection, ReadOnlySpan<byte> bytes)
    {
        var length = LineLength(bytes);
        if (length > 0)
        {
            result.CountError(bytes[..length]);
            Finish(connection);
        }
        return length;
    }

    static int LineLength(ReadOnlySpan<byte> bytes)
    {
        var length = bytes.IndexOf((byte)'\n') + 1;
        return length == 0 && bytes.Length > LineLengthMax
            ? throw new LoadException($"the server answered with more than {LineLengthMax} bytes without a line end")
            : length;
    }

    void Skip(Connection connection, in Operation operation, int untilPosition)
    {
        for (; connection.KeyPosition < untilPosition; connection.KeyPosition++)
        {
            result.CountMiss(connection.Keys[operation.FirstKey + connection.KeyPosition]);
        }
    }

    void Count(uint key, bool isRight)
    {
        if (isRight)
        {
            result.HitCount++;
        }
        else
        {
            result.CountWrong(key);
        }
    }

    static void Finish(Connection connection)
    {
        connection.AnsweredCount++;
        connection.KeyPosition = 0;
    }
}
