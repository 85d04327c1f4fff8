namespace LsmFs.Host;

/// <summary>Asks for the active memtable to be frozen after what was submitted before.</summary>
internal sealed class FreezeRequest : Submission
{
    internal ManualResetEventSlim IsDone { get; } = new(false);

    internal CommitOutcome Outcome { get; private set; }

    protected internal override bool NeedsPuts => false;

    protected internal override void Execute(WriteContext context)
    {
        // The memtable is frozen before the group that follows is executed.
    }

    protected internal override void Completed(CommitOutcome outcome)
    {
        Outcome = outcome;
        IsDone.Set();
    }
}
