namespace LsmFs.Host;

/// <summary>
/// The hashes of the last keys that were added, in a table where each has one place and later ones take it from earlier ones: forgetting one too
/// soon only costs a block its shorter way into the main queue. Not synchronised.
/// </summary>
internal sealed class GhostQueue(int length)
{
    // The upper half is the tag, the lower the number of the addition. Length is a power of two.
    private readonly ulong[] _places = new ulong[length];
    private uint _count;

    /// <summary>Remembers a hash.</summary>
    internal void Add(ulong hash) => _places[(int)hash & (_places.Length - 1)] = TagOf(hash) | ++_count;

    /// <summary>Whether the hash is among the last <paramref name="lastCount"/> that were added.</summary>
    internal bool Contains(ulong hash, int lastCount)
    {
        var place = _places[(int)hash & (_places.Length - 1)];
        return place != 0 && (place & ~(ulong)uint.MaxValue) == TagOf(hash) && _count - (uint)place < (uint)lastCount;
    }

    private static ulong TagOf(ulong hash) => hash & ~(ulong)uint.MaxValue;
}
