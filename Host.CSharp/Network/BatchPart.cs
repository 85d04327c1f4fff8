namespace LsmFs.Host;

/// <summary>Which bytes of a buffer that connections share are one connection's.</summary>
internal struct BatchPart
{
    public Connection Connection;
    public int Start;
    public int Length;
}
