namespace LsmFs.Engine

// The content of a data block is one or more entries (Model/Entry.fs) in ascending order of their keys, where each begins, and a byte of each key's hash:
//
//   +---------+-----+---------+------------------------+-----------------------------+-------+
//   | entry 0 | ... | entry n | offset of entry 0 .. n | fingerprint of entry 0 .. n | n + 1 |     offsets count from the start of the block,
//   |         |     |         | u16 each               | u8 each                     | u16   |     and the entries leave no gap
//   +---------+-----+---------+------------------------+-----------------------------+-------+
//
// The fingerprint is the lowest byte of the key's hash (KeyHash). A lookup compares fingerprints at once and then, nearly always, one key or none,
// where a binary search would wait for memory at every step; the order of the entries is for scans.

open System

/// Data blocks: checked once when they are opened, then searched where they lie.
[<RequireQualifiedAccess>]
module Block =

    /// The largest size that can be asked for: offsets have 16 bits. A block with a single entry may be longer.
    [<Literal>]
    let sizeBytesMax = 65536

    /// Bytes after the fingerprints: the count of entries.
    [<Literal>]
    let internal tailLengthBytes = 2

    /// Bytes of an entry's offset and fingerprint.
    [<Literal>]
    let internal slotLengthBytes = 3

    /// The fingerprint of a key with this hash.
    let inline internal fingerprint (hash: uint64) : byte = byte hash

    let inline internal entryCount (buffer: byte[]) (offset: int) (length: int) : int =
        int (Unchecked.readU16 buffer (offset + length - tailLengthBytes))

    /// Where the offsets of the entries begin in the buffer.
    let inline internal offsetsStart (offset: int) (length: int) (count: int) : int =
        offset + length - tailLengthBytes - slotLengthBytes * count

    let inline internal entryAt (buffer: byte[]) (offset: int) (offsets: int) (index: int) : Entry = {
        Buffer = buffer
        Offset = offset + int (Unchecked.readU16 buffer (offsets + 2 * index))
    }

    /// What is wrong with content whose checksum is right; nothing when all is well. Nothing else here may be used on a block before. O(length).
    let internal findFault (buffer: byte[]) (offset: int) (length: int) : string voption =
        let count =
            if length < tailLengthBytes then
                0
            else
                entryCount buffer offset length

        let entriesLength = length - tailLengthBytes - slotLengthBytes * count

        if count = 0 || entriesLength < EntryFormat.headerLengthMin then
            ValueSome $"%d{count} entries cannot be in a block of %d{length} bytes"
        else
            let entries = ReadOnlySpan<byte>(buffer, offset, entriesLength)
            let offsets = offset + entriesLength
            let mutable fault: string voption = ValueNone
            let mutable previous = entryAt buffer offset offsets 0
            let mutable expected = 0
            let mutable index = 0

            while fault.IsNone && index < count do
                let entry = entryAt buffer offset offsets index
                let entryLength = EntryFormat.measure entries (entry.Offset - offset)

                if entry.Offset - offset <> expected then
                    fault <-
                        ValueSome
                            $"entry %d{index} begins at %d{entry.Offset - offset} and not at %d{expected}, where the one before it ends"
                elif entryLength < 0 || entry.Kind = EntryKind.FlushAll then
                    fault <- ValueSome $"entry %d{index} at %d{expected} is malformed"
                elif index > 0 && entry.Key.SequenceCompareTo previous.Key <= 0 then
                    fault <- ValueSome $"the key of entry %d{index} is not larger than the one before it"
                else
                    expected <- expected + entryLength
                    previous <- entry
                    index <- index + 1

            if fault.IsNone && expected <> entriesLength then
                fault <- ValueSome $"the entries end at %d{expected} and their offsets begin at %d{entriesLength}"

            fault

    /// The number of the first entry whose key is not smaller than `key`; the number of entries when all are smaller. O(log entries).
    let internal lowerBound (buffer: byte[]) (offset: int) (length: int) (key: ReadOnlySpan<byte>) : int =
        let count = entryCount buffer offset length
        let offsets = offsetsStart offset length count
        let mutable low = 0
        let mutable high = count

        while low < high do
            let middle = (low + high) >>> 1

            let entry = entryAt buffer offset offsets middle

            if entry.Key.SequenceCompareTo key < 0 then
                low <- middle + 1
            else
                high <- middle

        low

    /// The entry of `key` in an opened block of `length` bytes at `offset` in `buffer`. `hash` is `KeyHash.compute key`.
    /// O(entries), 32 at a time; no allocation.
    let tryFind (buffer: byte[]) (offset: int) (length: int) (key: ReadOnlySpan<byte>) (hash: uint64) : Entry voption =
        let count = entryCount buffer offset length
        let offsets = offsetsStart offset length count
        let fingerprints = ReadOnlySpan<byte>(buffer, offsets + 2 * count, count)
        let wanted = fingerprint hash
        let mutable index = fingerprints.IndexOf wanted
        let mutable found = ValueNone

        while index >= 0 do
            let entry = entryAt buffer offset offsets index

            if entry.Key.SequenceEqual key then
                found <- ValueSome entry
                index <- -1
            else
                let next = fingerprints.Slice(index + 1).IndexOf wanted
                index <- if next < 0 then -1 else index + 1 + next

        found

    /// The first entry of a opened block.
    let first (buffer: byte[]) (offset: int) : Entry = { Buffer = buffer; Offset = offset }

    /// The last entry of a opened block.
    let last (buffer: byte[]) (offset: int) (length: int) : Entry =
        let count = entryCount buffer offset length
        entryAt buffer offset (offsetsStart offset length count) (count - 1)

/// Walks through opened blocks, one after the other. A mutable object for one owner; opening it on a block allocates nothing.
[<Sealed>]
type BlockCursor() =
    let mutable buffer = Array.Empty<byte>()
    let mutable offset = 0
    let mutable length = 0
    let mutable offsets = 0
    let mutable count = 0
    let mutable position = -1

    /// Before the first entry of the opened block at `offset` in `buffer`.
    member _.Open(blockBuffer: byte[], blockOffset: int, blockLength: int) : unit =
        buffer <- blockBuffer
        offset <- blockOffset
        length <- blockLength
        count <- Block.entryCount buffer offset length
        offsets <- Block.offsetsStart offset length count
        position <- -1

    /// Before the first entry whose key is not smaller than `key`.
    member _.Seek(key: ReadOnlySpan<byte>) : unit =
        if count > 0 then
            position <- Block.lowerBound buffer offset length key - 1

    /// To the next entry; false after the last one, and before a block was opened.
    member _.MoveNext() : bool =
        if position + 1 < count then
            position <- position + 1
            true
        else
            false

    /// The entry the cursor stands on.
    member _.Current: Entry = Block.entryAt buffer offset offsets position
