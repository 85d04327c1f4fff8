using System.Buffers;
using LsmFs.Engine;
using Decision = LsmFs.Engine.Execute;

namespace LsmFs.Host;

// Sending: replies go into the loop's send buffer and from there, once for each step of the connection, into the batch that is sent at the end of the turn, or
// to the peer when they are long; what the peer does not take is copied into a buffer of the connection's own.
internal sealed partial class Connection
{
    /// <summary>Whether the loop's batch has replies of this connection. Set by the batch.</summary>
    public bool IsInBatch { get; set; }

    /// <summary>Sends what was batched; what the peer does not take is the output from now on.</summary>
    public void SendBatched(ReadOnlySpan<byte> bytes)
    {
        if (_isClosed)
        {
            return;
        }

        try
        {
            SendNow(bytes);

            if (_output is not null)
            {
                channel.AwaitWritable(_output.AsSpan(_outputStart, _outputLength));
            }
        }
        catch (Exception exception)
        {
            Fail(exception);
        }
    }

    /// <summary>Whether this many bytes can be written; sends what was written before, to make room. At most the send buffer's length.</summary>
    private bool HasRoom(int length)
    {
        if (EventLoop.SendBufferLength - _sendLength < length)
        {
            Flush();
        }

        return _output is null && !_isClosed;
    }

    /// <summary>Writes bytes that there is room for.</summary>
    private void Put(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(loop.SendBuffer.AsSpan(_sendLength));
        _sendLength += bytes.Length;
    }

    /// <summary>Writes bytes of any length, keeping what the peer does not take.</summary>
    private void Write(ReadOnlySpan<byte> bytes)
    {
        if (EventLoop.SendBufferLength - _sendLength < bytes.Length)
        {
            Flush();
        }

        if (bytes.Length <= EventLoop.SendBufferLength)
        {
            Put(bytes);
        }
        else if (!_isClosed)
        {
            Send(bytes);
        }
    }

    /// <summary>Writes a VALUE line and its value; false when the peer must first take what was written before.</summary>
    private bool TryWriteEntry(in Entry entry, bool hasCas)
    {
        int length = Reply.entryLength(entry, hasCas);

        if (!HasRoom(Math.Min(length, EventLoop.SendBufferLength)))
        {
            return false;
        }

        if (length <= EventLoop.SendBufferLength)
        {
            _sendLength += Reply.writeEntry(loop.SendBuffer.AsSpan(_sendLength), entry, hasCas);
            return true;
        }

        // A large value goes from where it lies; only what the peer does not take at once is copied, since the entry lives no longer.
        _sendLength += Reply.writeValueLine(
            loop.SendBuffer.AsSpan(_sendLength), entry.Key, entry.Flags, entry.ValueLength, entry.Cas, hasCas);
        Write(entry.Value);
        Write("\r\n"u8);
        return true;
    }

    /// <summary>Answers a command that found its key; false when the peer must first take what was written before.</summary>
    private bool TryWriteHit(in Command command, ReadOnlySpan<byte> input, in Entry entry)
    {
        ReadOnlySpan<byte> value = Answer.hitValue(in command, entry);
        ReadOnlySpan<byte> tail = Answer.hitTail(in command, entry);

        if (!HasRoom((int)Math.Min((long)Answer.headLengthMax + value.Length + tail.Length, EventLoop.SendBufferLength)))
        {
            return false;
        }

        _sendLength += Answer.writeHitHead(
            loop.SendBuffer.AsSpan(_sendLength), in command, input, entry, new AnswerContext(loop.NowSeconds, entry.Cas, loop.Recency.Find(in entry)));

        if (Decision.isAccess(in command))
        {
            loop.Recency.Touch(in entry, loop.NowSeconds);
        }

        Write(value);
        Write(tail);
        return true;
    }

    /// <summary>Answers that a command is not carried out.</summary>
    private void Refuse(in Command command, ReadOnlySpan<byte> input, string reason)
    {
        Span<byte> refusal = stackalloc byte[Answer.refusalLengthMax(reason)];
        Write(refusal[..Answer.writeRefusal(refusal, in command, input, reason)]);
    }

    /// <summary>Sends what was written.</summary>
    private void Flush()
    {
        if (_sendLength > 0 && !_isClosed)
        {
            ReadOnlySpan<byte> bytes = loop.SendBuffer.AsSpan(0, _sendLength);
            _sendLength = 0;
            Send(bytes);
        }
    }

    private void Send(ReadOnlySpan<byte> bytes)
    {
        _workLeft -= bytes.Length / BytesPerWork;

        if (_output is not null || !loop.Replies.TryTake(this, bytes))
        {
            SendNow(bytes);
        }
    }

    private void SendNow(ReadOnlySpan<byte> bytes)
    {
        if (_isClosed)
        {
            return;
        }

        int sent = 0;

        if (_output is null)
        {
            sent = SendWhatFits(bytes);

            if (sent == Channel.Broken)
            {
                return;
            }
        }

        if (sent < bytes.Length)
        {
            Append(bytes[sent..]);
        }
    }

    /// <summary>Sends what the peer takes, and counts it; closes the connection when it is broken.</summary>
    private int SendWhatFits(ReadOnlySpan<byte> bytes)
    {
        int sent = channel.Send(bytes);

        if (sent == Channel.Broken)
        {
            Close();
        }
        else
        {
            loop.Counters.BytesWritten += sent;
        }

        return sent;
    }

    /// <summary>Keeps bytes behind those the peer has not taken yet.</summary>
    private void Append(ReadOnlySpan<byte> bytes)
    {
        if (_output is null)
        {
            // Room for the line end of a large value, lest it double the buffer.
            _output = ArrayPool<byte>.Shared.Rent(bytes.Length + 2);
            _outputStart = _outputLength = 0;
        }
        else if (_output.Length - _outputStart - _outputLength < bytes.Length)
        {
            byte[] larger = ArrayPool<byte>.Shared.Rent(_outputLength + bytes.Length);
            _output.AsSpan(_outputStart, _outputLength).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_output);
            _output = larger;
            _outputStart = 0;
        }

        bytes.CopyTo(_output.AsSpan(_outputStart + _outputLength));
        _outputLength += bytes.Length;
    }

    /// <summary>Sends the output on, some of which the transport has sent itself; goes on serving when the peer has taken all of it.</summary>
    private void SendOutput(int sentBytes)
    {
        _outputStart += sentBytes;
        _outputLength -= sentBytes;

        if (_outputLength > 0)
        {
            int sent = SendWhatFits(_output.AsSpan(_outputStart, _outputLength));

            if (sent == Channel.Broken)
            {
                return;
            }

            _workLeft -= sent / BytesPerWork;
            _outputStart += sent;
            _outputLength -= sent;
        }

        if (_outputLength > 0)
        {
            channel.AwaitWritable(_output.AsSpan(_outputStart, _outputLength));
        }
        else
        {
            Release(ref _output);
            ServeKept();
        }
    }
}
