using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// The answers to `stats` and its topics: memcached's names in memcached's order, each with what is true of a store. What counts something that cannot happen
/// here is 0; what describes something that is not here is left out. docs/PROTOCOL.md says which and why.
/// </summary>
internal static class ServerStatistics
{
    /// <summary>Room that every answer fits in, in bytes.</summary>
    public const int ReplyLengthMax = 32 * 1024;

    /// <summary>Writes the answer to a `stats` line, unless it is a list of keys or of connections; returns its length.</summary>
    public static int Write(Server server, StatsRequest request, Span<byte> target)
    {
        StatisticList list = request.Topic switch
        {
            StatsTopic.General => General(server),
            StatsTopic.Settings => SettingStatistics.Of(server),
            StatsTopic.Items => ItemStatistics.Items(server.Store),
            StatsTopic.Slabs => ItemStatistics.Slabs(),
            StatsTopic.Sizes => ItemStatistics.Sizes(),
            StatsTopic.Lsm => LsmStatistics.Of(server.Store.Statistics),
            _ => [],
        };

        if (request.Topic == StatsTopic.Reset)
        {
            server.ResetStatistics();
        }

        return list.Write(target, request.Reply);
    }

    /// <summary>What plain `stats` reports.</summary>
    public static StatisticList General(Server server)
    {
        LoopCounters counters = server.CountersSinceReset();
        Environment.ProcessCpuUsage processor = Environment.CpuUsage;
        StoreStatistics store = server.Store.Statistics;
        var list = new StatisticList
        {
            { "pid", Environment.ProcessId },
            { "uptime", (long)server.Uptime.TotalSeconds },
            { "time", DateTimeOffset.UtcNow.ToUnixTimeSeconds() },
            { "version", server.Options.Version },
            { "pointer_size", IntPtr.Size * 8 },
            { "rusage_user", processor.UserTime },
            { "rusage_system", processor.PrivilegedTime },
            { "max_connections", server.Options.ConnectionCountMax },
            { "curr_connections", server.ConnectionCount },
            { "total_connections", counters.TotalConnections },
            { "rejected_connections", server.RejectedConnections },
            { "connection_structures", server.ConnectionCount },
        };

        // Replies are written into the buffer of the loop, and there are no objects for them.
        list.AddZeros(["response_obj_oom", "response_obj_count", "response_obj_bytes"]);
        // Connections share the receive buffer of their loop, which is free between turns.
        list.Add("read_buf_count", server.Options.ThreadCount);
        list.Add("read_buf_bytes", (long)server.Options.ThreadCount * EventLoop.ReceiveBufferLength);
        list.Add("read_buf_bytes_free", (long)server.Options.ThreadCount * EventLoop.ReceiveBufferLength);
        list.Add("read_buf_oom", 0);

        for (int index = 0; index < Counter.names.Length; index++)
        {
            list.Add(Counter.names[index], counters[index]);

            if (Counter.names[index] == "get_misses")
            {
                list.Add("get_expired", counters.GetExpired);
                list.Add("get_flushed", counters.GetFlushed);
            }
        }

        // No store is refused for want of memory.
        list.Add("store_no_memory", 0);
        list.Add("idle_kicks", counters.IdleKicks);
        list.Add("bytes_read", counters.BytesRead);
        list.Add("bytes_written", counters.BytesWritten);
        list.Add("limit_maxbytes", server.Store.Options.MemoryBudgetBytes);
        list.Add("accepting_conns", server.IsAccepting ? 1 : 0);
        list.Add("listen_disabled_num", server.AcceptPauses);
        list.Add("time_in_listen_disabled_us", server.AcceptPauseMicroseconds);
        list.Add("threads", server.Options.ThreadCount);
        list.Add("conn_yields", counters.Yields);

        if (server is { Handshakes: { } handshakes, Options.Tls: { } tls })
        {
            list.Add("ssl_handshake_errors", handshakes.HandshakeErrors);
            list.Add("ssl_proto_errors", handshakes.ProtocolErrors);
            list.Add("time_since_server_cert_refresh", (long)tls.Age.TotalSeconds);
        }

        // No hash table, and no slab page that could move.
        list.AddZeros(["hash_power_level", "hash_bytes", "hash_is_expanding"]);
        list.AddZeros(
        [
            "slab_reassign_rescues", "slab_reassign_chunk_rescues", "slab_reassign_inline_reclaim", "slab_reassign_busy_items",
            "slab_reassign_busy_deletes", "slab_reassign_busy_nomem",
        ]);
        list.Add("slab_reassign_last_busy_status", "none");
        list.AddZeros(["slab_reassign_running", "slabs_moved"]);
        list.Add("lru_crawler_running", server.CrawlCount > 0 ? 1 : 0);
        list.Add("lru_crawler_starts", server.CrawlStarts);
        // Memory that cannot be had ends the process; nothing is logged for watchers; connections are dealt out by nothing but their turn.
        list.AddZeros(["lru_maintainer_juggles", "malloc_fails"]);
        list.AddZeros(["log_worker_dropped", "log_worker_written", "log_watcher_skipped", "log_watcher_sent", "log_watchers"]);
        list.AddZeros(["unexpected_napi_ids", "round_robin_fallback"]);
        list.Add("bytes", store.MemtableBytes + store.TableBytes.Sum());
        list.Add("curr_items", server.Store.CountItems());
        list.Add("total_items", counters.TotalItems);
        // A database forgets nothing by itself, and has no LRU. What has expired goes when compaction comes by, and is not counted.
        list.AddZeros(["slab_global_page_pool", "expired_unfetched", "evicted_unfetched", "evicted_active", "evictions", "reclaimed"]);
        list.AddZeros(["crawler_reclaimed", "crawler_items_checked", "lrutail_reflocked"]);
        list.AddZeros(["moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims", "lru_bumps_dropped"]);
        return list;
    }
}
