using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace LsmFs.Host;

/// <summary>
/// Log lines as an operator's tools want them: UTC time, level, message, each entry on one line. The formatters of the base
/// library put the category on every line and the stack trace under every exception.
/// </summary>
internal sealed class OneLineFormatter(LogVerbosity verbosity) : ConsoleFormatter(FormatterName)
{
    /// <summary>The name under which the console logger finds it.</summary>
    public const string FormatterName = "lsmfs";

    /// <inheritdoc/>
    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var message = logEntry.Formatter(logEntry.State, logEntry.Exception);
        textWriter.Write(DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
        textWriter.Write(NameOf(logEntry.LogLevel));
        textWriter.Write(InOneLine(message));

        if (logEntry.Exception is { } exception)
        {
            textWriter.Write(": ");
            textWriter.Write(InOneLine(exception.Message));
        }

        textWriter.WriteLine();

        if (logEntry.Exception is not null && verbosity.WithTraces)
        {
            textWriter.WriteLine(logEntry.Exception.ToString());
        }
    }

    /// <summary>The text with its line breaks made spaces.</summary>
    public static string InOneLine(string text) => text.AsSpan().ContainsAny('\r', '\n') ? text.ReplaceLineEndings(" ") : text;

    private static string NameOf(LogLevel level) => level switch
    {
        LogLevel.Critical => " critical: ",
        LogLevel.Error => " error: ",
        LogLevel.Warning => " warning: ",
        LogLevel.Information => " info: ",
        LogLevel.Debug => " debug: ",
        _ => " trace: ",
    };
}
