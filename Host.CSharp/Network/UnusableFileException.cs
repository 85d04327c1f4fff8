namespace LsmFs.Host;

/// <summary>A file that the operator named cannot be used: passwords, a certificate, a key. The message is one line for the operator.</summary>
public sealed class UnusableFileException : Exception
{
    /// <summary>Makes the exception from its one-line message.</summary>
    public UnusableFileException(string message) : base(message)
    {
    }

    /// <summary>Makes the exception from its one-line message and what caused it.</summary>
    public UnusableFileException(string message, Exception cause) : base(message, cause)
    {
    }
}
