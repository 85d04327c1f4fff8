namespace LsmFs.Host;

/// <summary>What `stats items`, `slabs` and `sizes` report. All items are of slab class 1, and no class has a slab page.</summary>
internal static class ItemStatistics
{
    /// <summary>The lines of a memcached without LRU maintainer. How old the oldest item is nobody knows, so there is no `age`.</summary>
    public static StatisticList Items(Store store)
    {
        var list = new StatisticList();
        long count = store.CountItems();

        if (count > 0)
        {
            StoreStatistics statistics = store.Statistics;
            list.Add("items:1:number", count);
            list.Add("items:1:mem_requested", statistics.MemtableBytes + statistics.TableBytes.Sum());
            list.AddZeros(["items:1:evicted", "items:1:evicted_nonzero", "items:1:evicted_time", "items:1:outofmemory"]);
            list.AddZeros(["items:1:tailrepairs", "items:1:reclaimed", "items:1:expired_unfetched", "items:1:evicted_unfetched"]);
            list.AddZeros(["items:1:crawler_reclaimed", "items:1:crawler_items_checked", "items:1:lrutail_reflocked"]);
        }

        return list;
    }

    /// <summary>A memcached that has not taken a page yet says the same.</summary>
    public static StatisticList Slabs() => new() { { "active_slabs", 0 }, { "total_malloced", 0 } };

    /// <summary>Sizes are not counted, as in a memcached that was not told to.</summary>
    public static StatisticList Sizes() => new() { { "sizes_status", "disabled" } };
}
