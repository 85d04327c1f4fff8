using LsmFs.Engine;
using Microsoft.FSharp.Core;

namespace LsmFs.Host;

/// <summary>What the manifest of a folder says, and which one it was.</summary>
internal sealed record ManifestReading(FileNumber Number, ManifestState State, byte[] Bytes);

/// <summary>The manifest in force of a folder, as the commands beside <c>serve</c> read and write it.</summary>
internal static class ManifestFile
{
    // The server of a store replaces its manifest, and deletes the one that was read about a moment ago.
    private const int AttemptCountMax = 5;

    // The same for every memory budget.
    private static readonly int LevelCount = OptionsModule.ofBudget(OptionsModule.memoryBudgetBytesMin).LevelCount;

    /// <summary>
    /// Reads the manifest that <c>CURRENT</c> names, whether a server is running on the folder or not. A damaged or missing manifest is the error; so
    /// is a missing <c>CURRENT</c>. Throws <see cref="IOException"/> when the disk fails.
    /// </summary>
    public static FSharpResult<ManifestReading, Corruption> Read(DataFolder folder)
    {
        var current = FileName.ofFile(StoreFile.Current);
        for (var attempt = 1; ; attempt++)
        {
            if (!folder.Exists(StoreFile.Current))
            {
                return Damaged(current, "it is not there, and without it nobody knows which manifest is in force");
            }

            var named = ManifestReplay.decodeCurrent(folder.ReadAll(StoreFile.Current));
            if (named.IsError)
            {
                return FSharpResult<ManifestReading, Corruption>.NewError(named.ErrorValue);
            }

            var file = StoreFile.NewManifest(named.ResultValue);
            var name = FileName.ofFile(file);
            try
            {
                var bytes = folder.ReadAll(file);
                var state = ManifestReplay.replay(LevelCount, named.ResultValue, name, bytes);
                return state.IsError
                    ? FSharpResult<ManifestReading, Corruption>.NewError(state.ErrorValue)
                    : FSharpResult<ManifestReading, Corruption>.NewOk(new ManifestReading(named.ResultValue, state.ResultValue, bytes));
            }
            catch (FileNotFoundException) when (attempt < AttemptCountMax)
            {
                Thread.Sleep(1);
            }
            catch (FileNotFoundException)
            {
                return Damaged(current, $"it names {name}, and that is not there");
            }
        }
    }

    /// <summary>Writes a whole manifest, and makes <c>CURRENT</c> name it. Durable on return; a crash leaves the manifest before, or this one.</summary>
    public static void Install(DataFolder folder, FileNumber number, ReadOnlySpan<byte> manifest)
    {
        using (var file = folder.Create(StoreFile.NewManifest(number)))
        {
            file.Write(manifest, 0);
            file.Sync();
        }

        folder.Sync();
        folder.Prepare(ManifestReplay.encodeCurrent(number));
        folder.Replace(StoreFile.Current);
    }

    private static FSharpResult<ManifestReading, Corruption> Damaged(string file, string reason) =>
        FSharpResult<ManifestReading, Corruption>.NewError(new Corruption(file, 0, reason));
}
