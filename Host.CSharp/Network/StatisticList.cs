using System.Globalization;
using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>Names and values as `stats` reports them, in their order. No value but an address has a space in it, as in memcached: tools cut lines at spaces.</summary>
internal sealed class StatisticList : List<KeyValuePair<string, string>>
{
    /// <summary>Adds a word.</summary>
    public void Add(string name, string value) => Add(new KeyValuePair<string, string>(name, value));

    /// <summary>Adds a whole number.</summary>
    public void Add(string name, long value) => Add(name, value.ToString(CultureInfo.InvariantCulture));

    /// <summary>Adds a number with two decimal places.</summary>
    public void Add(string name, double value) => Add(name, value.ToString("F2", CultureInfo.InvariantCulture));

    /// <summary>Adds `yes` or `no`.</summary>
    public void Add(string name, bool value) => Add(name, value ? "yes" : "no");

    /// <summary>Adds a time as seconds with six decimal places.</summary>
    public void Add(string name, TimeSpan value) => Add(name, value.TotalSeconds.ToString("F6", CultureInfo.InvariantCulture));

    /// <summary>Adds 0 under each of these names.</summary>
    public void AddZeros(ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            Add(name, 0);
        }
    }

    /// <summary>Writes the STAT lines and the line that ends them; returns their length.</summary>
    public int Write(Span<byte> target, ReplyCode end)
    {
        int length = 0;

        foreach ((string name, string value) in this)
        {
            length += Reply.writeStat(target[length..], name, value);
        }

        Reply.line(end).CopyTo(target[length..]);
        return length + Reply.line(end).Length;
    }
}
