using System.Globalization;

namespace LsmFs.Load;

/// <summary>CPU time and resident memory of a process at one moment, from /proc.</summary>
public readonly record struct ProcessSample(double CpuSeconds, long ResidentBytes)
{
    // USER_HZ, the unit of /proc/PID/stat: 100 on every Linux architecture .NET runs on.
    const double TicksPerSecond = 100;

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
