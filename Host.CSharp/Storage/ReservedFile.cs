using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>A new file of the store whose writes are tried again with space of the reserve when the disk is full.</summary>
internal sealed class ReservedFile(StorageFile file, Reserve? reserve, SpaceUse use) : StorageFile
{
    /// <summary>What the space is for, or null for writes that must not touch the reserve.</summary>
    internal SpaceUse? Use { get; set; } = use;

    public override long LengthBytes => file.LengthBytes;

    public override int Read(Span<byte> buffer, long offsetBytes) => file.Read(buffer, offsetBytes);

    public override void Write(ReadOnlySpan<byte> bytes, long offsetBytes)
    {
        while (true)
        {
            try
            {
                file.Write(bytes, offsetBytes);
                return;
            }
            catch (IOException cause)
            {
                // The same bytes at the same place, so that it does not matter how many of them are there already.
                if (reserve is null || Use is not { } use || !reserve.TryRelease(use, bytes.Length, cause))
                {
                    throw;
                }
            }
        }
    }

    public override void SetLength(long lengthBytes) => file.SetLength(lengthBytes);

    public override void Allocate(long lengthBytes) => file.Allocate(lengthBytes);

    public override bool TryTakeAhead(long lengthBytes) => file.TryTakeAhead(lengthBytes);

    public override void Sync() => file.Sync();

    public override void StartWriteBack(long offsetBytes, long lengthBytes) => file.StartWriteBack(offsetBytes, lengthBytes);

    public override void Dispose() => file.Dispose();
}
