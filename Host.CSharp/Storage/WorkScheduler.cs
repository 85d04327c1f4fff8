namespace LsmFs.Host;

/// <summary>
/// Waits for a store's work. Where no threads carry it out (<see cref="Scheduling.Manual"/>) whoever waits does, or whoever asks for it, a piece at a time.
/// </summary>
internal sealed class WorkScheduler(Store store, Committer committer, BackgroundWork background)
{
    /// <summary>Carries out a piece of work: <see cref="Store.TryRun"/>.</summary>
    internal bool TryRun(StoreWork work)
    {
        if (!MayRun(work))
        {
            return false;
        }

        switch (work)
        {
            case StoreWork.Commit:
                return committer.TryRun();
            case StoreWork.Flush:
                return background.TryRunFlush();
            case StoreWork.Compaction:
                return background.TryRunCompaction();
            default:
                var before = store.Epochs.RetiredCount;
                store.Epochs.Reclaim();
                return store.Epochs.RetiredCount < before;
        }
    }

    /// <summary>Whether work would not come into a lock that the calling thread is in already, further down its stack.</summary>
    internal bool MayRun(StoreWork work)
    {
        var isAtReserve = store.Folder.Reserve!.IsEntered || store.Decisions.IsEntered || background.Compactions.IsEntered || committer.Groups.IsEntered;
        return work switch
        {
            StoreWork.Commit => !isAtReserve,
            StoreWork.Reclaim => true,
            _ => !isAtReserve && !store.Versions.IsEntered,
        };
    }

    /// <summary>Waits; under <see cref="Scheduling.Manual"/> by carrying out the work that is waited for.</summary>
    internal void Await(ManualResetEventSlim done)
    {
        if (store.Options.Scheduling == Scheduling.Threads)
        {
            done.Wait();
            return;
        }

        while (!done.IsSet)
        {
            Pass();
        }
    }

    /// <summary>Waits until what is frozen now is in tables. Throws <see cref="StoreException"/> when that fails.</summary>
    internal void AwaitFlush()
    {
        var waiting = store.Current.Frozen;
        while (store.Current.Frozen.Any(waiting.Contains))
        {
            if ((background.FlushFailure?.Reason ?? (background.IsStopping ? "the store is closing" : null)) is { } failure)
            {
                throw new StoreException($"the flush failed: {failure}");
            }

            Pass();
        }
    }

    private void Pass()
    {
        if (store.Options.Scheduling == Scheduling.Threads)
        {
            Thread.Sleep(1);
        }
        else if (!TryRun(StoreWork.Commit) && !TryRun(StoreWork.Flush) && !TryRun(StoreWork.Compaction))
        {
            store.Options.Idle();
        }
    }
}
