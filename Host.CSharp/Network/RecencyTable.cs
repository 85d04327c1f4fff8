using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// When items were read last, as far as it is known: any thread reads and writes the slots, one plain load or store each, and whoever comes last wins.
/// What the slots mean is the engine's business (<see cref="Recency"/>).
/// </summary>
internal sealed class RecencyTable(long memoryBudgetBytes, uint startSeconds)
{
    private readonly int _slotBits = Recency.slotBits(memoryBudgetBytes);
    private readonly ulong[] _slots = new ulong[1 << Recency.slotBits(memoryBudgetBytes)];

    /// <summary>What is known of an entry.</summary>
    public Access Find(in Entry entry) =>
        Recency.unpack(_slotBits, entry.Sequence, Volatile.Read(ref _slots[Recency.slotOf(_slotBits, entry.Sequence)]), startSeconds);

    /// <summary>The entry is read now.</summary>
    public void Touch(in Entry entry, uint nowSeconds)
    {
        SequenceNumber sequence = entry.Sequence;
        Set(sequence, Recency.pack(_slotBits, sequence, nowSeconds, true));
    }

    /// <summary>What is known of the entry with this sequence number from now on.</summary>
    public void Record(ulong sequence, Access access)
    {
        SequenceNumber number = SequenceNumber.NewSequenceNumber(sequence);
        Set(number, Recency.pack(_slotBits, number, access.LastSeconds, access.IsFetched));
    }

    private void Set(SequenceNumber sequence, ulong packed)
    {
        ref ulong slot = ref _slots[Recency.slotOf(_slotBits, sequence)];

        // An item that is read again and again is not to take the cache line from the other threads each time.
        if (slot != packed)
        {
            Volatile.Write(ref slot, packed);
        }
    }
}
