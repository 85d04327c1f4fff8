using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Appends frames to a write-ahead log or a manifest. Not thread-safe.</summary>
internal sealed class LogWriter : IDisposable
{
    private readonly StorageFile _file;

    private LogWriter(StorageFile file, FileNumber number, uint seed, long lengthBytes)
    {
        _file = file;
        Number = number;
        Seed = seed;
        LengthBytes = lengthBytes;
    }

    /// <summary>The number in the file's name.</summary>
    internal FileNumber Number { get; }

    /// <summary>What the checksums of the file's frames continue from.</summary>
    internal uint Seed { get; }

    /// <summary>Bytes of the whole frames in the file.</summary>
    internal long LengthBytes { get; private set; }

    /// <summary>Whether what an unfinished append left was cut off, and the disk may not know yet.</summary>
    internal bool HasUnsyncedCut { get; private set; }

    /// <summary>
    /// Creates a log file with its header. Header and name are durable on return when <paramref name="durable"/>. A file that could not be
    /// completed is deleted again.
    /// </summary>
    internal static LogWriter Create(DataFolder folder, LogKind kind, FileNumber number, bool durable)
    {
        var name = kind.IsManifest ? StoreFile.NewManifest(number) : StoreFile.NewLog(number);
        var file = folder.Create(name);
        try
        {
            var header = new ByteBuffer(LogFile.headerLength);
            var salt = (ulong)System.Security.Cryptography.RandomNumberGenerator.GetInt32(int.MaxValue) << 32
                | (uint)System.Security.Cryptography.RandomNumberGenerator.GetInt32(int.MaxValue);
            var seed = LogFile.appendHeader(header, kind, number, salt);
            file.Write(header.Written, 0);
            if (durable)
            {
                file.Sync();
                folder.Sync();
            }

            return new LogWriter(file, number, seed, header.Length);
        }
        catch
        {
            file.Dispose();
            try
            {
                folder.Delete(name);
            }
            catch (IOException)
            {
                // The reason to tell is the first one; a log without records is deleted with the logs before it, a manifest at the next start.
            }

            throw;
        }
    }

    /// <summary>
    /// Appends one finished frame. When the disk does not take all of it, the file is cut back to whole frames before the exception leaves;
    /// <paramref name="isIntact"/> is false if even that failed, and then nothing more may be appended.
    /// </summary>
    internal void Append(ReadOnlySpan<byte> frame, ref bool isIntact)
    {
        try
        {
            _file.Write(frame, LengthBytes);
        }
        catch (IOException)
        {
            try
            {
                _file.SetLength(LengthBytes);
                HasUnsyncedCut = true;
            }
            catch (IOException)
            {
                isIntact = false;
            }

            throw;
        }

        LengthBytes += frame.Length;
    }

    /// <summary>Makes all appended frames durable. After an exception the file must not be used again: what the disk holds is unknown.</summary>
    internal void Sync()
    {
        _file.Sync();
        HasUnsyncedCut = false;
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();
}
