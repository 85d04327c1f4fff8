using System.Diagnostics;

namespace LsmFs.Host;

/// <summary>
/// Tells on stderr how far a command has come: on a terminal in one line that is written over several times a second, elsewhere in a line
/// now and then. Not thread-safe.
/// </summary>
internal sealed class Progress(string done, long totalBytes) : IDisposable
{
    private const int LineWidth = 79;
    private static readonly TimeSpan TerminalInterval = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LogInterval = TimeSpan.FromSeconds(10);

    private readonly long _started = Stopwatch.GetTimestamp();
    private TimeSpan _nextAt = Interval;
    private long _bytes;
    private long _items;
    private bool _isShown;

    private static bool IsTerminal => !Console.IsErrorRedirected;

    private static TimeSpan Interval => IsTerminal ? TerminalInterval : LogInterval;

    /// <summary>Counts what was done since the last call, and says so when it is time to.</summary>
    public void Advance(long bytes, long items)
    {
        _bytes += bytes;
        _items += items;
        var elapsed = Stopwatch.GetElapsedTime(_started);
        if (elapsed >= _nextAt)
        {
            _nextAt = elapsed + Interval;
            Show(elapsed);
        }
    }

    /// <summary>Takes the line off the terminal, so that something else can be written there.</summary>
    public void Clear()
    {
        if (_isShown && IsTerminal)
        {
            Console.Error.Write($"\r{new string(' ', LineWidth)}\r");
        }

        _isShown = false;
    }

    /// <inheritdoc cref="Clear"/>
    public void Dispose() => Clear();

    private void Show(TimeSpan elapsed)
    {
        var bytesPerSecond = _bytes / elapsed.TotalSeconds;
        var text = $"{done} {ByteSize.Text(_bytes)}";
        if (totalBytes > 0)
        {
            text += $" of {ByteSize.Text(totalBytes)}";
        }

        text += $", {_items} items, {ByteSize.Text((long)bytesPerSecond)}/s";
        if (totalBytes > _bytes && _bytes > 0)
        {
            text += $", {TimeSpan.FromSeconds(Math.Ceiling((totalBytes - _bytes) / bytesPerSecond)):c} left";
        }

        if (IsTerminal)
        {
            Console.Error.Write($"\r{text.PadRight(LineWidth)}");
        }
        else
        {
            Console.Error.WriteLine(text);
        }

        _isShown = true;
    }
}
