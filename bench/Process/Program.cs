using System.Globalization;
using LsmFs.Load;
using LsmFs.Restarts;
using LsmFs.Results;

const string Help = """
    LsmFs.Process: how long a server takes to answer, with an empty store, a full log, and many keys (Linux)

      --published PROGRAM    lsmfs as `build.fsx publish` and `build.fsx run` compile it, ahead of time
      --built PROGRAM        lsmfs as `dotnet build` leaves it
      --results FILE         where the figures go
      --starts N             default 15, of each program with an empty store
      --log-keys N           default 1100000: entries that the log holds
      --keys N               default 20000000: keys of the large store
      --restarts N           default 5, of each of these
      --folder FOLDER        where the stores live meanwhile, default TMPDIR

    Exit code: 0, or 2 when something could not be measured (one line says why).
    """;

return Tool.Run("LsmFs.Process", Help, "the figures come from Linux's /proc", args, stop =>
{
    var arguments = new Arguments(args);
    string Required(string name) => arguments.Take(name) ?? throw new LoadException($"{name} is wanted (--help says what for)");
    var (published, built, file) = (Required("--published"), Required("--built"), Required("--results"));
    var startCount = (int)(arguments.TakeInteger("--starts", 1, 1000) ?? 15);
    var restartCount = (int)(arguments.TakeInteger("--restarts", 1, 1000) ?? 5);
    var logKeys = (uint)(arguments.TakeInteger("--log-keys", 1000, 1_150_000) ?? 1_100_000);
    var keys = (uint)(arguments.TakeInteger("--keys", 1000, 1_000_000_000) ?? 20_000_000);
    var parent = arguments.Take("--folder") ?? Path.GetTempPath();
    arguments.RefuseRest();
    var folder = Directory.CreateDirectory(Path.Combine(parent, $"lsmfs-process-{Environment.ProcessId}")).FullName;
    try
    {
        var restarts = new Restarts(folder, stop);
        List<ResultRow> rows = [];
        rows.AddRange(restarts.WithEmptyStore(published, built, startCount));
        rows.AddRange(restarts.WithFullMemtable(published, logKeys, restartCount));
        rows.AddRange(restarts.WithManyKeys(published, keys, restartCount));
        ResultFile.Write(file, new PartResult
        {
            Part = "process",
            Command = "dotnet fsi build.fsx bench -- process",
            Conditions = string.Create(
                CultureInfo.InvariantCulture,
                $"Each figure is of a process of its own; the median of {startCount} starts and of {restartCount} restarts (least to most). Keys of 16 bytes with values of 100, given over the wire in random order. Files are in the page cache."),
            Environment = Machine.Read(new Dictionary<string, string>()),
            Rows = rows,
        });
        Console.WriteLine($"written: {file}");
        return 0;
    }
    finally
    {
        Directory.Delete(folder, recursive: true);
    }
});
