using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary><c>lsmfs dump</c>: writes all live items of a store as lines, in the order of their keys.</summary>
internal static class DumpCommand
{
    private const int WriteLengthBytes = 256 * 1024;

    /// <summary>
    /// Dumps to stdout or to a file that must not be there yet, which is durable on return. Throws <see cref="StoreException"/> when there is no
    /// store, it is in use or damaged, and <see cref="IOException"/> when the output takes no more.
    /// </summary>
    public static int Run(DumpOptions options)
    {
        using var store = ReadOnlyStore.Open(options.DataFolder);
        if (options.OutFile.IsNone)
        {
            using var output = Console.OpenStandardOutput();
            _ = Dump(store, output);
            return ExitCode.Success;
        }

        var path = Path.GetFullPath(options.OutFile.Value);
        if (File.Exists(path))
        {
            throw new StoreException($"the file {path} is there already; remove it or choose another one with --out");
        }

        using var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);
        var itemCount = Dump(store, file);
        Posix.Sync(file.SafeFileHandle);
        Console.Out.WriteLine($"dumped {itemCount} items, {ByteSize.Text(file.Length)}, to {path}");
        return ExitCode.Success;
    }

    private static long Dump(ReadOnlyStore store, Stream output)
    {
        using var progress = new Progress("dumped", totalBytes: 0);
        var lines = new ByteBuffer(WriteLengthBytes);
        var itemCount = 0L;

        void Write()
        {
            output.Write(lines.Written);
            progress.Advance(lines.Length, 0);
            lines.ClearAndTrim(2 * WriteLengthBytes);
        }

        DumpFormat.appendFirst(lines);
        store.Scan((uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds(), entry =>
        {
            DumpFormat.appendItem(lines, entry);
            itemCount++;
            progress.Advance(0, 1);
            if (lines.Length >= WriteLengthBytes)
            {
                Write();
            }
        });
        DumpFormat.appendLast(lines, itemCount);
        Write();
        output.Flush();
        return itemCount;
    }
}
