using System.Globalization;
using System.Text.RegularExpressions;
using LsmFs.Load;
using LsmFs.Results;

namespace LsmFs.Restarts;

/// <summary>Starts servers again and again, on stores in a folder of its own.</summary>
internal sealed partial class Restarts(string folder, CancellationToken stop)
{
    // A memtable takes a sixth of it: room for more than a million entries of 16 + 100 bytes, which is what the log is asked to bring back.
    private const int LargeMemoryMebi = 1024;
    private const int SmallMemoryMebi = 256;

    /// <summary>From the start of the process to its first answer, on a folder that is not there yet. The programs take turns.</summary>
    public IEnumerable<ResultRow> WithEmptyStore(string published, string built, int count)
    {
        Say($"{count} starts of each with an empty store");
        List<double?> ofPublished = [], ofBuilt = [];
        for (var round = 0; round < count; round++)
        {
            foreach (var (program, figures) in ((string, List<double?>)[])[(published, ofPublished), (built, ofBuilt)])
            {
                var data = Path.Combine(folder, "empty");
                using (var server = Start(program, data, LargeMemoryMebi))
                {
                    figures.Add(server.FirstAnswerMilliseconds);
                }

                Directory.Delete(data, recursive: true);
            }
        }

        return
        [
            Row("Start", "start, compiled ahead (publish and run)", "ms", ofPublished, "from the start of the process to the answer to a first get, which finds nothing"),
            Row("Start", "start, compiled while it starts (dotnet build)", "ms", ofBuilt, null),
        ];
    }

    /// <summary>The log of a full memtable, read again by a server that was stopped before it could write a table.</summary>
    public IEnumerable<ResultRow> WithFullMemtable(string program, uint keyCount, int count)
    {
        var (filled, data) = (Path.Combine(folder, "log"), Path.Combine(folder, "log-copy"));
        Say($"{keyCount:N0} entries in the log, and {count} restarts");
        Fill(program, filled, LargeMemoryMebi, keyCount);
        List<double?> rates = [], answers = [];
        for (var round = 0; round < count; round++)
        {
            // A store writes what it recovered to a table when it likes; each round starts from the same log.
            Copy(filled, data);
            using (var server = Start(program, data, LargeMemoryMebi))
            {
                var (tables, entries, milliseconds) = ReadOpened(server);
                if (tables > 0 || entries < keyCount)
                {
                    throw new LoadException($"the log was to hold {keyCount:N0} entries, and there are {entries:N0} in it and {tables:N0} tables beside it");
                }

                rates.Add(entries / milliseconds * 1000);
                answers.Add(server.FirstAnswerMilliseconds);
            }

            Directory.Delete(data, recursive: true);
        }

        Directory.Delete(filled, recursive: true);
        return
        [
            Row("Recovery", "recovery of a full memtable", "entries/s", rates, string.Create(CultureInfo.InvariantCulture, $"{keyCount:N0} entries; the time is that of the log line of a restart: reading the log, verifying it and filling the memtable")),
            Row("Recovery", "recovery of a full memtable: process start to first answer", "ms", answers, null),
        ];
    }

    /// <summary>A store of many keys in tables.</summary>
    public IEnumerable<ResultRow> WithManyKeys(string program, uint keyCount, int count)
    {
        var data = Path.Combine(folder, "many");
        Say($"{keyCount:N0} keys, and {count} restarts");
        Fill(program, data, SmallMemoryMebi, keyCount);
        List<double?> opens = [], answers = [], resident = [];
        for (var round = 0; round < count; round++)
        {
            using var server = Start(program, data, SmallMemoryMebi);
            opens.Add(ReadOpened(server).Milliseconds);
            answers.Add(server.FirstAnswerMilliseconds);
            resident.Add(ProcessSample.Read(server.Target.ProcessId!.Value).ResidentBytes / (double)(1 << 20));
        }

        Directory.Delete(data, recursive: true);
        var name = string.Create(CultureInfo.InvariantCulture, $"restart with {keyCount:N0} keys");
        return
        [
            Row("Recovery", $"{name}: opening the store", "ms", opens, $"-m {SmallMemoryMebi}; tables, manifest and what the log holds"),
            Row("Recovery", $"{name}: process start to first answer", "ms", answers, null),
            Row("Recovery", $"{name}: resident after it", "MiB", resident, null),
        ];
    }

    private void Fill(string program, string data, int memoryMebi, uint keyCount)
    {
        using var server = Start(program, data, memoryMebi);
        Comparison.Fill(new Workload { KeyCount = keyCount, IsShuffled = true }, server.Target, stop);
    }

    private ServerProcess Start(string program, string data, int memoryMebi) =>
        ServerProcess.Start("LsmFs", $"\"{program}\" -p {{port}} -l 127.0.0.1 -m {memoryMebi} --durability os --data \"{data}\"", stop);

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var file in Directory.GetFiles(from))
        {
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }
    }

    private static (long Tables, long Entries, double Milliseconds) ReadOpened(ServerProcess server)
    {
        // Answered before its line has come through the pipe.
        for (var attempt = 0; attempt < 100; attempt++)
        {
            if (server.Lines.Select(line => OpenedLine().Match(line)).FirstOrDefault(match => match.Success) is { } opened)
            {
                double Number(int group) => double.Parse(opened.Groups[group].ValueSpan, CultureInfo.InvariantCulture);
                return ((long)Number(1), (long)Number(2), Math.Max(Number(3), 1));
            }

            Thread.Sleep(20);
        }

        throw new LoadException("the server did not say how long it took to open the store");
    }

    [GeneratedRegex(@"opened .*: (\d+) tables, .* (\d+) entries replayed from .* in (\d+) ms")]
    private static partial Regex OpenedLine();

    private static ResultRow Row(string section, string name, string unit, List<double?> figures, string? note) =>
        new() { Section = section, Name = name, Unit = unit, LsmFs = figures, Note = note };

    private static void Say(FormattableString text) => Console.Error.WriteLine(text.ToString(CultureInfo.InvariantCulture));
}
