using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>The answers to `stats` and its variants. Only what is true is reported; what memcached has and a store has not is left out.</summary>
internal static class ServerStatistics
{
    /// <summary>Room that every answer fits in, in bytes.</summary>
    public const int ReplyLengthMax = 16 * 1024;

    private const int ShownLengthMax = 1000;

    /// <summary>Writes the answer to a `stats` line, unless it is a list of keys; returns its length.</summary>
    public static int Write(Server server, StatsRequest request, Span<byte> target)
    {
        switch (request.Topic)
        {
            case StatsTopic.General:
                return WriteAll(General(server), target);
            case StatsTopic.Settings:
                return WriteAll(Settings(server), target);
            case StatsTopic.Lsm:
                return WriteAll(LsmStatistics.Of(server.Store.Statistics), target);
            case StatsTopic.Reset:
                server.ResetStatistics();
                break;
        }

        // Slabs and their like do not exist here: an empty list is the truth, and what tools accept.
        return WriteLine(request.Reply, target);
    }

    /// <summary>What plain `stats` reports.</summary>
    public static List<KeyValuePair<string, string>> General(Server server)
    {
        LoopCounters counters = server.CountersSinceReset();
        Environment.ProcessCpuUsage processor = Environment.CpuUsage;
        var list = new List<KeyValuePair<string, string>>();

        Add(list, "pid", Environment.ProcessId);
        Add(list, "uptime", (long)server.Uptime.TotalSeconds);
        Add(list, "time", DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        Add(list, "version", server.Options.Version);
        Add(list, "pointer_size", IntPtr.Size * 8);
        Add(list, "rusage_user", Seconds(processor.UserTime));
        Add(list, "rusage_system", Seconds(processor.PrivilegedTime));
        Add(list, "max_connections", server.Options.ConnectionCountMax);
        Add(list, "curr_connections", server.ConnectionCount);
        Add(list, "total_connections", counters.TotalConnections);
        Add(list, "rejected_connections", server.RejectedConnections);

        for (int index = 0; index < Counter.names.Length; index++)
        {
            Add(list, Counter.names[index], counters[index]);

            if (Counter.names[index] == "get_misses")
            {
                Add(list, "get_expired", counters.GetExpired);
                Add(list, "get_flushed", counters.GetFlushed);
            }
        }

        Add(list, "conn_yields", counters.Yields);
        Add(list, "idle_kicks", counters.IdleKicks);
        Add(list, "bytes_read", counters.BytesRead);
        Add(list, "bytes_written", counters.BytesWritten);
        Add(list, "accepting_conns", server.IsAccepting ? 1 : 0);
        Add(list, "listen_disabled_num", server.AcceptPauses);
        Add(list, "time_in_listen_disabled_us", server.AcceptPauseMicroseconds);
        Add(list, "threads", server.Options.ThreadCount);

        if (server is { Handshakes: { } handshakes, Options.Tls: { } tls })
        {
            Add(list, "ssl_handshake_errors", handshakes.HandshakeErrors);
            Add(list, "ssl_proto_errors", handshakes.ProtocolErrors);
            Add(list, "time_since_server_cert_refresh", (long)tls.Age.TotalSeconds);
        }

        Add(list, "lru_crawler_running", server.CrawlCount > 0 ? 1 : 0);
        Add(list, "lru_crawler_starts", server.CrawlStarts);
        Add(list, "limit_maxbytes", server.Store.Options.MemoryBudgetBytes);
        StoreStatistics store = server.Store.Statistics;
        Add(list, "bytes", store.MemtableBytes + store.TableBytes.Sum());
        Add(list, "curr_items", store.ItemCountEstimate);
        Add(list, "total_items", counters.TotalItems);
        // A database forgets nothing by itself.
        Add(list, "evictions", 0);
        return list;
    }

    private static List<KeyValuePair<string, string>> Settings(Server server)
    {
        var list = new List<KeyValuePair<string, string>>();

        Add(list, "maxbytes", server.Store.Options.MemoryBudgetBytes);
        Add(list, "maxconns", server.Options.ConnectionCountMax);
        ListenPoint? path = server.Options.ListenPoints.FirstOrDefault(point => point.Path is not null);

        Add(list, "tcpport", server.EndPoints.Count > 0 ? server.EndPoints[0].Port : 0);
        Add(list, "udpport", 0);
        Add(list, "inter", server.EndPoints.Count > 0 ? string.Join(',', server.EndPoints.Select(endPoint => endPoint.Address)) : "NULL");
        Add(list, "evictions", "off");
        Add(list, "domain_socket", path?.Path ?? "NULL");
        Add(list, "umask", Convert.ToString((int)(path?.UnixMode ?? new ListenPoint().UnixMode), 8));
        Add(list, "reqs_per_event", server.Options.RequestCountMaxPerTurn);
        Add(list, "idle_timeout", server.Options.IdleTimeoutSeconds);
        Add(list, "num_threads", server.Options.ThreadCount);
        Add(list, "cas_enabled", "yes");
        Add(list, "tcp_backlog", server.Options.BacklogCount);
        Add(list, "binding_protocol", BindingProtocolModule.name(server.Options.ListenPoints[0].Protocol));
        bool hasSasl = server.Options.Passwords is not null && server.Options.ListenPoints.Any(point => point.Protocol != BindingProtocol.Ascii);
        Add(list, "auth_enabled_sasl", hasSasl ? "yes" : "no");
        Add(list, "auth_enabled_ascii", Shown(server.Options.Passwords?.FilePath) ?? "no");
        AddTls(list, server.Options.Tls?.Options);
        Add(list, "item_size_max", server.Options.ValueLengthMax);
        Add(list, "maxconns_fast", server.Options.RefusesAtLimit ? "yes" : "no");
        Add(list, "flush_enabled", "yes");
        Add(list, "shutdown_command", server.Options.ShutdownRequested is null ? "no" : "yes");
        Add(list, "client_flags_size", sizeof(uint));
        Add(list, "lru_crawler", server.IsCrawlerEnabled ? "yes" : "no");
        Add(list, "transport", server.Transport == Transport.Epoll ? "epoll" : "sockets");
        return list;
    }

    /// <summary>Text of the command line, which may be longer than an answer has room for.</summary>
    [return: NotNullIfNotNull(nameof(text))]
    private static string? Shown(string? text) => text is { Length: > ShownLengthMax } ? text[..ShownLengthMax] : text;

    /// <summary>By memcached's names and values, which are OpenSSL's for the verify mode. What is not so without TLS either is left out.</summary>
    private static void AddTls(List<KeyValuePair<string, string>> list, TlsOptions? tls)
    {
        Add(list, "ssl_enabled", tls is null ? "no" : "yes");

        if (tls is null)
        {
            return;
        }

        Add(list, "ssl_chain_cert", Shown(tls.ChainFile));
        Add(list, "ssl_key", Shown(tls.KeyFile.IsSome ? tls.KeyFile.Value : tls.ChainFile));
        Add(list, "ssl_verify_mode", tls.VerifyMode switch
        {
            TlsVerifyMode.None => 0,
            TlsVerifyMode.Request => 1,
            TlsVerifyMode.Require => 3,
            _ => 7,
        });
        Add(list, "ssl_keyformat", (int)tls.KeyFormat);
        Add(list, "ssl_ciphers", tls.CipherText.IsSome ? Shown(tls.CipherText.Value) : "NULL");
        Add(list, "ssl_ca_cert", tls.AuthoritiesFile.IsSome ? Shown(tls.AuthoritiesFile.Value) : "NULL");
        Add(list, "ssl_wbuf_size", tls.WriteBufferBytes);
        Add(list, "ssl_session_cache", tls.HasSessionCache ? "yes" : "no");
        Add(list, "ssl_kernel_tls", "no");
        Add(list, "ssl_min_version", tls.MinVersion == 3 ? "tlsv1.3" : "tlsv1.2");
    }

    private static void Add(List<KeyValuePair<string, string>> list, string name, string value) => list.Add(new(name, value));

    private static void Add(List<KeyValuePair<string, string>> list, string name, long value) =>
        Add(list, name, value.ToString(CultureInfo.InvariantCulture));

    private static string Seconds(TimeSpan time) => time.TotalSeconds.ToString("F6", CultureInfo.InvariantCulture);

    private static int WriteAll(List<KeyValuePair<string, string>> list, Span<byte> target)
    {
        int length = 0;

        foreach ((string name, string value) in list)
        {
            length += Reply.writeStat(target[length..], name, value);
        }

        return length + WriteLine(ReplyCode.End, target[length..]);
    }

    private static int WriteLine(ReplyCode reply, Span<byte> target)
    {
        ReadOnlySpan<byte> line = Reply.line(reply);
        line.CopyTo(target);
        return line.Length;
    }
}
