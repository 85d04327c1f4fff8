using System.Diagnostics.CodeAnalysis;
using LsmFs.Cli;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>What `stats settings` reports: how the server was started, and what was changed since.</summary>
internal static class SettingStatistics
{
    private const int ShownLengthMax = 1000;

    /// <summary>Memcached's names in memcached's order, and then the server's own.</summary>
    public static StatisticList Of(Server server)
    {
        ServerOptions options = server.Options;
        ListenPoint? path = options.ListenPoints.FirstOrDefault(point => point.Path is not null);

        bool hasSasl = options.Passwords is not null && options.ListenPoints.Any(point => point.Protocol != BindingProtocol.Ascii);

        var list = new StatisticList
        {
            { "maxbytes", server.Store.Options.MemoryBudgetBytes },
            { "maxconns", options.ConnectionCountMax },
            { "tcpport", server.EndPoints.Count > 0 ? server.EndPoints[0].Port : 0 },
            { "udpport", 0 },
            { "inter", server.EndPoints.Count > 0 ? string.Join(',', server.EndPoints.Select(endPoint => endPoint.Address)) : "NULL" },
            { "verbosity", options.Verbosity.Level },
            { "oldest", 0 },
            { "evictions", "off" },
            { "domain_socket", path?.Path ?? "NULL" },
            { "umask", Convert.ToString((int)(path?.UnixMode ?? new ListenPoint().UnixMode), 8) },
            { "shutdown_command", options.ShutdownRequested is not null },
            { "num_threads", options.ThreadCount },
            { "num_threads_per_udp", 0 },
            { "detail_enabled", false },
            { "reqs_per_event", options.RequestCountMaxPerTurn },
            { "cas_enabled", true },
            { "tcp_backlog", options.BacklogCount },
            { "binding_protocol", BindingProtocolModule.name(options.ListenPoints[0].Protocol) },
            { "auth_enabled_sasl", hasSasl },
            { "auth_enabled_ascii", Shown(options.Passwords?.FilePath) ?? "no" },
            { "item_size_max", options.ValueLengthMax },
            { "maxconns_fast", options.RefusesAtLimit },
        };

        list.Add("hashpower_init", 0);
        list.Add("slab_reassign", false);
        list.Add("slab_automove", 0);
        list.Add("lru_crawler", server.IsCrawlerEnabled);
        // A list of keys neither sleeps nor ends early, and there is no LRU.
        list.AddZeros(["lru_crawler_sleep", "lru_crawler_tocrawl", "tail_repair_time"]);
        list.Add("flush_enabled", !options.Restrictions.NoFlush);
        list.Add("dump_enabled", !options.Restrictions.NoDump);
        list.Add("lru_maintainer_thread", false);
        list.Add("lru_segmented", false);
        list.Add("temp_lru", false);
        list.Add("idle_timeout", options.IdleTimeoutSeconds);
        list.AddZeros(["watcher_logbuf_size", "worker_logbuf_size", "read_buf_mem_limit"]);
        list.Add("track_sizes", false);
        list.Add("inline_ascii_response", false);
        AddTls(list, options.Tls?.Options);
        list.Add("proxy_enabled", false);
        list.Add("num_napi_ids", 0);
        list.Add("memory_file", "(null)");
        list.Add("client_flags_size", sizeof(uint));
        list.Add("transport", server.Transport == Transport.Epoll ? "epoll" : "sockets");
        return list;
    }

    /// <summary>Text of the command line, which may be longer than an answer has room for.</summary>
    [return: NotNullIfNotNull(nameof(text))]
    private static string? Shown(string? text) => text is { Length: > ShownLengthMax } ? text[..ShownLengthMax] : text;

    /// <summary>By memcached's names and values, which are OpenSSL's for the verify mode. What is not so without TLS either is left out.</summary>
    private static void AddTls(StatisticList list, TlsOptions? tls)
    {
        list.Add("ssl_enabled", tls is not null);

        if (tls is null)
        {
            return;
        }

        list.Add("ssl_chain_cert", Shown(tls.ChainFile));
        list.Add("ssl_key", Shown(tls.KeyFile.IsSome ? tls.KeyFile.Value : tls.ChainFile));
        list.Add("ssl_verify_mode", tls.VerifyMode switch
        {
            TlsVerifyMode.None => 0,
            TlsVerifyMode.Request => 1,
            TlsVerifyMode.Require => 3,
            _ => 7,
        });
        list.Add("ssl_keyformat", (int)tls.KeyFormat);
        list.Add("ssl_ciphers", tls.CipherText.IsSome ? Shown(tls.CipherText.Value) : "NULL");
        list.Add("ssl_ca_cert", tls.AuthoritiesFile.IsSome ? Shown(tls.AuthoritiesFile.Value) : "NULL");
        list.Add("ssl_wbuf_size", tls.WriteBufferBytes);
        list.Add("ssl_session_cache", tls.HasSessionCache);
        list.Add("ssl_kernel_tls", false);
        list.Add("ssl_min_version", tls.MinVersion == 3 ? "tlsv1.3" : "tlsv1.2");
    }
}
