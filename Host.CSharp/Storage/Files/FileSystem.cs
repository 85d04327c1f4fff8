namespace LsmFs.Host;

/// <summary>
/// Every operation on files that a store performs. There is one implementation for use; the tests have one that fails where they say, and one that
/// forgets at a power cut what was not synced. All paths are absolute. Errors are <see cref="IOException"/>; of the
/// folder and the lock also <see cref="UnauthorizedAccessException"/>.
/// </summary>
internal abstract class FileSystem
{
    /// <summary>The operating system's.</summary>
    public static FileSystem OfOperatingSystem { get; } = new OperatingSystemFiles();

    /// <summary>Creates a folder, and those above it, when they are not there; the names of new ones are durable on return.</summary>
    public abstract void CreateFolder(string path);

    /// <summary>
    /// Opens a file that no other process can have open in this way, until it is disposed of. It is created when it is not there, unless the lock is only
    /// held to read.
    /// </summary>
    public abstract IDisposable Lock(string path, bool forReading);

    /// <summary>The names of the files in a folder.</summary>
    public abstract IReadOnlyList<string> FileNames(string folder);

    /// <summary>Whether there is such a file.</summary>
    public abstract bool Exists(string path);

    /// <summary>Creates a file that must not be there yet.</summary>
    public abstract StorageFile Create(string path);

    /// <summary>Opens a file for reads at any place.</summary>
    public abstract StorageFile OpenRead(string path);

    /// <summary>Opens a file that is there, for changes.</summary>
    public abstract StorageFile OpenWrite(string path);

    /// <summary>Deletes a file; one that is not there is no error.</summary>
    public abstract void Delete(string path);

    /// <summary>Gives a file another name, in the place of the file that may have it.</summary>
    public abstract void Move(string path, string newPath);

    /// <summary>
    /// Gives a file of any folder another name as well, which must not be there yet. False when that cannot be: not every file system has such names,
    /// and none has them across its border.
    /// </summary>
    public abstract bool TryLink(string path, string newPath);

    /// <summary>Makes created, renamed and deleted names of a folder durable.</summary>
    public abstract void SyncFolder(string path);
}

/// <summary>An open file. Reads are thread-safe.</summary>
internal abstract class StorageFile : IDisposable
{
    /// <summary>Its length in bytes.</summary>
    public abstract long LengthBytes { get; }

    /// <summary>Reads some bytes from an offset on; 0 at the end of the file.</summary>
    public abstract int Read(Span<byte> buffer, long offsetBytes);

    /// <summary>
    /// Fills a buffer from an offset on if that is possible without waiting for the disk; false when it is not, cannot be known, or fails, and then
    /// the buffer's content is undefined.
    /// </summary>
    public virtual bool TryReadNow(Span<byte> buffer, long offsetBytes) => false;

    /// <summary>Writes all bytes at an offset. After an exception some of them may have been written.</summary>
    public abstract void Write(ReadOnlySpan<byte> bytes, long offsetBytes);

    /// <summary>Cuts or extends the file.</summary>
    public abstract void SetLength(long lengthBytes);

    /// <summary>
    /// Extends the file to a length, if it is shorter, and takes space on the disk for all of it. After an exception the file may be longer than before.
    /// </summary>
    public abstract void Allocate(long lengthBytes);

    /// <summary>
    /// Extends the file with zeros to a length, as <see cref="Allocate"/> does, so that writes below it cost no call of the operating system: they are as
    /// good as written when they return, as others are. False where that cannot be. <see cref="SetLength"/> ends it.
    /// </summary>
    public virtual bool TryTakeAhead(long lengthBytes) => false;

    /// <summary>Makes content and length durable. After an exception nobody knows what the disk holds.</summary>
    public abstract void Sync();

    /// <summary>Lets the operating system begin to write a part of the file to the disk. A hint: whether it worked shows in <see cref="Sync"/>.</summary>
    public virtual void StartWriteBack(long offsetBytes, long lengthBytes)
    {
    }

    /// <summary>Closes the file.</summary>
    public abstract void Dispose();

    /// <summary>Fills a buffer from an offset on; a file that ends early is an <see cref="EndOfStreamException"/>.</summary>
    public void ReadExactly(Span<byte> buffer, long offsetBytes)
    {
        while (!buffer.IsEmpty)
        {
            var count = Read(buffer, offsetBytes);
            if (count == 0)
            {
                throw new EndOfStreamException($"the file ends before offset {offsetBytes}");
            }

            buffer = buffer[count..];
            offsetBytes += count;
        }
    }
}
