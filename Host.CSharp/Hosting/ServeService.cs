using System.Net;
using System.Runtime.InteropServices;
using LsmFs.Cli;
using LsmFs.Engine;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// The life of one served store. The order is the point: the store is open before the first client is let in, and the last reply
/// is out before the store is closed.
/// </summary>
internal sealed partial class ServeService(
    ServeOptions options, LogVerbosity verbosity, IHostApplicationLifetime lifetime, ILogger<ServeService> logger) : IHostedService, IDisposable
{
    private Store? _store;
    private Server? _server;
    private PidFile? _pidFile;
    private PosixSignalRegistration? _reload;

    /// <summary>Opens the store, which may replay its log, and starts to serve it.</summary>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var notice in options.Notices)
        {
            LogNotice(logger, notice.IsWarning ? LogLevel.Warning : LogLevel.Information, notice.Text);
        }

        ProcessRights.Apply(options.Process, logger);

        // First: whoever mistyped a name need not wait for the store.
        var passwords = options.PasswordFile.IsSome ? new PasswordFile(options.PasswordFile.Value, logger) : null;
        var tls = options.Tls.IsSome ? new TlsContext(options.Tls.Value, logger) : null;
        var sockets = options.Sockets;
        var listenPoints = sockets.UnixSocket.IsSome
            ? AddressResolver.OfSocket(sockets.UnixSocket.Value, options.Protocol)
            : AddressResolver.Resolve(options.Addresses, options.Protocol);

        var storeOptions = new StoreOptions
        {
            DataFolder = options.DataFolder,
            Durability = options.Durability,
            MemoryBudgetBytes = options.MemoryBudgetBytes,
            Compression = options.Compression,
        };
        _store = Store.Open(storeOptions, logger);

        // A stop asked for while the log was replayed.
        cancellationToken.ThrowIfCancellationRequested();

        var serverOptions = new ServerOptions
        {
            ListenPoints = listenPoints,
            ThreadCount = options.ThreadCount,
            ConnectionCountMax = options.ConnectionCountMax,
            RefusesAtLimit = sockets.RefusesAtLimit,
            BacklogCount = sockets.BacklogCount,
            IdleTimeoutSeconds = sockets.IdleTimeoutSeconds,
            RequestCountMaxPerTurn = sockets.RequestCountMaxPerTurn,
            ValueLengthMax = options.ValueSizeBytesMax,
            Version = Reply.memcachedRelease,
            Restrictions = options.Restrictions,
            ShutdownRequested = options.Process.AllowsShutdown ? RequestStop : null,
            Passwords = passwords,
            Tls = tls,
            Verbosity = verbosity,
        };
        var server = Server.Start(serverOptions, _store, logger);
        _server = server;
        WritePortsFile(server.EndPoints);
        _reload = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
        {
            context.Cancel = true;
            server.Reload();
        });

        LogServing(
            logger,
            CommandLine.Version,
            string.Join(", ", _server.Addresses),
            Path.GetFullPath(options.DataFolder),
            NameOf(options.Durability),
            Environment.ProcessId);
        ProcessRights.Tell(options.Process, logger);

        if (options.Process.PidFile.IsSome)
        {
            _pidFile = PidFile.TryWrite(options.Process.PidFile.Value, logger);
        }

        return Task.CompletedTask;
    }

    /// <summary>Lets no one in any more, finishes the replies, makes everything durable and closes the store.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        LogStopping(logger);

        if (_server is not null)
        {
            await _server.StopAsync();
            _server = null;
        }

        Dispose();
        LogStopped(logger);
    }

    /// <summary>Closes the store if <see cref="StopAsync"/> did not: a start that failed half way is not stopped.</summary>
    public void Dispose()
    {
        _reload?.Dispose();
        _store?.Dispose();
        _store = null;
        _pidFile?.Dispose();
        _pidFile = null;
    }

    // The loop that was asked must not wait for its own end.
    private void RequestStop()
    {
        LogShutdown(logger);
        ThreadPool.UnsafeQueueUserWorkItem(static lifetime => lifetime.StopApplication(), lifetime, preferLocal: false);
    }

    private void WritePortsFile(IEnumerable<EndPoint> endPoints)
    {
        if (Environment.GetEnvironmentVariable(PortsFile.VariableName) is not { Length: > 0 } path)
        {
            return;
        }

        try
        {
            PortsFile.Write(path, endPoints);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            // Whoever waits for the file sees that it does not come; clients need it not.
            LogPortsFileFailed(logger, PortsFile.VariableName, path, failure.Message);
        }
    }

    private static string NameOf(Durability durability) => durability switch
    {
        Durability.Sync => "sync",
        Durability.Os => "os",
        Durability.Memory => "memory",
        _ => throw new InvalidOperationException("an unknown durability"),
    };

    [LoggerMessage(
        LogLevel.Information,
        "lsmfs {Version} serves memcached on {EndPoints}, data in {DataFolder}, durability {Durability}, process {ProcessId}")]
    private static partial void LogServing(
        ILogger logger, string version, string endPoints, string dataFolder, string durability, int processId);

    [LoggerMessage(LogLevel.Error, "the file of {Variable}, {Path}, cannot be written: {Reason}")]
    private static partial void LogPortsFileFailed(ILogger logger, string variable, string path, string reason);

    [LoggerMessage("{Notice}")]
    private static partial void LogNotice(ILogger logger, LogLevel level, string notice);

    [LoggerMessage(LogLevel.Information, "a client asked for a stop with shutdown")]
    private static partial void LogShutdown(ILogger logger);

    [LoggerMessage(LogLevel.Information, "stopping: finishing replies and closing the store")]
    private static partial void LogStopping(ILogger logger);

    [LoggerMessage(LogLevel.Information, "stopped")]
    private static partial void LogStopped(ILogger logger);
}
