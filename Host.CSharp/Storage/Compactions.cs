using System.Collections.Concurrent;
using LsmFs.Engine;
using Microsoft.FSharp.Collections;

namespace LsmFs.Host;

/// <summary>
/// What the threads that compact share: the plans that are being carried out, and the tables that cannot be read. A plan is decided from the newest
/// snapshot while nobody else plans, so that it sees every plan that is not in the snapshot yet.
/// </summary>
internal sealed class Compactions(Store store, BackgroundCounters counters)
{
    private readonly Lock _planning = new();
    // Of those that do not run now.
    private readonly ConcurrentBag<JobMemory> _memory = [];
    private FSharpList<CompactionPlan> _running = FSharpList<CompactionPlan>.Empty;
    private volatile FSharpList<FileNumber> _quarantined = FSharpList<FileNumber>.Empty;
    private volatile KnownDebt? _debt;
    private int _isFlushSubmitted;

    private sealed record KnownDebt(Engine.Version Version, FSharpList<FileNumber> Quarantined, CompactionDebt Debt);

    /// <summary>Makes the committer turn a flush that has come due into a watermark, although nobody writes.</summary>
    private sealed class DueFlush(Compactions owner) : Submission
    {
        protected internal override bool NeedsPuts => false;

        protected internal override void Execute(WriteContext context)
        {
            // Every group begins with it.
        }

        protected internal override void Completed(CommitOutcome outcome) => Volatile.Write(ref owner._isFlushSubmitted, 0);
    }

    /// <summary>Whether the calling thread is planning.</summary>
    internal bool IsEntered => _planning.IsHeldByCurrentThread;

    /// <summary>The tables that cannot be read.</summary>
    internal FSharpList<FileNumber> Quarantined => _quarantined;

    /// <summary>What compaction owes for a version. Computed once for each.</summary>
    internal CompactionDebt DebtOf(Engine.Version version)
    {
        var known = _debt;
        var quarantined = _quarantined;
        if (known is null || !ReferenceEquals(known.Version, version) || !ReferenceEquals(known.Quarantined, quarantined))
        {
            known = new KnownDebt(version, quarantined, Pacing.debtOf(store.EngineOptions, version, quarantined));
            _debt = known;
        }

        return known.Debt;
    }

    /// <summary>What the next plan is decided from.</summary>
    internal PickingInput Input
    {
        get
        {
            lock (_planning)
            {
                return Work.pickingInput(store.Current, store.NowSeconds(), _running, _quarantined);
            }
        }
    }

    /// <summary>
    /// How long until something is due because time has passed, as the clock goes; null when nothing will be. Nothing was due at <paramref name="sinceSeconds"/>:
    /// what has become due after that time counts as well, whenever the clock was looked at in between.
    /// </summary>
    internal TimeSpan? DelayUntilDue(uint sinceSeconds)
    {
        lock (_planning)
        {
            var at = Picking.wakeAtSeconds(Work.pickingInput(store.Current, sinceSeconds, _running, _quarantined));
            return at.IsValueSome ? TimeSpan.FromSeconds(Math.Max(0L, (long)at.Value - store.NowSeconds())) : null;
        }
    }

    /// <summary>Carries out the plan that is most due. False when none is.</summary>
    /// <param name="begun">Called when a plan is chosen, before it is carried out: there may be another for another thread.</param>
    /// <param name="cancelled">Gives the work up.</param>
    internal bool TryWork(Action begun, CancellationToken cancelled)
    {
        SubmitDueFlush();
        if (Begin() is not var (snapshot, plan))
        {
            return false;
        }

        begun();
        JobCost? cost = null;
        try
        {
            cost = CarryOut(snapshot, plan, cancelled);
        }
        catch (UnreadableTableException unreadable)
        {
            SetAside(unreadable);
        }
        finally
        {
            // After the snapshot without its tables was published: whoever plans in between sees both.
            lock (_planning)
            {
                _running = ListModule.OfSeq(_running.Where(other => !ReferenceEquals(other, plan)));
            }

            store.Decisions.Ended(plan, cost);
        }

        return true;
    }

    private void SubmitDueFlush()
    {
        if (store.Current.Flush.IsDue(store.NowSeconds()) && Interlocked.Exchange(ref _isFlushSubmitted, 1) == 0)
        {
            store.Submit(new DueFlush(this));
        }
    }

    private (Snapshot Snapshot, CompactionPlan Plan)? Begin()
    {
        lock (_planning)
        {
            var begun = store.Decisions.Decide(_running, _quarantined);
            if (begun is var (_, plan))
            {
                _running = FSharpList<CompactionPlan>.Cons(plan, _running);
            }

            return begun;
        }
    }

    private JobCost CarryOut(Snapshot snapshot, CompactionPlan plan, CancellationToken cancelled)
    {
        var started = store.Options.Clock.GetTimestamp();
        var writer = new TableWriter(store, SpaceUse.Compaction);
        var outputs = plan.Kind == CompactionKind.Merge ? Merge(writer, snapshot, plan, cancelled) : [];
        var edit = CompactionPlanModule.edit(plan, ListModule.OfSeq(outputs.Select(table => table.Meta)));
        // What was flushed is left out of the new tables, or goes with the old ones, so the flush must be as durable as they are.
        store.Versions.Install(
            outputs,
            current => plan.Kind == CompactionKind.Move ? edit : Work.withFlush(current, edit),
            SnapshotModule.compacted);
        var elapsedMilliseconds = (long)store.Options.Clock.GetElapsedTime(started).TotalMilliseconds;
        counters.Compacted(plan, writer.ReadBytes, writer.WrittenBytes, elapsedMilliseconds);
        store.Log.Compacted(
            CompactionPlanModule.print(plan), CompactionPlanModule.inputBytes(plan), outputs.Count, writer.WrittenBytes, elapsedMilliseconds);
        if (plan.Kind != CompactionKind.Move)
        {
            foreach (var (_, input) in plan.Inputs)
            {
                store.RetireTable(input);
            }
        }

        return new JobCost(outputs.Count, writer.ReadBytes, writer.WrittenBytes, elapsedMilliseconds);
    }

    private IReadOnlyList<Table> Merge(TableWriter writer, Snapshot snapshot, CompactionPlan plan, CancellationToken cancelled)
    {
        if (!_memory.TryTake(out var memory))
        {
            memory = new JobMemory(store.EngineOptions.MemtableSizeBytes);
        }

        try
        {
            var job = Work.compactionJob(memory, store.EngineOptions, snapshot, plan, store.NowSeconds());
            var inputBytes = (double)CompactionPlanModule.inputBytes(plan);
            return writer.Run(job, () => store.MayCompactionRest(writer.ReadBytes / inputBytes), cancelled);
        }
        finally
        {
            memory.TakeBack();
            _memory.Add(memory);
        }
    }

    /// <summary>From now on plans go around the table. In memory only: after a restart it is found again.</summary>
    private void SetAside(UnreadableTableException unreadable)
    {
        lock (_planning)
        {
            if (!_quarantined.Contains(unreadable.Table))
            {
                _quarantined = FSharpList<FileNumber>.Cons(unreadable.Table, _quarantined);
            }
        }

        store.Log.TableSetAside(FileName.ofFile(StoreFile.NewTable(unreadable.Table)), unreadable.OffsetBytes, unreadable.Message);
    }
}
