using LsmFs.Engine;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace LsmFs.Host;

/// <summary>What a salvage saved and lost.</summary>
internal sealed record SalvageReport(IReadOnlyList<Loss> Losses, long EntryCount, long SavedBytes);

/// <summary>Reads everything of a damaged store that is whole, as the engine's <see cref="Salvage"/> decides, and writes it to an empty folder.</summary>
internal sealed class StoreSalvage(DataFolder source, DataFolder target)
{
    private const int ReadLengthBytesMax = 64 * 1024;

    private static readonly Options EngineOptions = OptionsModule.ofBudget(64L << 20);

    private readonly List<Loss> _losses = [];

    /// <summary>Salvages, and prints a line for each loss. Throws <see cref="IOException"/> when the new folder takes no more.</summary>
    internal SalvageReport Run()
    {
        using var tableFiles = new TableFiles(source);
        var files = ListModule.OfSeq(source.Files());
        var (state, isMisfit) = ReadManifest(files);
        var sources = new List<SalvageSource>();
        foreach (var (number, meta) in Salvage.tables(state, isMisfit, files))
        {
            if (TryOpen(tableFiles, number, meta) is { } table)
            {
                sources.Add(table);
            }
        }

        var logs = ReadLogs(state, files);
        var progress = new Progress("read", sources.Sum(table => table.SizeBytes));
        using (progress)
        {
            var job = Salvage.job(
                EngineOptions,
                [.. sources, .. logs.Memtables.Select(frozen => new MemtableSource(frozen.Memtable))],
                logs.Flush,
                (uint)DateTimeOffset.UtcNow.ToUnixTimeSeconds());
            var tables = Write(job, tableFiles, progress);
            progress.Clear();
            foreach (var damage in sources.SelectMany(table => table.Notes))
            {
                Print($"note: {damage}; data blocks were looked for one behind the other without it");
            }

            foreach (var loss in sources.SelectMany(table => table.Losses))
            {
                Lose(loss);
            }

            var saved = Salvage.state(EngineOptions, ListModule.OfSeq(tables), logs.LastSequence, logs.Flush);
            Finish(saved);
            return new SalvageReport(_losses, job.Counts.WrittenCount, tables.Sum(table => table.SizeBytes));
        }
    }

    /// <summary>What the manifest says, if it can be read, and whether the files that are there do not fit it.</summary>
    private (FSharpValueOption<ManifestState> State, bool IsMisfit) ReadManifest(FSharpList<StoreFile> files)
    {
        Corruption damage;
        try
        {
            var manifest = ManifestFile.Read(source);
            if (manifest.IsOk)
            {
                return (FSharpValueOption<ManifestState>.NewValueSome(manifest.ResultValue.State), IsMisfit(manifest.ResultValue, files));
            }

            damage = manifest.ErrorValue;
        }
        catch (IOException cause)
        {
            damage = new Corruption(FileName.ofFile(StoreFile.Current), 0, $"it, or the manifest it names, cannot be read: {cause.Message}");
        }

        Lose(new Loss(damage, 0, FSharpValueOption<LostKeys>.ValueNone));
        Print("WITHOUT A MANIFEST every table and log that is there is read, and the newest entry of each key wins: ITEMS THAT WERE DELETED OR FLUSHED MAY COME BACK");
        return (FSharpValueOption<ManifestState>.ValueNone, false);
    }

    private static bool IsMisfit(ManifestReading manifest, FSharpList<StoreFile> files)
    {
        if (Salvage.misfit(manifest.Number, manifest.State, files) is not { IsSome: true, Value: var damage })
        {
            return false;
        }

        Print($"note: {damage}; the end of the manifest may be damaged, so tables that it does not name are read, too: ITEMS THAT WERE DELETED OR FLUSHED MAY COME BACK");
        return true;
    }

    private SalvageSource? TryOpen(TableFiles tableFiles, FileNumber number, FSharpValueOption<TableMeta> meta)
    {
        try
        {
            return new SalvageSource(tableFiles.Open(number), FSharpValueOption<Corruption>.ValueNone, ReadLengthBytesMax);
        }
        catch (StoreException cause) when (cause.Damage is { } damage && meta.IsSome)
        {
            var table = tableFiles.OpenWithoutEnd(meta.Value);
            return new SalvageSource(table, FSharpValueOption<Corruption>.NewValueSome(damage), ReadLengthBytesMax);
        }
        catch (StoreException cause) when (cause.Damage is { } damage)
        {
            Lose(Salvage.lostTable(damage, SizeOf(number), meta));
        }
        catch (IOException cause)
        {
            Lose(Salvage.lostTable(Unreadable(StoreFile.NewTable(number), cause), meta.IsSome ? meta.Value.SizeBytes : 0, meta));
        }

        return null;
    }

