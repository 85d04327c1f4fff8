namespace LsmFs.Host;

/// <summary>How a group of writes ended.</summary>
public readonly struct CommitOutcome
{
    private CommitOutcome(string? refusal) => Refusal = refusal;

    /// <summary>The writes are as durable as the store promises, and visible.</summary>
    public static CommitOutcome Committed => default;

    /// <summary>Why the writes were refused, in a few words for a client; null when they were committed.</summary>
    public string? Refusal { get; }

    /// <summary>Whether the writes took place. Refused ones left nothing behind.</summary>
    public bool IsCommitted => Refusal is null;

    /// <summary>Refused writes.</summary>
    public static CommitOutcome Refused(string reason) => new(reason);
}

/// <summary>A unit of work for <see cref="Store.Submit"/>: it is applied whole or not at all, and may be used again after <see cref="Completed"/>.</summary>
public abstract class Submission
{
    /// <summary>Its link in a <see cref="SubmissionQueue"/>, whose it is; null while it is in none.</summary>
    internal Submission? Next { get; set; }

    /// <summary>
    /// Reads and writes through the context. Called on the thread that commits, in commit order, and once more from the beginning when the disk turns out to
    /// be full: what it did before has not happened then. What it throws refuses the whole group it is in, so it throws only when something is broken.
    /// </summary>
    protected internal abstract void Execute(WriteContext context);

    /// <summary>
    /// Whether it cannot do without <see cref="WriteContext.Put"/>. On a full disk it is refused without being executed then; one that is executed looks at
    /// <see cref="WriteContext.AdmitsPuts"/>.
    /// </summary>
    protected internal virtual bool NeedsPuts => true;

    /// <summary>Called once when the group is durable and visible, or was refused. On any thread; it must not block.</summary>
    protected internal abstract void Completed(CommitOutcome outcome);
}
