namespace LsmFs.Load;

/// <summary>Something the person at the keyboard must know: the message is one line, printed without a stack trace.</summary>
public sealed class LoadException(string message) : Exception(message);
