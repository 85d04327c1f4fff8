using LsmFs.Engine;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

// Invariants
//   1. An edit is durable before it is visible: it is decided from the newest snapshot, synced in the manifest, and only then published.
//   2. Nobody else changes the levels of a snapshot; commits and freezes come in between all the time.
//   3. A table of an edit of which nobody knows whether it is on disk stays until a later edit is. One of an edit that is not on disk is deleted at once.

/// <summary>
/// Makes what flushes and compactions have done the store's next version, one edit after the other. Thread-safe. Owns the manifest.
/// </summary>
internal sealed class VersionInstaller(Store store, ManifestWriter manifest) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly List<FileNumber> _undecided = [];

    /// <summary>Whether the calling thread is in here.</summary>
    internal bool IsEntered => _gate.IsHeldByCurrentThread;

    /// <summary>
    /// Makes background work durable, then visible: the edit is decided from the snapshot, recorded in the manifest, and only then published.
    /// <paramref name="made"/> are the tables that the edit adds. When the manifest cannot be synced nobody knows whether the edit is on disk, so
    /// they stay until a later manifest says that they are not needed.
    /// </summary>
    internal void Install(IReadOnlyList<Table> made, Func<Snapshot, VersionEdit> decide, Func<SnapshotLevels, Snapshot, Snapshot> transition)
    {
        lock (_gate)
        {
            var edit = decide(store.Current);
            try
            {
                manifest.Append(edit);
            }
            catch
            {
                if (manifest.IsUndecided)
                {
                    _undecided.AddRange(made.Select(table => table.Number));
                }
                else
                {
                    // At once: what failed for want of space must not take more of it with every attempt.
                    Delete(made.Select(table => table.Number));
                }

                throw;
            }

            // Outside the loop: commits come in between all the time, and nobody else changes the levels.
            var levels = SnapshotModule.levelsAfter(edit, ListModule.OfSeq(made), store.Current);
            store.Decisions.Install(edit, () =>
            {
                Snapshot before;
                do
                {
                    before = store.Current;
                }
                while (!store.TryPublish(before, transition(levels, before)));
            });

            store.FitCache(store.Current.Tables);
            Delete(_undecided);
            _undecided.Clear();
        }
    }

    /// <summary>Deletes the tables of edits that may be on disk, when no other edit does so: one that says nothing new ends the doubt.</summary>
    internal void SettleUndecided()
    {
        lock (_gate)
        {
            if (_undecided.Count > 0)
            {
                Install([], current => Work.withFlush(current, VersionEditModule.empty), (_, before) => before);
            }
        }
    }

    private void Delete(IEnumerable<FileNumber> tables)
    {
        foreach (var table in tables)
        {
            store.DeleteTable(table);
        }
    }

    /// <summary>Closes the manifest.</summary>
    public void Dispose() => manifest.Dispose();
}
