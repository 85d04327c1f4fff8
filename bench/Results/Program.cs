using LsmFs.Results;

const int Complete = 0, Incomplete = 1, Failed = 2;

const string Help = """
    LsmFs.Results: what was measured, as one page

      compose FROM TO [LINE ...]        FROM/{load,embedded,process,micro}.json and TO/{targets.json,remarks.md} into TO/RESULTS.md and the folder TO/results, which is emptied first;
                                        each LINE says of a part that it could not be measured
      micro FROM FILE COMMAND           the JSON reports of BenchmarkDotNet in the folder FROM into FILE

    Exit code: 0 every target was measured, 1 some were not, 2 nothing was written (one line says why).
    """;

// As they follow each other on the page.
string[] partNames = ["load", "embedded", "process", "micro"];

try
{
    switch (args)
    {
        case ["compose", var from, var to, .. var failures]:
            return Compose(from, to, failures);

        case ["micro", var from, var file, var command]:
            var result = new PartResult
            {
                Part = "micro",
                Command = command,
                Conditions = "BenchmarkDotNet; figures are of one operation: the median of the iterations (least to most), and what it allocates on the managed heap.",
                Environment = Machine.Read(new Dictionary<string, string>()),
                Rows = MicroResults.Read(from),
            };
            ResultFile.Write(file, result);
            return Complete;

        default:
            Console.Error.WriteLine(Help);
            return Failed;
    }
}
catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or InvalidDataException)
{
    Console.Error.WriteLine($"LsmFs.Results: {exception.Message}");
    return Failed;
}

int Compose(string from, string to, string[] failures)
{
    var targets = Target.ReadAll(Path.Combine(to, "targets.json"));
    var remarks = ResultsPage.ReadRemarks(File.ReadAllText(Path.Combine(to, "remarks.md")));
    List<PartResult> parts = [];
    List<string> missing = [.. failures];
    foreach (var name in partNames)
    {
        var file = Path.Combine(from, $"{name}.json");
        try
        {
            parts.Add(ResultFile.Read(file));
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            missing.Add($"{name}: nobody has run it");
        }
        catch (InvalidDataException exception)
        {
            missing.Add($"{name}: {exception.Message}");
        }
    }

    var page = ResultsPage.Compose(targets, parts, remarks, missing);
    var plots = Path.Combine(to, "results");
    Directory.CreateDirectory(plots);
    foreach (var old in Directory.GetFiles(plots))
    {
        File.Delete(old);
    }

    foreach (var (name, svg) in page.Plots)
    {
        File.WriteAllText(Path.Combine(plots, name), svg);
    }

    File.WriteAllText(Path.Combine(to, "RESULTS.md"), page.Markdown);
    missing.ForEach(Console.Error.WriteLine);
    Console.WriteLine($"written: {Path.Combine(to, "RESULTS.md")}, {targets.Count - page.UnmeasuredCount} of {targets.Count} targets measured");
    return page.UnmeasuredCount == 0 && missing.Count == 0 ? Complete : Incomplete;
}
