namespace LsmFs.Load;

/// <summary>One connection of a loop: the batch in flight, and the bytes that did not fit one send or one receive.</summary>
internal sealed class Connection(int descriptor, int number, int depth, int keysPerGet)
{
    public readonly int Descriptor = descriptor;
    public readonly int Number = number;
    public readonly Operation[] Operations = new Operation[depth];
    public readonly uint[] Keys = new uint[depth * keysPerGet];
    /// <summary>Operations in the batch, and how many of them are answered.</summary>
    public int OperationCount, AnsweredCount;
    /// <summary>Keys of the operation being answered that the reply has already passed.</summary>
    public int KeyPosition;
    /// <summary>The beginning of a reply whose rest has not arrived.</summary>
    public byte[]? Tail;
    public int TailLength;
    /// <summary>The end of a batch the socket had no room for.</summary>
    public byte[]? Unsent;
    public int UnsentOffset, UnsentLength;

    public bool IsAnswered => AnsweredCount == OperationCount;
}
