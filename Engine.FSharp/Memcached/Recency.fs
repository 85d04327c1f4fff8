namespace LsmFs.Engine

// When items were read last, and whether they were read since they were written, is kept in memory only: a table of 64-bit slots that forgets. An item's
// slot follows from the sequence number of its entry, so the slots of the newest entries are all different, and a newer one takes the slot of an older.
//
//   63          33        32        31        0
//   +-----------+---------+------------------+
//   | tag       | fetched | Unix time, in    |      0: nothing is known
//   | 31 bits   | 1 bit   | seconds          |
//   +-----------+---------+------------------+
//
// The tag is the 31 bits of the sequence number above those that choose the slot.

/// What is known of the last time an item was read.
[<Struct>]
type Access = {
    /// Unix time in seconds: when it was read last, or written if it was not read since.
    LastSeconds: uint32
    /// Whether it was read since it was written.
    IsFetched: bool
}

/// What a write does to what is known of the last access.
type AccessEffect =
    /// It makes a new item, which was not read yet.
    | Written = 0uy
    /// The item is the old one, read by this very command.
    | Fetched = 1uy
    /// The item is the old one, and its time is now.
    | Renewed = 2uy
    /// The item is the old one, and nothing of this changes.
    | Kept = 3uy

/// The packing of the table of last accesses.
[<RequireQualifiedAccess>]
module Recency =

    [<Literal>]
    let private tagMask = 0x7FFFFFFFUL

    [<Literal>]
    let private fetchedBit = 0x100000000UL

    /// The table takes this part of the memory budget.
    [<Literal>]
    let private budgetShare = 128L

    /// Slots of the table for a memory budget, as a power of two: from 2^10 to 2^24.
    let slotBits (memoryBudgetBytes: int64) : int =
        let slots = uint64 (max 1L (memoryBudgetBytes / budgetShare / 8L))
        System.Numerics.BitOperations.Log2 slots |> max 10 |> min 24

    /// The slot of an entry.
    let slotOf (slotBits: int) (sequence: SequenceNumber) : int = int (sequence.Value &&& ((1UL <<< slotBits) - 1UL))

    /// What the slot of an entry says when it was read, or written, at this Unix time.
    let pack (slotBits: int) (sequence: SequenceNumber) (seconds: uint32) (isFetched: bool) : uint64 =
        (((sequence.Value >>> slotBits) &&& tagMask) <<< 33)
        ||| (if isFetched then fetchedBit else 0UL)
        ||| uint64 seconds

    /// What is known of an item after a write.
    let after (effect: AccessEffect) (before: Access) (nowSeconds: uint32) : Access =
        match effect with
        | AccessEffect.Kept -> before
        | AccessEffect.Renewed -> { before with LastSeconds = nowSeconds }
        | AccessEffect.Fetched -> { LastSeconds = nowSeconds; IsFetched = true }
        | _ -> { LastSeconds = nowSeconds; IsFetched = false }

    /// What the slot says of the entry. When it says nothing, or speaks of another one, the entry was not read since `unknownSeconds`.
    let unpack (slotBits: int) (sequence: SequenceNumber) (slot: uint64) (unknownSeconds: uint32) : Access =
        if slot <> 0UL && slot >>> 33 = ((sequence.Value >>> slotBits) &&& tagMask) then
            { LastSeconds = uint32 slot; IsFetched = slot &&& fetchedBit <> 0UL }
        else
            { LastSeconds = unknownSeconds; IsFetched = false }
