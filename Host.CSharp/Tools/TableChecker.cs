using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Reads every byte of tables, and reports what the engine finds wrong with them.</summary>
internal sealed class TableChecker(DataFolder folder, Progress progress, Action<Corruption> report)
{
    private const int ReadLengthBytesMax = 1 << 20;

    private byte[] _buffer = new byte[ReadLengthBytesMax];

    /// <summary>
    /// Checks a table, against what the manifest says of it if that is known, and returns how many entries it has in blocks that can be believed. After
    /// damage it goes on with the next block.
    /// </summary>
    internal long Check(FileNumber number, TableMeta? meta)
    {
        var name = FileName.ofFile(StoreFile.NewTable(number));
        using var tables = new TableFiles(folder);
        var entryCount = 0L;
        try
        {
            var table = tables.Open(number);
            if (meta is not null)
            {
                Report(Engine.Check.tableAgainstManifest(meta, table));
            }

            var check = new TableCheck(table);
            CheckBlocks(tables, table, check);
            entryCount = check.EntryCount;
            var recount = check.Recount;
            if (recount.IsSome)
            {
                Report(Engine.Check.tableAgainstRecount(table, recount.Value));
            }
        }
        catch (StoreException cause) when (cause.Damage is { } damage)
        {
            report(damage);
        }
        catch (IOException cause)
        {
            report(new Corruption(name, 0, $"it cannot be read: {cause.Message}"));
        }

        return entryCount;
    }

    private void CheckBlocks(TableFiles tables, Table table, TableCheck check)
    {
        for (var partition = 0; partition < table.PartitionCount; partition++)
        {
            var handle = table.PartitionHandle(partition);
            if (!TryRead(tables, table, handle.OffsetBytes, handle.LengthBytes))
            {
                check.SkipPartition(partition);
                continue;
            }

            var opened = check.Partition(partition, _buffer, 0);
            if (opened.IsError)
            {
                report(opened.ErrorValue);
            }

            progress.Advance(handle.LengthBytes, 0);
            CheckDataBlocks(tables, table, check);
        }
    }

    private void CheckDataBlocks(TableFiles tables, Table table, TableCheck check)
    {
        var next = 0;
        while (next < check.BlockCount)
        {
            var first = next;
            (var run, next) = check.Run(first, ReadLengthBytesMax);
            if (!TryRead(tables, table, run.OffsetBytes, run.LengthBytes))
            {
                check.Skip();
                continue;
            }

            var before = check.EntryCount;
            for (var block = first; block < next; block++)
            {
                var verified = check.Block(block, _buffer, (int)(check.BlockHandle(block).OffsetBytes - run.OffsetBytes));
                if (verified.IsError)
                {
                    report(verified.ErrorValue);
                }
            }

            progress.Advance(run.LengthBytes, check.EntryCount - before);
        }
    }

    private bool TryRead(TableFiles tables, Table table, long offsetBytes, int length)
    {
        if (length > _buffer.Length)
        {
            _buffer = new byte[length];
        }

        try
        {
            tables.Read(table, offsetBytes, _buffer.AsSpan(0, length));
            return true;
        }
        catch (IOException cause)
        {
            report(new Corruption(table.File, offsetBytes, $"{length} bytes cannot be read: {cause.Message}"));
            return false;
        }
    }

    private void Report(IEnumerable<Corruption> corruptions)
    {
        foreach (var corruption in corruptions)
        {
            report(corruption);
        }
    }
}
