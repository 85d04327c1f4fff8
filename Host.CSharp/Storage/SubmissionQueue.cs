namespace LsmFs.Host;

/// <summary>
/// Submissions on their way to the committer, first in, first out. Any thread adds, one at a time takes. A submission is itself its place in the queue, so
/// that nothing is allocated for it. Invariants:
/// <list type="number">
/// <item>A submission is in the queue once, from <see cref="Enqueue"/> until it is taken. Its link is set meanwhile: the last one's leads to itself.</item>
/// <item><c>_added</c> has what was added since the taker looked last, newest first; <c>_taken</c>, the taker's own, what was added before, oldest first.</item>
/// <item>The queue looks empty to nobody while there is something in it: what moves from the one to the other is in the other first.</item>
/// </list>
/// </summary>
internal sealed class SubmissionQueue
{
    // Pushed onto as a stack (Treiber 1986) and taken off whole, so that no submission can come back between a look and an exchange.
    private Submission? _added;
    private Submission? _taken;

    /// <summary>Whether nothing is queued. Any thread.</summary>
    internal bool IsEmpty => Volatile.Read(ref _added) is null && Volatile.Read(ref _taken) is null;

    /// <summary>
    /// Adds a submission. Any thread; a full fence. Throws <see cref="InvalidOperationException"/> when it is in a queue already.
    /// </summary>
    internal void Enqueue(Submission submission)
    {
        if (submission.Next is not null)
        {
            throw new InvalidOperationException("A submission is submitted again only after it was completed.");
        }

        var newest = Volatile.Read(ref _added);
        while (true)
        {
            submission.Next = newest ?? submission;
            var found = Interlocked.CompareExchange(ref _added, submission, newest);
            if (ReferenceEquals(found, newest))
            {
                return;
            }

            newest = found;
        }
    }

    /// <summary>The oldest submission, or null. The taker's to ask.</summary>
    internal Submission? Peek()
    {
        if (_taken is null && Volatile.Read(ref _added) is { } added)
        {
            // Only that it is not null counts before the exchange (invariant 3).
            Volatile.Write(ref _taken, added);
            Volatile.Write(ref _taken, Reverse(Interlocked.Exchange(ref _added, null)!));
        }

        return _taken;
    }

    /// <summary>Takes the oldest submission, or returns null. The taker's to call.</summary>
    internal Submission? TryDequeue()
    {
        if (Peek() is not { } oldest)
        {
            return null;
        }

        Volatile.Write(ref _taken, After(oldest));
        oldest.Next = null;
        return oldest;
    }

    private static Submission? After(Submission submission) => ReferenceEquals(submission.Next, submission) ? null : submission.Next;

    private static Submission Reverse(Submission first)
    {
        var reversed = first;
        var rest = After(first);
        first.Next = first;
        while (rest is not null)
        {
            var next = After(rest);
            rest.Next = reversed;
            reversed = rest;
            rest = next;
        }

        return reversed;
    }
}
