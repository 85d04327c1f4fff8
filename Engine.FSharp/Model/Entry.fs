namespace LsmFs.Engine

// An entry is encoded once and then lies in the write-ahead log, the memtable and the tables in the same bytes:
//
//   0        4       6      7        8          16
//   +--------+-------+------+--------+----------+---------+----------+--------+-----+-------+
//   | value  | key   | kind | fields | sequence | flags   | expiry   | cas    | key | value |
//   | length | length|      |        | number   | if bit 0| if bit 1 |if bit 2|     |       |
//   | u32    | u16   | u8   | u8     | u64      | u32     | u32      | u64    |     |       |
//   +--------+-------+------+--------+----------+---------+----------+--------+-----+-------+
//
// The other field bits take no bytes: 8 the item is stale, 16 its win token was sent, 32 its key was written in base64 (memcached's meta commands).
//
// Integers are big-endian. Unknown kinds and field bits are corruption: a new one needs a new version of the file that holds it.

open System
open System.Runtime.CompilerServices

/// What an entry says of its key.
type EntryKind =
    /// The key has no value.
    | Tombstone = 0uy
    /// The key has this value.
    | Value = 1uy
    /// No key: every entry with a smaller sequence number is flushed, at once or when the expiry time comes. Only in the write-ahead log.
    | FlushAll = 2uy

/// What memcached's meta commands remember of an item, as the field bits that say so.
[<Flags>]
type EntryMarks =
    | None = 0uy
    /// Invalidated, and kept until it is written again.
    | Stale = 8uy
    /// A client was told to write the item again, and others are told so.
    | WinSent = 16uy
    /// Whoever wrote it gave the key in base64, and is given it back so.
    | BinaryKey = 32uy

/// An encoded entry where it lies: in a chunk of a memtable, in a block, in a batch. The bytes are never copied to read them,
/// and the view is only as good as its buffer: it must not outlive the snapshot it came from.
/// The accessors do not check bounds; bytes from disk pass `EntryFormat.measure` first.
[<Struct; NoEquality; NoComparison>]
type Entry = {
    /// The bytes the entry lies in.
    Buffer: byte[]
    /// Where it begins.
    Offset: int
} with

    member inline private entry.Fields = int entry.Buffer[entry.Offset + 7]

    /// Bytes of the value.
    member entry.ValueLength: int = int (Unchecked.readU32 entry.Buffer entry.Offset)

    /// Bytes of the key.
    member entry.KeyLength: int = int (Unchecked.readU16 entry.Buffer (entry.Offset + 4))

    /// Value, tombstone or flush.
    member entry.Kind: EntryKind = LanguagePrimitives.EnumOfValue entry.Buffer[entry.Offset + 6]

    /// The position of this write in the store's history.
    member entry.Sequence: SequenceNumber = SequenceNumber(Unchecked.readU64 entry.Buffer (entry.Offset + 8))

    /// memcached's client flags; 0 when none were stored.
    member entry.Flags: uint32 =
        if entry.Fields &&& 1 <> 0 then
            Unchecked.readU32 entry.Buffer (entry.Offset + 16)
        else
            0u

    /// The Unix time in seconds from which the entry is expired; 0 never.
    member entry.ExpirySeconds: uint32 =
        let fields = entry.Fields

        if fields &&& 2 <> 0 then
            Unchecked.readU32 entry.Buffer (entry.Offset + 16 + ((fields &&& 1) <<< 2))
        else
            0u

    /// memcached's cas unique: the sequence number, unless the entry says otherwise.
    member entry.Cas: uint64 =
        let fields = entry.Fields

        if fields &&& 4 <> 0 then
            Unchecked.readU64 entry.Buffer (entry.Offset + 16 + ((fields &&& 1) <<< 2) + ((fields &&& 2) <<< 1))
        else
            Unchecked.readU64 entry.Buffer (entry.Offset + 8)

    /// What meta commands remember of the item.
    member entry.Marks: EntryMarks = LanguagePrimitives.EnumOfValue(byte (entry.Fields &&& 0x38))

    /// Bytes before the key.
    member entry.HeaderLength: int =
        let fields = entry.Fields
        16 + ((fields &&& 1) <<< 2) + ((fields &&& 2) <<< 1) + ((fields &&& 4) <<< 1)

    /// Bytes of the whole encoded entry.
    member entry.Length: int = entry.HeaderLength + entry.KeyLength + entry.ValueLength

    /// The key.
    member entry.Key: ReadOnlySpan<byte> =
        ReadOnlySpan<byte>(entry.Buffer, entry.Offset + entry.HeaderLength, entry.KeyLength)

    /// The value; empty for a tombstone.
    member entry.Value: ReadOnlySpan<byte> =
        ReadOnlySpan<byte>(entry.Buffer, entry.Offset + entry.HeaderLength + entry.KeyLength, entry.ValueLength)

    /// The encoded bytes.
    member entry.Bytes: ReadOnlySpan<byte> = ReadOnlySpan<byte>(entry.Buffer, entry.Offset, entry.Length)

    /// Whether the entry's time has come at `nowSeconds` (Unix time).
    member entry.IsExpired(nowSeconds: uint32) : bool =
        let expiry = entry.ExpirySeconds
        expiry <> 0u && expiry <= nowSeconds

