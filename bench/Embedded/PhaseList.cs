namespace LsmFs.Embedded;

/// <summary>What was measured on one engine so far, on a new store for each piece of work.</summary>
internal sealed class PhaseList(string folder, Func<string, Settings, IEngine> open)
{
    public List<PhaseResult> Results { get; } = [];

    /// <summary>How the engine was set up, as the last store was.</summary>
    public string Setup { get; private set; } = "";

    /// <summary>Opens an empty store, works on it, and removes it.</summary>
    public void On(Settings settings, Action<PhaseRunner> work, bool isCounted = true)
    {
        var store = Path.Combine(folder, "store");
        Directory.CreateDirectory(store);
        using (var engine = open(store, settings))
        {
            var runner = new PhaseRunner(engine, settings, new Dataset(settings), store);
            work(runner);
            Setup = engine.Setup;
            if (isCounted)
            {
                Results.AddRange(runner.Results);
            }
        }

        Directory.Delete(store, recursive: true);
    }
}
