using System.Globalization;
using System.Net;

namespace LsmFs.Load;

/// <summary>Turns arguments into workloads and targets.</summary>
public static class Options
{
    public const string Help = """
        LsmFs.Load: a load generator for memcached's text protocol (Linux, loopback servers only)

          fill     store every key once                      run      a mix of gets and sets
          check    read every key of a fill, verify it       compare  the same run on two servers, A B A B ...
          suite    start memcached and LsmFs, run the table of rows on both, write Markdown

        fill, run, check:
          --server HOST:PORT     default 127.0.0.1:11211    --server-pid PID    report its CPU time and memory
          --connections N        default 50                 --threads N         default 1
          --keys N               default 1000000            --key-length N      default 16
          --value-length N|N-M   default 100                --value-seed N      another seed, other values
          --depth N              requests sent together     --multi-get N       keys in one get (run, check)
          --timeout SECONDS      default 15                 --json              one line of JSON instead of the table
          --seed N               order and choice of keys   --shuffled          random order (fill, check)
        run:
          --get-ratio R          0 to 1, default 1          --verify            compare every byte of every value
          --distribution D       uniform (default) or zipfian                   --theta T    default 0.99
          --seconds S            default 5                  --operations N      instead of --seconds
          --warmup SECONDS       default 1, not counted     --rate N            open loop: operations per second
        compare NAME=HOST:PORT[:PID] NAME=HOST:PORT[:PID]:
          the options of run, and --rounds N (default 5), --fill (store the keys on both first)
        suite:
          --lsmfs COMMAND        may hold {port} {data} {durability} {memory}; without {port} the usual arguments are appended
          --memcached COMMAND    default memcached          --quick             about two minutes, to see that it works
          --out FILE             tables, Markdown           --results FILE      rows for the report, JSON
          --groups G,H           os, sync, tables, tail, memory, growth         --rows TEXT         only rows whose name contains it
          --seconds S            per run, default 2.5       --rounds N          default 3
          --keys N               default 100000             --value-length N    default 100
          --warmup SECONDS       default 0.5                --server-cpus LIST  pin servers (taskset)
          --time-limit S         default: twice what it should take

        Exit code: 0 all replies right, 1 errors, wrong or missing values, 2 the run could not be made.
        """;

    /// <summary>The workload the arguments describe; what they leave out is as in the standard one.</summary>
    public static Workload TakeWorkload(Arguments arguments, WorkloadKind kind, Workload standard)
    {
        var (valueLengthMin, valueLengthMax) = TakeValueLength(arguments) ?? (standard.ValueLengthMin, standard.ValueLengthMax);
        var isRun = kind == WorkloadKind.Run;
        var workload = standard with
        {
            Kind = kind,
            KeyCount = (uint)(arguments.TakeInteger("--keys", 1, 4_000_000_000) ?? standard.KeyCount),
            KeyLength = (int)(arguments.TakeInteger("--key-length", 2, 250) ?? standard.KeyLength),
            ValueLengthMin = valueLengthMin,
            ValueLengthMax = valueLengthMax,
            ValueSeed = (ulong)(arguments.TakeInteger("--value-seed", 0, long.MaxValue) ?? 1),
            Seed = (ulong)(arguments.TakeInteger("--seed", 0, long.MaxValue) ?? 1),
            ConnectionCount = (int)(arguments.TakeInteger("--connections", 1, 16_000) ?? standard.ConnectionCount),
            ThreadCount = (int)(arguments.TakeInteger("--threads", 1, 64) ?? standard.ThreadCount),
            PipelineDepth = (int)(arguments.TakeInteger("--depth", 1, 1024) ?? standard.PipelineDepth),
            TimeoutSeconds = arguments.TakeNumber("--timeout", 0.1, 3600) ?? standard.TimeoutSeconds,
            MultiGetCount = kind == WorkloadKind.Fill ? 1 : (int)(arguments.TakeInteger("--multi-get", 1, 1000) ?? standard.MultiGetCount),
            IsShuffled = !isRun && arguments.TakeFlag("--shuffled"),
            IsVerified = kind == WorkloadKind.Check || (isRun && arguments.TakeFlag("--verify")),
        };
        if (isRun)
        {
            workload = workload with
            {
                GetRatio = arguments.TakeNumber("--get-ratio", 0, 1) ?? standard.GetRatio,
                ZipfianTheta = TakeZipfianTheta(arguments),
                RatePerSecond = arguments.TakeNumber("--rate", 1, 100_000_000),
                Seconds = arguments.TakeNumber("--seconds", 0.1, 86_400) ?? standard.Seconds,
                OperationCount = arguments.TakeInteger("--operations", 1, long.MaxValue),
                WarmupSeconds = arguments.TakeNumber("--warmup", 0, 3600) ?? standard.WarmupSeconds,
            };
        }
        if (workload.ThreadCount > workload.ConnectionCount)
        {
            throw new LoadException($"{workload.ThreadCount} threads cannot share {workload.ConnectionCount} connections");
        }
        if ((long)workload.PipelineDepth * workload.ValueLengthMax > 256L * 1024 * 1024)
        {
            throw new LoadException("--depth times --value-length is more than 256 MiB");
        }
        return workload;
    }

