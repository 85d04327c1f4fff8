using System.Buffers.Binary;
using System.Security.Cryptography;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Appends frames to a log file. Not thread-safe.</summary>
internal sealed class LogWriter : IDisposable
{
    private const long AheadBytesMin = 64 * 1024;
    private const long AheadBytesMax = 2 * 1024 * 1024;

    private readonly ReservedFile _file;
    // Whether space is taken before it is written to; not any more once that has failed.
    private bool _takesAhead;
    // Up to where the file is zeros behind the whole frames.
    private long _takenBytes;
    // Whether an unfinished append may have left something behind the whole frames.
    private bool _hasTail;

    private LogWriter(ReservedFile file, FileNumber number, uint seed, long lengthBytes, bool takesAhead)
    {
        _file = file;
        _takesAhead = takesAhead;
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

    /// <summary>Whether an unfinished append left something that is not cut off yet, or the disk may not know of the cut.</summary>
    internal bool HasUnsyncedCut { get; private set; }

    /// <summary>A salt for the header of a log file, which no client can guess.</summary>
    internal static ulong NewSalt()
    {
        Span<byte> salt = stackalloc byte[sizeof(ulong)];
        RandomNumberGenerator.Fill(salt);
        return BinaryPrimitives.ReadUInt64BigEndian(salt);
    }

    /// <summary>
    /// Creates a log file with its header. Header and name are durable on return when <paramref name="durable"/>. A file that could not be
    /// completed is deleted again. With <paramref name="takesAhead"/> the file is longer than what was appended, where that makes appends cheaper, until
    /// <see cref="Seal"/>.
    /// </summary>
    internal static LogWriter Create(DataFolder folder, LogKind kind, FileNumber number, bool durable, bool takesAhead = false)
    {
        var name = kind.Tag switch
        {
            LogKind.Tags.Manifest => StoreFile.NewManifest(number),
            LogKind.Tags.DecisionLog => StoreFile.NewDecisions(number),
            _ => StoreFile.NewLog(number),
        };
        // The reserve of a full disk is for what the store needs.
        var file = kind.IsDecisionLog ? new ReservedFile(folder.Create(name), reserve: null, SpaceUse.Manifest) : folder.Create(name, SpaceUse.Manifest);
        try
        {
            var header = new ByteBuffer(LogFile.headerLength);
            var seed = LogFile.appendHeader(header, kind, number, NewSalt());
            file.Write(header.Written, 0);
            if (durable)
            {
                file.Sync();
                folder.Sync();
            }

            return new LogWriter(file, number, seed, header.Length, takesAhead);
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
    /// Appends one finished frame, with space of the reserve on a full disk if there is a <paramref name="use"/> for it. When the disk does not take all of
    /// it, the file is cut back to whole frames, now or, should even that fail, before anything else is appended.
    /// </summary>
    internal void Append(ReadOnlySpan<byte> frame, SpaceUse? use)
    {
        CutTail();
        if (_takesAhead && LengthBytes + frame.Length > _takenBytes)
        {
            TakeAhead(frame.Length);
        }

        _file.Use = use;
        try
        {
            _file.Write(frame, LengthBytes);
        }
        catch (IOException)
        {
            _hasTail = true;
            HasUnsyncedCut = true;
            try
            {
                CutTail();
            }
            catch (IOException)
            {
                // The error to tell is the first one.
            }

            throw;
        }

        LengthBytes += frame.Length;
    }

    /// <summary>Gives back the space that was taken and not needed: no frame follows.</summary>
    internal void Seal()
    {
        CutTail();
        _takesAhead = false;
        if (_takenBytes > LengthBytes)
        {
            _file.SetLength(LengthBytes);
        }

        _takenBytes = 0;
    }

    /// <summary>Makes all appended frames durable. After an exception the file must not be used again: what the disk holds is unknown.</summary>
    internal void Sync()
    {
        _file.Sync();
        HasUnsyncedCut = _hasTail;
    }

    /// <summary>Cuts off what an unfinished append may have left.</summary>
    internal void CutTail()
    {
        if (_hasTail)
        {
            _file.SetLength(LengthBytes);
            _hasTail = false;
            _takenBytes = 0;
        }
    }

    // In proportion to the log, so that a small one takes little that it may not need.
    private void TakeAhead(int neededBytes)
    {
        var takenBytes = LengthBytes + neededBytes + Math.Clamp(LengthBytes / 4, AheadBytesMin, AheadBytesMax);
        try
        {
            _takesAhead = _file.TryTakeAhead(takenBytes);
            _takenBytes = takenBytes;
        }
        catch (IOException)
        {
            // The append that follows is told the reason if it has no space either, and may use the reserve. What was taken all the same is cut off first.
            _takesAhead = false;
            _hasTail = true;
            CutTail();
        }
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();
}
