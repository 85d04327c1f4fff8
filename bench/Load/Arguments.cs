using System.Globalization;

namespace LsmFs.Load;

/// <summary>
/// Arguments taken by name, one by one; what nobody took is refused at the end. Every mistake is a <see cref="LoadException"/>.
/// </summary>
public sealed class Arguments(IEnumerable<string> arguments)
{
    readonly List<string> rest = [.. arguments];

    public bool TakeFlag(string name) => rest.Remove(name);

    public string? Take(string name)
    {
        var index = rest.IndexOf(name);
        if (index < 0)
        {
            return null;
        }
        if (index + 1 == rest.Count)
        {
            throw new LoadException($"{name} wants a value");
        }
        var value = rest[index + 1];
        rest.RemoveRange(index, 2);
        return value;
    }

    public double? TakeNumber(string name, double min, double max)
    {
        if (Take(name) is not { } text)
        {
            return null;
        }
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw new LoadException($"{name} {text}: a number from {min} to {max} is wanted");
    }

    public long? TakeInteger(string name, long min, long max)
    {
        if (Take(name) is not { } text)
        {
            return null;
        }
        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw new LoadException($"{name} {text}: a whole number from {min} to {max} is wanted");
    }

    /// <summary>The arguments that are not options, in order.</summary>
    public List<string> TakePositional()
    {
        var taken = rest.FindAll(argument => !argument.StartsWith('-'));
        rest.RemoveAll(argument => !argument.StartsWith('-'));
        return taken;
    }

    public void RefuseRest()
    {
        if (rest.Count > 0)
        {
            throw new LoadException($"what is {rest[0]}? (--help shows the options)");
        }
    }
}
