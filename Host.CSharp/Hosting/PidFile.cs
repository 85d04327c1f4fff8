using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>The file of <c>-P</c>: the number of the process, there as long as it serves.</summary>
internal sealed partial class PidFile : IDisposable
{
    private readonly string _path;
    private readonly string _content = Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + "\n";

    private PidFile(string path) => _path = path;

    /// <summary>Writes the file, all of it at once. One that cannot be written keeps nobody from serving: the log says so.</summary>
    public static PidFile? TryWrite(string path, ILogger logger)
    {
        var file = new PidFile(path);
        string unfinished = path + ".tmp";

        try
        {
            file.WarnOfOther(logger);
            File.WriteAllText(unfinished, file._content);
            File.Move(unfinished, path, overwrite: true);
            return file;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            LogNotWritten(logger, path, OneLineFormatter.InOneLine(exception.Message));
            return null;
        }
    }

    /// <summary>Removes the file, unless it has become another process's.</summary>
    public void Dispose()
    {
        try
        {
            if (File.ReadAllText(_path) == _content)
            {
                File.Delete(_path);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It is gone, or cannot be removed by the user that the process has become: a number that nobody has any more.
        }
    }

    private void WarnOfOther(ILogger logger)
    {
        if (File.Exists(_path)
            && int.TryParse(File.ReadAllText(_path).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            && number != Environment.ProcessId
            && IsRunning(number))
        {
            LogOther(logger, _path, number);
        }
    }

    private static bool IsRunning(int number)
    {
        try
        {
            using Process process = Process.GetProcessById(number);
            return !process.HasExited;
        }
        catch (Exception exception) when (exception is ArgumentException or InvalidOperationException or Win32Exception)
        {
            return false;
        }
    }

    [LoggerMessage(LogLevel.Warning, "the pid file {Path} cannot be written: {Reason}")]
    private static partial void LogNotWritten(ILogger logger, string path, string reason);

    [LoggerMessage(LogLevel.Warning, "the pid file {Path} was that of process {Number}, which is running")]
    private static partial void LogOther(ILogger logger, string path, int number);
}
