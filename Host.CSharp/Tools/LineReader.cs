namespace LsmFs.Host;

/// <summary>Reads the lines of a stream as bytes. A line takes as much memory as it has bytes. Not thread-safe.</summary>
internal sealed class LineReader(Stream stream)
{
    private byte[] _buffer = new byte[64 * 1024];
    private int _start;
    private int _end;
    private int _searched;

    /// <summary>
    /// The next line, without its newline, valid until the next call; the last one may have none. False at the end. Throws <see cref="IOException"/>.
    /// </summary>
    public bool TryRead(out ReadOnlySpan<byte> line)
    {
        while (true)
        {
            var newline = _buffer.AsSpan(_searched, _end - _searched).IndexOf((byte)'\n');
            if (newline >= 0)
            {
                line = _buffer.AsSpan(_start, _searched + newline - _start);
                _start = _searched = _searched + newline + 1;
                return true;
            }

            _searched = _end;
            MakeRoom();
            var count = stream.Read(_buffer, _end, _buffer.Length - _end);
            if (count == 0)
            {
                line = _buffer.AsSpan(_start, _end - _start);
                _start = _searched = _end;
                return !line.IsEmpty;
            }

            _end += count;
        }
    }

    private void MakeRoom()
    {
        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _searched -= _start;
            _start = 0;
        }

        if (_end == _buffer.Length)
        {
            if (_buffer.Length == Array.MaxLength)
            {
                throw new IOException("a line is longer than any line of a dump");
            }

            Array.Resize(ref _buffer, (int)Math.Min(2L * _buffer.Length, Array.MaxLength));
        }
    }
}