/// Everything about a new entry but its key and value.
[<Struct>]
type EntryHeader = {
    Kind: EntryKind
    Sequence: SequenceNumber
    /// memcached's client flags.
    Flags: uint32
    /// Unix time in seconds; 0 never.
    ExpirySeconds: uint32
    /// 0 lets the sequence number stand for it.
    Cas: uint64
    Marks: EntryMarks
}

/// Encoding entries and judging encoded ones.
[<RequireQualifiedAccess>]
module EntryFormat =

    /// Bytes of the shortest header.
    [<Literal>]
    let headerLengthMin = 16

    /// Bytes of the longest header.
    [<Literal>]
    let headerLengthMax = 32

    /// Bytes of the longest key the format can hold.
    [<Literal>]
    let keyLengthMax = 65535

    let private fieldsOf (header: inref<EntryHeader>) : int =
        (if header.Flags <> 0u then 1 else 0)
        ||| (if header.ExpirySeconds <> 0u then 2 else 0)
        ||| (if header.Cas <> 0UL then 4 else 0)
        ||| int header.Marks

    /// Appends an entry whose value is `head` followed by `tail` (append and prepend need no copy of their own to join them)
    /// and returns its length. Throws `ArgumentOutOfRangeException` for a key past `keyLengthMax`.
    let appendParts
        (buffer: ByteBuffer)
        (header: inref<EntryHeader>)
        (key: ReadOnlySpan<byte>)
        (head: ReadOnlySpan<byte>)
        (tail: ReadOnlySpan<byte>)
        : int =
        if key.Length > keyLengthMax then
            raise (ArgumentOutOfRangeException(nameof key))

        let fields = fieldsOf &header
        let headerLength = 16 + ((fields &&& 1) <<< 2) + ((fields &&& 2) <<< 1) + ((fields &&& 4) <<< 1)
        let length = headerLength + key.Length + head.Length + tail.Length
        let bytes = buffer.Reserve length
        Coding.writeU32 bytes 0 (uint32 (head.Length + tail.Length))
        Coding.writeU16 bytes 4 (uint16 key.Length)
        bytes[6] <- byte header.Kind
        bytes[7] <- byte fields
        Coding.writeU64 bytes 8 header.Sequence.Value
        let mutable offset = 16

        if fields &&& 1 <> 0 then
            Coding.writeU32 bytes offset header.Flags
            offset <- offset + 4

        if fields &&& 2 <> 0 then
            Coding.writeU32 bytes offset header.ExpirySeconds
            offset <- offset + 4

        if fields &&& 4 <> 0 then
            Coding.writeU64 bytes offset header.Cas
            offset <- offset + 8

        key.CopyTo(bytes.Slice offset)
        head.CopyTo(bytes.Slice(offset + key.Length))
        tail.CopyTo(bytes.Slice(offset + key.Length + head.Length))
        length

    /// Appends an entry and returns its length. Throws `ArgumentOutOfRangeException` for a key past `keyLengthMax`.
    let append (buffer: ByteBuffer) (header: EntryHeader) (key: ReadOnlySpan<byte>) (value: ReadOnlySpan<byte>) : int =
        appendParts buffer &header key value ReadOnlySpan<byte>.Empty

    /// The length of the entry at `offset`, or -1 when the bytes there are no whole, well-formed entry.
    let measure (bytes: ReadOnlySpan<byte>) (offset: int) : int =
        if offset < 0 || offset > bytes.Length - headerLengthMin then
            -1
        else
            let fields = int bytes[offset + 7]
            let headerLength = 16 + ((fields &&& 1) <<< 2) + ((fields &&& 2) <<< 1) + ((fields &&& 4) <<< 1)

            let length =
                int64 headerLength + int64 (Coding.readU16 bytes (offset + 4)) + int64 (Coding.readU32 bytes offset)

            if bytes[offset + 6] > byte EntryKind.FlushAll || fields > 63 then
                -1
            elif int64 offset + length > int64 bytes.Length then
                -1
            else
                int length
