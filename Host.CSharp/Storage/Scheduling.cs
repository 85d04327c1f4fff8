namespace LsmFs.Host;

/// <summary>Who carries out the work of a store that nobody waits for in particular.</summary>
public enum Scheduling
{
    /// <summary>Threads of the store's own.</summary>
    Threads,

    /// <summary>
    /// Whoever uses the store, with <see cref="Store.TryRun"/>: the store starts no thread, and what happens when is his decision, for a simulation or a
    /// test that can be repeated. A submission is committed by the call that submits it, if it may be committed at that time; a call that has to wait carries out
    /// what it waits for. All calls come from one thread.
    /// </summary>
    Manual,
}

/// <summary>A piece of work of a store.</summary>
public enum StoreWork
{
    /// <summary>Committing what was submitted and had to wait.</summary>
    Commit,

    /// <summary>Writing the oldest frozen memtable to a table.</summary>
    Flush,

    /// <summary>Carrying out the compaction that is most due.</summary>
    Compaction,

    /// <summary>Giving back what no reader can reach any more: memory of memtables, files of tables.</summary>
    Reclaim,
}
