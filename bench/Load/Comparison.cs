using System.Globalization;
using LsmFs.Results;

namespace LsmFs.Load;

/// <summary>
/// One workload on two servers in turn, A B A B. A ratio is A's figure divided by B's of the same round.
/// </summary>
public sealed record Comparison(string Name, IReadOnlyList<Measurement> A, IReadOnlyList<Measurement> B)
{
    public Spread? Throughput => Ratio(m => m.OperationsPerSecond);

    public Spread? ServerCpu => Ratio(m => m.ServerCpuMicrosecondsPerOperation);

    public Spread? P99 => Ratio(m => m.Latency?.P99);

    public bool IsClean => A.Concat(B).All(m => m.IsClean);

    public static Comparison Run(string name, Workload workload, Target a, Target b, int roundCount, CancellationToken stop)
    {
        List<Measurement> ofA = [], ofB = [];
        for (var round = 0; round < roundCount; round++)
        {
            ofA.Add(Runner.Run(workload, a, stop));
            ofB.Add(Runner.Run(workload, b, stop));
            PrintRound(ofA[^1]);
            PrintRound(ofB[^1]);
        }
        return new Comparison(name, ofA, ofB);
    }

    /// <summary>The rounds of both, this one's first.</summary>
    public Comparison And(Comparison other) => this with { A = [.. A, .. other.A], B = [.. B, .. other.B] };

    /// <summary>The middle of a figure over the rounds of one server.</summary>
    public static double? Median(IReadOnlyList<Measurement> rounds, Func<Measurement, double?> figure) =>
        Spread.From(rounds.Select(figure).ToArray())?.Median;

    Spread? Ratio(Func<Measurement, double?> figure) =>
        Spread.OfRatios([.. A.Select(figure)], [.. B.Select(figure)]);

    internal static void PrintRound(Measurement m)
    {
        var cpu = m.ServerCpuMicrosecondsPerOperation is { } microseconds ? Text($"{microseconds,8:F2} µs CPU/op") : "";
        var problems = m.IsClean ? "" : Text($"  {m.Errors} errors {m.Wrong} wrong {m.Unsent} unsent {m.FirstError}");
        Console.Error.WriteLine(
            Text($"  {m.Server,-12} {m.OperationsPerSecond,10:F0} op/s {cpu}  p99 {m.Latency?.P99,8:F0} µs  generator {m.GeneratorCpuCores:F2} cores  others {m.OtherCpuCores:F2}{problems}"));
    }

    static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>The `compare` command.</summary>
    public static bool RunCommand(Arguments arguments, CancellationToken stop)
    {
        var isJson = arguments.TakeFlag("--json");
        var isFilled = arguments.TakeFlag("--fill");
        var roundCount = (int)(arguments.TakeInteger("--rounds", 1, 1000) ?? 5);
        var workload = Options.TakeWorkload(arguments, WorkloadKind.Run, new Workload());
        var targets = arguments.TakePositional().ConvertAll(Options.ParseTarget);
        arguments.RefuseRest();
        if (targets.Count != 2)
        {
            throw new LoadException("compare wants two servers: NAME=HOST:PORT[:PID] NAME=HOST:PORT[:PID]");
        }
        var (a, b) = (targets[0], targets[1]);
        if (isFilled)
        {
            targets.ForEach(target => Fill(workload, target, stop));
        }
        var comparison = Run($"{a.Name} / {b.Name}", workload, a, b, roundCount, stop);
        Console.WriteLine(isJson ? Report.ToJson(comparison) : Summary(comparison));
        return comparison.IsClean;
    }

    /// <summary>Stores every key of a workload, pipelined, and insists that each was stored.</summary>
    public static void Fill(Workload workload, Target target, CancellationToken stop)
    {
        var fill = workload with { Kind = WorkloadKind.Fill, PipelineDepth = 16, ConnectionCount = 50, ThreadCount = 1, MultiGetCount = 1, RatePerSecond = null };
        var measurement = Runner.Run(fill, target, stop);
        if (!measurement.IsClean)
        {
            throw new LoadException($"filling {target.Name} met {measurement.Errors} errors, the first: {measurement.FirstError}");
        }
    }

    static string Summary(Comparison comparison)
    {
        string Line(string name, Spread? spread) =>
            spread is null ? $"{name}  unknown" : Text($"{name}  {spread.Min:F2}  {spread.Median:F2}  {spread.Max:F2}");
        return string.Join(Environment.NewLine,
            $"{comparison.Name}: ratios, min median max of {comparison.A.Count} rounds",
            Line("  throughput  ", comparison.Throughput),
            Line("  CPU/op      ", comparison.ServerCpu),
            Line("  p99         ", comparison.P99));
    }
}
