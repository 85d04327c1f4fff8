namespace LsmFs.Host;

/// <summary>The process cannot be what the flags ask for. The message is one line for the operator.</summary>
/// <param name="message">The line.</param>
internal sealed class ProcessException(string message) : Exception(message);
