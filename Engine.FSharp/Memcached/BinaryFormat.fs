namespace LsmFs.Engine

// The packets of memcached's binary protocol: deprecated there, and still what several clients speak unless they are told otherwise. All integers are
// big-endian, and a request and its reply have the same shape:
//
//    0        1        2            4            5           6            8           12       16      24
//   +--------+--------+------------+------------+-----------+------------+-----------+--------+-------+--------+-----+-------+
//   | magic  | opcode | key length | extras     | data type | request: 0 | body      | opaque | cas   | extras | key | value |
//   | 80, 81 | u8     | u16        | length, u8 | 0         | reply:     | length    | u32    | u64   |        |     |       |
//   |        |        |            |            |           | status     | u32       |        |       |        |     |       |
//   +--------+--------+------------+------------+-----------+------------+-----------+--------+-------+--------+-----+-------+
//
// The body is extras, key and value. Magic is 80 for requests and 81 for replies. A reply has the opcode and the opaque of its request.
//
//   extras of requests                                                  extras of replies
//   set, add, replace        flags u32, exptime u32                     get, gat, touch that found the key    flags u32
//   increment, decrement     delta u64, initial u64, exptime u32        (the number of increment and decrement is a value, u64)
//   touch, gat               exptime u32
//   flush                    exptime u32, or none
//
// An exptime counts as in the text protocol, but has no sign.

open System

/// What a packet asks for.
type BinaryOpcode =
    | Get = 0x00uy
    | Set = 0x01uy
    | Add = 0x02uy
    | Replace = 0x03uy
    | Delete = 0x04uy
    | Increment = 0x05uy
    | Decrement = 0x06uy
    | Quit = 0x07uy
    | Flush = 0x08uy
    | GetQ = 0x09uy
    | Noop = 0x0Auy
    | Version = 0x0Buy
    | GetK = 0x0Cuy
    | GetKQ = 0x0Duy
    | Append = 0x0Euy
    | Prepend = 0x0Fuy
    | Stat = 0x10uy
    | SetQ = 0x11uy
    | AddQ = 0x12uy
    | ReplaceQ = 0x13uy
    | DeleteQ = 0x14uy
    | IncrementQ = 0x15uy
    | DecrementQ = 0x16uy
    | QuitQ = 0x17uy
    | FlushQ = 0x18uy
    | AppendQ = 0x19uy
    | PrependQ = 0x1Auy
    | Touch = 0x1Cuy
    | Gat = 0x1Duy
    | GatQ = 0x1Euy
    | SaslMechanisms = 0x20uy
    | SaslAuth = 0x21uy
    | SaslStep = 0x22uy
    | GatK = 0x23uy
    | GatKQ = 0x24uy

/// How a request went.
type BinaryStatus =
    | Success = 0x00us
    | NotFound = 0x01us
    | Exists = 0x02us
    | TooLarge = 0x03us
    | InvalidArguments = 0x04us
    | NotStored = 0x05us
    | NonNumeric = 0x06us
    /// The client may not do that.
    | AuthError = 0x20us
    | UnknownCommand = 0x81us
    /// memcached's out of memory: the store cannot take the write.
    | OutOfMemory = 0x82us
    | InternalError = 0x84us

/// Reading the header of a request.
[<RequireQualifiedAccess>]
module BinaryFormat =

    /// The first byte of every reply.
    [<Literal>]
    let replyMagic = 0x81uy

    /// Bytes of a header.
    [<Literal>]
    let headerLength = 24

    /// The longest body, in bytes: a header that announces more is not believed.
    [<Literal>]
    let bodyLengthMax = 0x40000000u

    /// The exptime with which an increment does not create its key.
    [<Literal>]
    let doNotCreate = 0xFFFFFFFFu

    /// Bytes of the flags in a reply.
    [<Literal>]
    let flagsLength = 4

    let opcode (packet: ReadOnlySpan<byte>) : BinaryOpcode = LanguagePrimitives.EnumOfValue packet[1]

    let keyLength (packet: ReadOnlySpan<byte>) : int = int (Coding.readU16 packet 2)

    let extrasLength (packet: ReadOnlySpan<byte>) : int = int packet[4]

    let bodyLength (packet: ReadOnlySpan<byte>) : uint32 = Coding.readU32 packet 8

    let cas (packet: ReadOnlySpan<byte>) : uint64 = Coding.readU64 packet 16

    /// The opcode of the same command that answers whatever comes of it. The commands with a Q keep silent about what is expected: a miss of a get,
    /// the success of everything else.
    let loud (opcode: BinaryOpcode) : BinaryOpcode =
        match opcode with
        | BinaryOpcode.GetQ -> BinaryOpcode.Get
        | BinaryOpcode.GetKQ -> BinaryOpcode.GetK
        | BinaryOpcode.GatQ -> BinaryOpcode.Gat
        | BinaryOpcode.GatKQ -> BinaryOpcode.GatK
        | BinaryOpcode.QuitQ -> BinaryOpcode.Quit
        | BinaryOpcode.FlushQ -> BinaryOpcode.Flush
        | BinaryOpcode.AppendQ -> BinaryOpcode.Append
        | BinaryOpcode.PrependQ -> BinaryOpcode.Prepend
        | opcode when opcode >= BinaryOpcode.SetQ && opcode <= BinaryOpcode.DecrementQ ->
            // SetQ to DecrementQ stand in the order of Set to Decrement.
            LanguagePrimitives.EnumOfValue(byte opcode - byte BinaryOpcode.SetQ + byte BinaryOpcode.Set)
        | opcode -> opcode

    /// Whether the command keeps silent about what is expected.
    let isQuiet (opcode: BinaryOpcode) : bool = loud opcode <> opcode
