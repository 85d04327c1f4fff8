namespace LsmFs.Load;

/// <summary>What a suite runs with.</summary>
public sealed record SuiteOptions
{
    /// <summary>Command lines of the servers. {port} stands for a free port, {memory} for megabytes, {data} for a new folder, {durability} for os or sync.</summary>
    public required string LsmFsCommand { get; init; }
    public required string MemcachedCommand { get; init; }
    public required string MemcachedProgram { get; init; }
    public required string? OutputFile { get; init; }
    public required string? ResultsFile { get; init; }
    public required int RoundCount { get; init; }
    public required string? RowFilter { get; init; }
    /// <summary>Names of groups; null is all.</summary>
    public required IReadOnlyList<string>? Groups { get; init; }
    public required string? ServerCpus { get; init; }
    public required double? TimeLimitSeconds { get; init; }
    public required bool IsQuick { get; init; }
    /// <summary>What the rows have in common.</summary>
    public required Workload Workload { get; init; }

    public static SuiteOptions Take(Arguments arguments)
    {
        const int ConnectionCountMax = 12_000;
        var lsmFs = arguments.Take("--lsmfs") ?? throw new LoadException("suite wants --lsmfs COMMAND");
        if (!lsmFs.Contains("{port}", StringComparison.Ordinal))
        {
            lsmFs += $" -p {{port}} -l 127.0.0.1 -c {ConnectionCountMax} -m {{memory}} --durability {{durability}} --data {{data}}";
        }
        var user = Environment.IsPrivilegedProcess ? "-u root " : "";
        var memcached = arguments.Take("--memcached") ?? "memcached";
        var isQuick = arguments.TakeFlag("--quick");
        var standard = new Workload { KeyCount = 100_000, Seconds = isQuick ? 0.5 : 2.5, WarmupSeconds = isQuick ? 0.2 : 0.5 };
        var options = new SuiteOptions
        {
            LsmFsCommand = lsmFs,
            MemcachedProgram = memcached,
            MemcachedCommand = $"{memcached} {user}-l 127.0.0.1 -p {{port}} -t 2 -m {{memory}} -c {ConnectionCountMax}",
            OutputFile = TakeFile(arguments, "--out"),
            ResultsFile = TakeFile(arguments, "--results"),
            RoundCount = (int)(arguments.TakeInteger("--rounds", 1, 100) ?? (isQuick ? 1 : 3)),
            RowFilter = arguments.Take("--rows"),
            Groups = arguments.Take("--groups")?.Split(','),
            ServerCpus = arguments.Take("--server-cpus"),
            TimeLimitSeconds = arguments.TakeNumber("--time-limit", 1, 86_400),
            IsQuick = isQuick,
            Workload = Options.TakeWorkload(arguments, WorkloadKind.Run, standard),
        };
        return options.OutputFile is null && options.ResultsFile is null
            ? throw new LoadException("suite wants --out FILE or --results FILE")
            : options;
    }

    // Looked at now, not after minutes of measuring.
    static string? TakeFile(Arguments arguments, string name) =>
        arguments.Take(name) is not { } file ? null
        : Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(file))) && !Directory.Exists(file) ? file
        : throw new LoadException($"{name} {file}: there is no such folder to write in");
}
