using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using LsmFs.Load;

namespace LsmFs.Embedded;

/// <summary>The process an engine runs in: started from outside, and what it does inside.</summary>
internal static class EngineProcess
{
    public const string LsmFs = "lsmfs";
    public const string RocksDb = "rocksdb";
    public const string ZoneTree = "zonetree";

    /// <summary>All that there are.</summary>
    public static readonly string[] Engines = [LsmFs, RocksDb, ZoneTree];

    // All of the work, and a store that has only ever had what the deletions left of the other one.
    private const string Whole = "whole";
    private const string KeptOnly = "kept";

    /// <summary>Runs an engine through everything. Its stores are in folders of their own, and gone when this returns.</summary>
    public static RunResult Run(string engine, Settings settings, string folder, IReadOnlyList<string> prefix)
    {
        var whole = RunPart(engine, Whole, settings, folder, prefix);
        var kept = RunPart(engine, KeptOnly, settings, folder, prefix);
        return whole with { Phases = [.. whole.Phases, .. kept.Phases] };
    }

    /// <summary>In the engine's process: runs one part of the work and writes down the result.</summary>
    public static void RunInside(string engineName, string part, string folder, string settingsFile, string resultFile)
    {
        var settings = JsonSerializer.Deserialize<Settings>(File.ReadAllText(settingsFile))!;
        Directory.CreateDirectory(folder);
        Console.Error.WriteLine($"{engineName}, {part}");
        if (part is not (Whole or KeptOnly))
        {
            var empty = SizeSample.Take(0, folder);
            var phases = new PhaseList(folder, (store, settings) => Open(engineName, store, settings));
            Suite.RunInside(part, settings, phases);
            Write(resultFile, new RunResult { Engine = engineName, Setup = phases.Setup, Empty = empty, Phases = phases.Results });
            return;
        }

        RunWhole(engineName, part, folder, settings, resultFile);
    }

    private static void RunWhole(string engineName, string part, string folder, Settings settings, string resultFile)
    {
        var dataset = new Dataset(settings);
        var empty = SizeSample.Take(0, folder);
        using var engine = Open(engineName, folder, settings);
        var runner = new PhaseRunner(engine, settings, dataset, folder);
        if (part == Whole)
        {
            runner.Load("load");
            runner.Overwrite();
            runner.OverwriteAndRead();
            runner.ReadZipfian();
            runner.ReadUniform();
            runner.ReadMissing();
            runner.SeekAndScan();
            runner.Scan("scan", onlyKept: false);
            runner.Delete();
            runner.Scan("scan what is left", onlyKept: true);
            runner.Load("load again");
            runner.RemoveEverything();
        }
        else
        {
            runner.Load("load what is left", onlyKept: true);
            runner.Scan("scan that", onlyKept: true);
        }

        Write(resultFile, new RunResult { Engine = engineName, Setup = engine.Setup, Empty = empty, Phases = runner.Results });
    }

    private static void Write(string file, RunResult result) => File.WriteAllText(file, JsonSerializer.Serialize(result));

    private static IEngine Open(string engineName, string folder, Settings settings) => engineName switch
    {
        LsmFs => new LsmFsEngine(folder, settings),
        RocksDb => new RocksDbEngine(folder, settings),
        _ => new ZoneTreeEngine(folder, settings),
    };

    /// <summary>The version of a peer's package.</summary>
    public static string VersionOf(string engine)
    {
        var library = (engine == RocksDb ? typeof(RocksDbSharp.StatisticsLevel) : typeof(global::ZoneTree.IZoneTree<,>)).Assembly;
        return FileVersionInfo.GetVersionInfo(library.Location).FileVersion ?? library.GetName().Version!.ToString();
    }

    /// <summary>Runs one part of the work in a process of its own. Its stores are gone when this returns.</summary>
    public static RunResult RunPart(string engine, string part, Settings settings, string folder, IReadOnlyList<string> prefix)
    {
        var store = Path.Combine(folder, engine);
        var settingsFile = Path.Combine(folder, "settings.json");
        var resultFile = Path.Combine(folder, "result.json");
        File.WriteAllText(settingsFile, JsonSerializer.Serialize(settings));
        var program = Environment.ProcessPath ?? throw new InvalidOperationException("the program's own path is unknown");
        List<string> command = [.. prefix, program];
        if (Path.GetFileNameWithoutExtension(program) == "dotnet")
        {
            command.Add(typeof(EngineProcess).Assembly.Location);
        }

        command.AddRange(["child", engine, part, store, settingsFile, resultFile]);
        using var process = Process.Start(new ProcessStartInfo(command[0], command[1..])) ?? throw new LoadException($"could not start {command[0]}");
        // Ended from outside: the engine's process goes first, then what it left behind.
        void Stop(PosixSignalContext context)
        {
            context.Cancel = true;
            process.Kill(entireProcessTree: true);
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        process.WaitForExit();

        if (process.ExitCode != 0)
        {
            throw new LoadException($"the process of {engine} ended with exit code {process.ExitCode}");
        }

        Directory.Delete(store, recursive: true);
        return JsonSerializer.Deserialize<RunResult>(File.ReadAllText(resultFile))!;
    }
}
