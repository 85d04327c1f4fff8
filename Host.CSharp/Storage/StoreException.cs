using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>A store cannot be opened, or cannot go on. The message is one clear line for an operator.</summary>
public sealed class StoreException : Exception
{
    /// <summary>Makes an exception with a line for an operator.</summary>
    public StoreException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with a line for an operator and what caused it.</summary>
    public StoreException(string message, Exception cause)
        : base(message, cause)
    {
    }

    /// <summary>The damage that it is about, or null.</summary>
    internal Corruption? Damage { get; private init; }

    /// <summary>Damaged bytes in a file of the store.</summary>
    internal static StoreException Damaged(string dataFolder, Corruption corruption) =>
        new($"the data in {dataFolder} is damaged: {corruption}") { Damage = corruption };
}
