using System.Runtime.InteropServices;
using LsmFs.Cli;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace LsmFs.Host;

/// <summary><c>lsmfs serve</c>: the process around a served store, from its options to its exit code.</summary>
internal static partial class ServeCommand
{
    /// <summary>
    /// Serves until SIGTERM, SIGINT or SIGUSR1. Returns the exit code; a failure has been told in one line on stderr by then.
    /// </summary>
    public static async Task<int> RunAsync(ServeOptions options)
    {
        AppDomain.CurrentDomain.UnhandledException += (_, fault) =>
        {
            // A thread of ours ran into something unforeseen. Whatever is acknowledged is in the log, so the end of the process is
            // the safe state; and it comes before the runtime writes its own report.
            Report((Exception)fault.ExceptionObject, new LogVerbosity(options.Verbosity));
            Environment.Exit(ExitCode.Fault);
        };

        try
        {
            var isDaemon = options.Process.IsDaemon;
            var keepsErrors = options.Verbosity > 0;

            if (isDaemon && OperatingSystem.IsWindows())
            {
                throw new ProcessException("-d is not for Windows; start it as a service");
            }

            if (isDaemon && !Daemon.IsChild())
            {
                return Daemon.Start(keepsErrors);
            }

            if (isDaemon)
            {
                Daemon.Enter();
            }

            // The end of a terminal stops nothing; memcached takes it for a request to read its files again.
            using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context => context.Cancel = true);
            using var host = Build(options);
            using var restart = OnUserSignal(host.Services.GetRequiredService<IHostApplicationLifetime>());
            await host.StartAsync();

            if (isDaemon)
            {
                if (!keepsErrors)
                {
                    LogDetached(host.Services.GetRequiredService<ILogger<ServeService>>(), Daemon.LastLine);
                }

                Daemon.SayReady(keepsErrors);
            }

            await host.WaitForShutdownAsync();
            return ExitCode.Success;
        }
        catch (OperationCanceledException)
        {
            // Stopped while it was starting: the store has been closed by the host's end.
            return ExitCode.Success;
        }
        catch (Exception failure)
        {
            return Report(failure, new LogVerbosity(options.Verbosity));
        }
    }

    /// <summary>One line on stderr about a failure, and the exit code for it.</summary>
    private static int Report(Exception failure, LogVerbosity verbosity)
    {
        var isKnown = failure is StoreException or ListenException or UnusableFileException or ProcessException;
        var message = OneLineFormatter.InOneLine(failure.Message);
        Say(
            isKnown ? $"lsmfs: {message}"
            : verbosity.WithTraces ? $"lsmfs: unexpected {failure}"
            : $"lsmfs: unexpected {failure.GetType().Name}: {message} (-vv shows where)");
        return isKnown ? ExitCode.Failure : ExitCode.Fault;
    }

    /// <summary>Writes a line to stderr, if there is one: whoever starts a server may have closed it.</summary>
    internal static void Say(string line)
    {
        try
        {
            Console.Error.WriteLine(line);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Nobody is there to be told.
        }
    }

    private static IHost Build(ServeOptions options)
    {
        // No defaults: neither environment nor configuration files decide anything here, and start-up is shorter by them.
        var builder = new HostApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });

        var verbosity = new LogVerbosity(options.Verbosity);

        builder.Logging
            .SetMinimumLevel(LogLevel.Trace)
            .AddFilter(verbosity.Admits)
            .AddConsole(console =>
            {
                console.FormatterName = OneLineFormatter.FormatterName;
                console.LogToStandardErrorThreshold = LogLevel.Trace;
            })
            .AddConsoleFormatter<OneLineFormatter, ConsoleFormatterOptions>();

        builder.Services.Configure<ConsoleLifetimeOptions>(lifetime => lifetime.SuppressStatusMessages = true);
        // The server bounds the time it waits for clients; the store takes the time that its last sync takes.
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = Timeout.InfiniteTimeSpan);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(verbosity);
        builder.Services.AddHostedService<ServeService>();
        return builder.Build();
    }

    [LoggerMessage(LogLevel.Information, "{GoesOn}, and logs nowhere; with -v it goes on logging to stderr")]
    private static partial void LogDetached(ILogger logger, string goesOn);

    // memcached's signal for a restart that keeps the data. Here every stop keeps it.
    private static PosixSignalRegistration? OnUserSignal(IHostApplicationLifetime lifetime)
    {
        if (OperatingSystem.IsWindows())
        {
            return null;
        }

        var signal = (PosixSignal)(OperatingSystem.IsLinux() ? 10 : 30);
        return PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            lifetime.StopApplication();
        });
    }
}
