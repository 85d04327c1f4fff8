using System.Globalization;

namespace LsmFs.Load;

/// <summary>CPU time and resident memory of a process at one moment, from /proc.</summary>
public readonly record struct ProcessSample(double CpuSeconds, long ResidentBytes)
{
    // USER_HZ, the unit of CPU times in /proc: 100 on every Linux architecture .NET runs on.
    const double TicksPerSecond = 100;

    /// <summary>Cores of the machine, those this process is kept from included.</summary>
    public static int ReadMachineCoreCount() => File.ReadLines("/proc/stat").Count(line => line.StartsWith("cpu", StringComparison.Ordinal)) - 1;

    /// <summary>CPU time all processes of the machine have used, interrupts and what the hypervisor took away included.</summary>
    public static double ReadMachineCpuSeconds()
    {
        const int IdleField = 3, WaitingForDiskField = 4, StealField = 7;
        var times = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..];
        return times.Take(StealField + 1)
            .Where((_, field) => field is not (IdleField or WaitingForDiskField))
            .Sum(ticks => double.Parse(ticks, CultureInfo.InvariantCulture)) / TicksPerSecond;
    }

    public static ProcessSample Read(int processId)
    {
        try
        {
            // The second field is the command in parentheses and may hold spaces; numbers start after the last one.
            var stat = File.ReadAllText($"/proc/{processId}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            var ticks = long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
            var pages = long.Parse(fields[21], CultureInfo.InvariantCulture);
            return new ProcessSample(ticks / TicksPerSecond, pages * Environment.SystemPageSize);
        }
        catch (IOException)
        {
            throw new LoadException($"there is no process {processId} to measure");
        }
    }
}

/// <summary>Who has used how much CPU so far: the server if its process is known, this process, and the whole machine.</summary>
public readonly record struct CpuSample(ProcessSample? Server, double GeneratorSeconds, double MachineSeconds)
{
    public static CpuSample Take(Target target) => new(
        target.ProcessId is { } id ? ProcessSample.Read(id) : null,
        Environment.CpuUsage.TotalTime.TotalSeconds,
        ProcessSample.ReadMachineCpuSeconds());
}
