namespace LsmFs.Host;

/// <summary>A channel whose operations complete on any thread, and whose events a <see cref="SocketLoop"/> then brings to it in a turn.</summary>
internal abstract class LoopChannel(Origin origin) : Channel(origin)
{
    /// <summary>The operation that waits for bytes has completed. In a turn.</summary>
    public abstract void OnArrival();

    /// <summary>The operation that waits for room has completed. In a turn.</summary>
    public abstract void OnDeparture();
}
