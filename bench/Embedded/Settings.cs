using LsmFs.Load;

namespace LsmFs.Embedded;

/// <summary>The workload, and what the engines may use.</summary>
internal sealed record Settings
{
    public const string Help = """
        LsmFs.Embedded: the same work on LsmFs, RocksDB and ZoneTree, each embedded in a process of its own (Linux)

          --keys N               default 20000000, of 16 bytes
          --value-length N       default 100
          --order random|ascending  of the keys when they are loaded, default random
          --values random|half   random (default): nothing to compress; half: the second half of a value is zeros
          --compression none|lz4 of both engines, default none
          --memory MIB           the budget of each engine, default 256
          --durability os|sync   no sync of the log (default), or one for every commit
          --batch N              writes committed together, default 1
          --writers N            default 1                  --readers N            default 2
          --overwrite-seconds S  default 600                --mixed-seconds S      default 60: readers and writers together
          --read-seconds S       default 60, for each of zipfian (0.99), uniform, missing keys, and 50 items from a key on
          --keep-every N         default 20: all but every 20th key are deleted
          --remove delete|expire how they go; expire: LsmFs only, overwritten with values that live for a second
          --settle-seconds S     default 120: how long to watch for background work to end, and for space to come back
          --rounds N             default 1: A B, B A, A B ...
          --engines LIST         default lsmfs,rocksdb; zonetree is the third
          --quick                2 million keys in 32 MiB, short phases: about 3 minutes
          --smoke                50 thousand keys in 8 MiB: 20 seconds
          --out FILE             the report, default artifacts/embedded.md; plots and raw figures go beside it
          --folder FOLDER        where the stores live meanwhile, default TMPDIR
          --prefix COMMAND       before each engine's process: "taskset -c 0,1", "systemd-run --scope -p MemoryMax=1G"

        Exit code: 0 every value read was right, 1 some were not, 2 the run could not be made.
        """;

    public uint KeyCount { get; init; } = 20_000_000;

    public int ValueLength { get; init; } = 100;

    public bool IsAscending { get; init; }

    public bool IsCompressible { get; init; }

    public bool IsCompressed { get; init; }

    public long MemoryBudgetBytes { get; init; } = 256L << 20;

    public bool IsSynced { get; init; }

    public int BatchCount { get; init; } = 1;

    public int WriterCount { get; init; } = 1;

    public int ReaderCount { get; init; } = 2;

    public double OverwriteSeconds { get; init; } = 600;

    public double MixedSeconds { get; init; } = 60;

    public double ReadSeconds { get; init; } = 60;

    public uint KeepEvery { get; init; } = 20;

    public bool IsExpiring { get; init; }

    public double SettleSeconds { get; init; } = 120;

    /// <summary>Bytes of keys and values when every key has one.</summary>
    public long LiveBytes(long count) => count * (Dataset.KeyLength + ValueLength);

    public static Settings Take(Arguments arguments)
    {
        var standard = new Settings();
        if (arguments.TakeFlag("--quick"))
        {
            standard = standard with { KeyCount = 2_000_000, MemoryBudgetBytes = 32L << 20, OverwriteSeconds = 20, MixedSeconds = 8, ReadSeconds = 8, SettleSeconds = 15 };
        }

        if (arguments.TakeFlag("--smoke"))
        {
            standard = standard with { KeyCount = 50_000, MemoryBudgetBytes = 8L << 20, OverwriteSeconds = 1, MixedSeconds = 1, ReadSeconds = 1, SettleSeconds = 2 };
        }

        bool TakeChoice(string name, string no, string yes) =>
            (arguments.Take(name) ?? no) is var text && (text == no || text == yes) ? text == yes : throw new LoadException($"{name} {text}: {no} or {yes} is wanted");

        return new Settings
        {
            KeyCount = (uint)(arguments.TakeInteger("--keys", 1000, 4_000_000_000) ?? standard.KeyCount),
            ValueLength = (int)(arguments.TakeInteger("--value-length", Dataset.ValueLengthMin, 1 << 20) ?? standard.ValueLength),
            IsAscending = TakeChoice("--order", "random", "ascending"),
            IsCompressible = TakeChoice("--values", "random", "half"),
            IsCompressed = TakeChoice("--compression", "none", "lz4"),
            MemoryBudgetBytes = (arguments.TakeInteger("--memory", 8, 1 << 20) << 20) ?? standard.MemoryBudgetBytes,
            IsSynced = TakeChoice("--durability", "os", "sync"),
            BatchCount = (int)(arguments.TakeInteger("--batch", 1, 1000) ?? standard.BatchCount),
            WriterCount = (int)(arguments.TakeInteger("--writers", 1, 64) ?? standard.WriterCount),
            ReaderCount = (int)(arguments.TakeInteger("--readers", 1, 64) ?? standard.ReaderCount),
            OverwriteSeconds = arguments.TakeNumber("--overwrite-seconds", 0.1, 86_400) ?? standard.OverwriteSeconds,
            MixedSeconds = arguments.TakeNumber("--mixed-seconds", 0.1, 86_400) ?? standard.MixedSeconds,
            ReadSeconds = arguments.TakeNumber("--read-seconds", 0.1, 86_400) ?? standard.ReadSeconds,
            KeepEvery = (uint)(arguments.TakeInteger("--keep-every", 2, 1000) ?? standard.KeepEvery),
            IsExpiring = TakeChoice("--remove", "delete", "expire"),
            SettleSeconds = arguments.TakeNumber("--settle-seconds", 0.1, 86_400) ?? standard.SettleSeconds,
        };
    }
}
