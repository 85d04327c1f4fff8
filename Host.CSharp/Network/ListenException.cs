namespace LsmFs.Host;

/// <summary>An address cannot be listened on. The message is one line for the operator.</summary>
public sealed class ListenException : Exception
{
    /// <summary>Makes the exception from its one-line message.</summary>
    public ListenException(string message) : base(message)
    {
    }

    /// <summary>Makes the exception from its one-line message and the system's own error.</summary>
    public ListenException(string message, Exception inner) : base(message, inner)
    {
    }
}
