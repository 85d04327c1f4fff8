namespace LsmFs.Load;

static class Program
{
    const int Clean = 0, Dirty = 1;

    static int Main(string[] args) =>
        Tool.Run(
            "LsmFs.Load",
            Options.Help,
            "the load generator needs Linux (epoll and /proc)",
            args,
            stop => Run(args[0], new Arguments(args[1..]), stop) ? Clean : Dirty);

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