    private long SizeOf(FileNumber number)
    {
        using var file = source.OpenRead(StoreFile.NewTable(number));
        return file.LengthBytes;
    }

    private RecoveredLogs ReadLogs(FSharpValueOption<ManifestState> state, FSharpList<StoreFile> files)
    {
        var (numbers, missing) = Salvage.logs(state, files);
        foreach (var loss in missing)
        {
            Lose(loss);
        }

        var read = new List<SalvagedLog>();
        foreach (var number in numbers)
        {
            try
            {
                read.Add(Salvage.log(number, source.ReadAll(StoreFile.NewLog(number))));
            }
            catch (IOException cause)
            {
                Lose(new Loss(Unreadable(StoreFile.NewLog(number), cause), 0, FSharpValueOption<LostKeys>.ValueNone));
            }
        }

        var logs = Salvage.believable(ListModule.OfSeq(read));
        var (losses, notes) = Salvage.logLosses(logs);
        foreach (var loss in losses)
        {
            Lose(loss);
        }

        foreach (var note in notes)
        {
            Print($"note: {note}; a crash leaves such things, and it was never acknowledged");
        }

        var chunks = new ChunkPool(EngineOptions.ChunkSizeBytes, OptionsModule.recycledBytesMax(EngineOptions));
        var applied = Recovery.applyLogs(
            EngineOptions,
            FuncConvert.FromFunc(() => Memtable.Create(chunks)),
            state.IsSome ? state.Value : ManifestReplay.initial(EngineOptions.LevelCount),
            ListModule.Map(FuncConvert.FromFunc<SalvagedLog, ReplayedLog>(log => log.Log), logs));
        return applied.IsError ? throw StoreException.Damaged(source.Path, applied.ErrorValue) : applied.ResultValue;
    }

    private List<TableMeta> Write(Job job, TableFiles tableFiles, Progress progress)
    {
        var tables = new List<TableMeta>();
        StorageFile? output = null;
        var outputBytes = 0L;
        try
        {
            while (true)
            {
                switch (job.Next())
                {
                    case JobStep.Read read:
                        Read(tableFiles, read.read);
                        job.Supply();
                        progress.Advance(read.read.Handle.LengthBytes, 0);
                        break;

                    case JobStep.Write write:
                        if (output is null)
                        {
                            output = target.Create(StoreFile.NewTable(FileNumber.NewFileNumber((ulong)tables.Count + 1)));
                            outputBytes = 0;
                        }

                        output.Write(write.bytes, outputBytes);
                        outputBytes += write.bytes.Count;
                        break;

                    case { IsPause: true }:
                        break;

                    case JobStep.TableFinished finished:
                        output!.Sync();
                        output.Dispose();
                        output = null;
                        tables.Add(new TableMeta(FileNumber.NewFileNumber((ulong)tables.Count + 1), finished.sizeBytes, finished.properties));
                        break;

                    case JobStep.Failed failed:
                        throw StoreException.Damaged(source.Path, failed.corruption);

                    default:
                        return tables;
                }
            }
        }
        finally
        {
            output?.Dispose();
        }
    }

    private static void Read(TableFiles tableFiles, BlockRead read)
    {
        var destination = read.Destination.AsSpan(0, read.Handle.LengthBytes);
        try
        {
            tableFiles.Read(read.Table, read.Handle.OffsetBytes, destination);
        }
        catch (IOException)
        {
            // Zeros are no block: the ones that the disk does not give are lost. Smaller reads might give some of them.
            ReadEach(tableFiles, read, destination);
        }
    }

    private static void ReadEach(TableFiles tableFiles, BlockRead read, Span<byte> destination)
    {
        const int SectorBytes = 4096;
        for (var start = 0; start < destination.Length; start += SectorBytes)
        {
            var part = destination.Slice(start, Math.Min(SectorBytes, destination.Length - start));
            try
            {
                tableFiles.Read(read.Table, read.Handle.OffsetBytes + start, part);
            }
            catch (IOException)
            {
                part.Clear();
            }
        }
    }

    /// <summary>Makes the tables a store.</summary>
    private void Finish(ManifestState state)
    {
        var (manifest, _) = Backup.encodeManifest(state.NextFile, LogWriter.NewSalt(), state);
        ManifestFile.Install(target, state.NextFile, manifest);
    }

    private static Corruption Unreadable(StoreFile file, IOException cause) => new(FileName.ofFile(file), 0, $"it cannot be read: {cause.Message}");

    private void Lose(Loss loss)
    {
        _losses.Add(loss);
        Print($"lost: {Salvage.describe(loss)}");
    }

    private static void Print(string line) => Console.Out.WriteLine(OneLineFormatter.InOneLine(line));
}