    static (int Min, int Max)? TakeValueLength(Arguments arguments)
    {
        const int ValueLengthLimit = 128 * 1024 * 1024;
        if (arguments.Take("--value-length") is not { } text)
        {
            return null;
        }
        var parts = text.Split('-');
        var min = 0;
        var max = 0;
        var isRead = parts.Length is 1 or 2
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out min)
            && int.TryParse(parts[^1], NumberStyles.None, CultureInfo.InvariantCulture, out max);
        return isRead && min <= max && max <= ValueLengthLimit
            ? (min, max)
            : throw new LoadException($"--value-length {text}: a number of bytes or MIN-MAX is wanted, at most {ValueLengthLimit}");
    }

    static double? TakeZipfianTheta(Arguments arguments)
    {
        var theta = arguments.TakeNumber("--theta", 0.01, 0.9999);
        return (arguments.Take("--distribution") ?? "uniform") switch
        {
            "uniform" when theta is null => null,
            "uniform" => throw new LoadException("--theta belongs to --distribution zipfian"),
            "zipfian" => theta ?? 0.99,
            var other => throw new LoadException($"--distribution {other}: uniform or zipfian is wanted"),
        };
    }

    /// <summary>The server of fill, run and check.</summary>
    public static Target TakeTarget(Arguments arguments)
    {
        var address = ParseAddress(arguments.Take("--server") ?? "127.0.0.1:11211");
        return new Target(address.ToString(), address, (int?)arguments.TakeInteger("--server-pid", 1, int.MaxValue));
    }

    /// <summary>Reads NAME=HOST:PORT[:PID].</summary>
    public static Target ParseTarget(string text)
    {
        var equals = text.IndexOf('=');
        var rest = text[(equals + 1)..];
        var portColon = rest.IndexOf(':', rest.IndexOf(']') + 1);
        if (equals <= 0 || portColon < 0)
        {
            throw new LoadException($"{text}: NAME=HOST:PORT[:PID] is wanted");
        }
        var pidColon = rest.IndexOf(':', portColon + 1);
        if (pidColon < 0)
        {
            return new Target(text[..equals], ParseAddress(rest), null);
        }
        return int.TryParse(rest[(pidColon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var processId)
            ? new Target(text[..equals], ParseAddress(rest[..pidColon]), processId)
            : throw new LoadException($"{text}: {rest[(pidColon + 1)..]} is not a process id");
    }

    /// <summary>Only this machine may be loaded: a mistyped address must not become somebody's outage.</summary>
    static IPEndPoint ParseAddress(string text)
    {
        var numeric = text.StartsWith("localhost:", StringComparison.Ordinal) ? "127.0.0.1" + text["localhost".Length..] : text;
        if (!IPEndPoint.TryParse(numeric, out var address) || address.Port == 0)
        {
            throw new LoadException($"{text}: a loopback address and a port are wanted, such as 127.0.0.1:11211");
        }
        return IPAddress.IsLoopback(address.Address)
            ? address
            : throw new LoadException($"{text} is not a loopback address: this generator loads servers on its own machine only");
    }
}
