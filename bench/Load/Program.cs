using System.Runtime.InteropServices;

namespace LsmFs.Load;

static class Program
{
    const int Clean = 0, Dirty = 1, Failed = 2;

    static int Main(string[] args)
    {
        if (args.Length == 0 || args.Contains("--help") || args[0] == "help")
        {
            Console.WriteLine(Options.Help);
            return args.Length == 0 ? Failed : Clean;
        }
        using var stop = new CancellationTokenSource();
        // Servers that a suite started must be stopped too: cancel, and let the unwinding do it.
        void Cancel(PosixSignalContext context)
        {
            context.Cancel = true;
            stop.Cancel();
        }
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
        try
        {
            if (!OperatingSystem.IsLinux())
            {
                throw new LoadException("the load generator needs Linux (epoll and /proc)");
            }
            return Run(args[0], new Arguments(args[1..]), stop.Token) ? Clean : Dirty;
        }
        catch (Exception exception) when (exception is LoadException or IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"LsmFs.Load: {exception.Message}");
            return Failed;
        }
    }

    /// <summary>False when a reply was an error or not what it had to be.</summary>
    static bool Run(string command, Arguments arguments, CancellationToken stop) =>
        command switch
        {
            "fill" => RunOne(WorkloadKind.Fill, arguments, stop),
            "run" => RunOne(WorkloadKind.Run, arguments, stop),
            "check" => RunOne(WorkloadKind.Check, arguments, stop),
            "compare" => Comparison.RunCommand(arguments, stop),
            "suite" => Suite.RunCommand(arguments, stop),
            _ => throw new LoadException($"{command}: fill, run, check, compare or suite is wanted (--help shows more)"),
        };

    static bool RunOne(WorkloadKind kind, Arguments arguments, CancellationToken stop)
    {
        var isJson = arguments.TakeFlag("--json");
        var target = Options.TakeTarget(arguments);
        var workload = Options.TakeWorkload(arguments, kind, new Workload());
        arguments.RefuseRest();
        var measurement = Runner.Run(workload, target, stop);
        if (isJson)
        {
            Console.WriteLine(Report.ToJson(measurement));
        }
        else
        {
            Report.Print(measurement, Console.Out);
        }
        return measurement.IsClean;
    }
}
