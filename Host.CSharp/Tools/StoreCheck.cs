using LsmFs.Engine;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>Reads every file of a store once, and tells what the engine finds wrong with it.</summary>
internal sealed class StoreCheck
{
    private readonly DataFolder _folder;
    private readonly Action<string> _print;
    private readonly IReadOnlyList<StoreFile> _files;
    private readonly long _totalBytes;
    private readonly Progress _progress;
    private readonly HashSet<string> _damagedFiles = [];
    private int _damageCount;
    private int _remnantCount;
    private int _tableCount;
    private int _logCount;
    private long _entryCount;

    /// <summary>
    /// A check of the store in a folder, whose files have <paramref name="totalBytes"/> without the reserve. It tells each finding, and at last what it has read,
    /// to <paramref name="print"/>.
    /// </summary>
    internal StoreCheck(DataFolder folder, long totalBytes, Action<string> print)
    {
        _folder = folder;
        _print = print;
        _files = folder.Files();
        _totalBytes = totalBytes;
        _progress = new Progress("checked", totalBytes);
    }

    /// <summary>Checks everything; whether the store is whole.</summary>
    internal bool Run()
    {
        using (_progress)
        {
            var manifest = CheckManifest();
            CheckTables(manifest?.State);
            CheckLogs(manifest?.State);
            CheckDecisions();
        }

        var read = $"{ToolCommand.Count(_tableCount, "table")} with {_entryCount} entries, {ToolCommand.Count(_logCount, "log")}, {ByteSize.Text(_totalBytes)}";
        var remnants = _remnantCount == 0 ? "" : $", {ToolCommand.Count(_remnantCount, "note")}";
        _print(
            _damageCount == 0
                ? $"whole: {read}{remnants}"
                : $"damaged: {ToolCommand.Count(_damageCount, "finding")} in {ToolCommand.Count(_damagedFiles.Count, "file")}; {read}{remnants}");
        return _damageCount == 0;
    }

    private ManifestReading? CheckManifest()
    {
        var read = ManifestFile.Read(_folder);
        if (read.IsError)
        {
            Report(read.ErrorValue);
            return null;
        }

        var manifest = read.ResultValue;
        _progress.Advance(manifest.Bytes.Length, 0);
        Report(Check.manifest(manifest.Number, manifest.Bytes));
        Report(Check.files(manifest.Number, manifest.State, ListModule.OfSeq(_files)));
        foreach (var corruption in Check.levels(manifest.Number, manifest.State))
        {
            Report(corruption);
        }

        return manifest;
    }

    // Without a manifest nobody knows which tables are the store's, so that all of them are checked, each for itself.
    private void CheckTables(ManifestState? state)
    {
        var known = state is null ? [] : VersionModule.tables(state.Version).ToDictionary(table => table.Item2.Number, table => table.Item2);
        var checker = new TableChecker(_folder, _progress, Report);
        foreach (var number in _files.OfType<StoreFile.Table>().Select(table => table.Item).Order())
        {
            var meta = known.GetValueOrDefault(number);
            if (state is null || meta is not null)
            {
                _tableCount++;
                _entryCount += checker.Check(number, meta);
            }
        }
    }

    private void CheckLogs(ManifestState? state)
    {
        var logs = Check.noLogs;
        foreach (var number in _files.OfType<StoreFile.Log>().Select(log => log.Item).Order())
        {
            if (state is not null && number.Value < state.OldestLog.Value)
            {
                continue;
            }

            _logCount++;
            try
            {
                var bytes = _folder.ReadAll(StoreFile.NewLog(number));
                var (next, findings) = Check.addLog(number, bytes, logs);
                logs = next;
                Report(findings);
                _progress.Advance(bytes.Length, 0);
            }
            catch (IOException cause)
            {
                Report(new Corruption(FileName.ofFile(StoreFile.NewLog(number)), 0, $"it cannot be read: {cause.Message}"));
            }
        }

        Report(Check.finishLogs(logs));
    }

    private void CheckDecisions()
    {
        foreach (var number in _files.OfType<StoreFile.Decisions>().Select(log => log.Item).Order())
        {
            try
            {
                var bytes = _folder.ReadAll(StoreFile.NewDecisions(number));
                Report(Check.decisions(number, bytes));
                _progress.Advance(bytes.Length, 0);
            }
            catch (IOException cause)
            {
                Report([Finding.NewAside(new Corruption(FileName.ofFile(StoreFile.NewDecisions(number)), 0, $"it cannot be read: {cause.Message}"))]);
            }
        }
    }

    private void Report(IEnumerable<Finding> findings)
    {
        foreach (var finding in findings)
        {
            switch (finding)
            {
                case Finding.Damage damage:
                    Report(damage.Item);
                    break;

                case Finding.Remnant remnant:
                    _remnantCount++;
                    Print($"note: {remnant.Item}; a crash leaves such things, and the next start clears them away");
                    break;

                case Finding.Aside aside:
                    _remnantCount++;
                    Print($"note: {aside.Item}; a decision log is only for people, the store does not need it");
                    break;
            }
        }
    }

    private void Report(IEnumerable<Corruption> corruptions)
    {
        foreach (var corruption in corruptions)
        {
            Report(corruption);
        }
    }

    private void Report(Corruption corruption)
    {
        _damageCount++;
        _damagedFiles.Add(corruption.File);
        Print($"damage: {corruption}");
    }

    private void Print(string line)
    {
        _progress.Clear();
        _print(OneLineFormatter.InOneLine(line));
    }
}
