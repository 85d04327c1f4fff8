namespace LsmFs.Engine

// The nodes of a memtable's tree lie in an arena and name one another, and entries, by arena offset. Integers are the processor's
// own: nodes never leave memory. Two shapes make the tree:
//
// A key block is a leaf, or the separators of an inner node. Its heads begin a cache line.
//
//   0       4         8       10         12       14       16               16 + 8c            16 + 12c
//   +-------+---------+-------+----------+--------+--------+----------------+------------------+
//   | stamp | pending | count | capacity | sorted | prefix | heads          | entries          |
//   | u32   | u32     | u16   | c, u16   | u16    | u16    | u64 x capacity | u32 x capacity   |
//   +-------+---------+-------+----------+--------+--------+----------------+------------------+
//
//   stamp     of the batch that made the block
//   pending   slots past `count` that belong to the open batch; only the writer looks
//   sorted    slots in key order, each key once; those after them are in the order of their sequence numbers
//   prefix    bytes that all keys between the node's fences share; heads leave them out
//
// An inner node has one child more than separators. Child i holds keys from separator i - 1 (inclusive) to separator i (exclusive).
// Separators change less often than children, so versions share them.
//
//   0          4       8
//   +----------+-------+--------------------------+
//   | key block| stamp | children                 |
//   | u32      | u32   | u32 x (separators + 1)   |
//   +----------+-------+--------------------------+

open System.Runtime.CompilerServices
open System.Threading

/// Access to the fields of nodes. A block is named by the reference to its first byte; nothing is checked.
[<RequireQualifiedAccess>]
module internal Node =

    /// Slots of a leaf.
    [<Literal>]
    let leafCapacity = 64

    /// Children of an inner node, at most.
    [<Literal>]
    let childCountMax = 16

    /// Levels of inner nodes in trees of some tens of thousands of keys: walking such a one twice costs more than waiting for the caches.
    [<Literal>]
    let cachedHeight = 3

    /// Bytes of a key block before its heads.
    [<Literal>]
    let keyBlockHeaderLength = 16

    /// Bytes of a key block.
    let keyBlockLength (capacity: int) : int = keyBlockHeaderLength + 12 * capacity

    /// Bytes of an inner node.
    let innerLength (childCount: int) : int = 8 + 4 * childCount

    /// A multiple of 8 that holds `count` slots: searching reads 8 heads at a time.
    let capacityFor (count: int) : int = (count + 7) &&& ~~~7

    let inline private u16 (block: byref<byte>) (offset: int) : byref<uint16> =
        &Unsafe.As<byte, uint16>(&Unsafe.Add(&block, offset))

    let inline private u32 (block: byref<byte>) (offset: int) : byref<uint32> =
        &Unsafe.As<byte, uint32>(&Unsafe.Add(&block, offset))

    let inline stamp (block: byref<byte>) : byref<uint32> = &u32 &block 0
    let inline pending (block: byref<byte>) : byref<uint32> = &u32 &block 4
    let inline capacity (block: byref<byte>) : int = int (u16 &block 10)
    let inline sorted (block: byref<byte>) : int = int (u16 &block 12)
    let inline prefixLength (block: byref<byte>) : int = int (u16 &block 14)

    /// The slots that readers may look at; what was stored in them before is visible to who read the count.
    let inline count (block: byref<byte>) : int = int (Volatile.Read(&u16 &block 8))

    /// Lets readers look at `value` slots.
    let inline publishCount (block: byref<byte>) (value: int) : unit = Volatile.Write(&u16 &block 8, uint16 value)

    let inline head (block: byref<byte>) (slot: int) : byref<uint64> =
        &Unsafe.As<byte, uint64>(&Unsafe.Add(&block, keyBlockHeaderLength + 8 * slot))

    let inline entry (block: byref<byte>) (capacity: int) (slot: int) : byref<uint32> =
        &u32 &block (keyBlockHeaderLength + 8 * capacity + 4 * slot)

    /// Fills in the header of a new key block whose first `count` slots are, or will be, sorted.
    let initialize (block: byref<byte>) (stampValue: uint32) (count: int) (capacity: int) (prefixLength: int) : unit =
        (stamp &block) <- stampValue
        (pending &block) <- 0u
        (u16 &block 8) <- uint16 count
        (u16 &block 10) <- uint16 capacity
        (u16 &block 12) <- uint16 count
        (u16 &block 14) <- uint16 prefixLength

    let inline innerKeys (inner: byref<byte>) : byref<uint32> = &u32 &inner 0
    let inline innerStamp (inner: byref<byte>) : byref<uint32> = &u32 &inner 4
    let inline child (inner: byref<byte>) (index: int) : byref<uint32> = &u32 &inner (8 + 4 * index)
