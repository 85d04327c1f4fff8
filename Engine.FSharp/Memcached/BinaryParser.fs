namespace LsmFs.Engine

// The incremental parser of the binary protocol: the same steps and the same commands as `Parser`'s. It computes on the bytes it is given, keeps none and
// allocates none.
//
// Invariants:
//   1. However the bytes of a connection are cut into calls, the steps other than NeedMore are the same, dropped bytes aside.
//   2. Every step either consumes bytes, or asks for more, or closes; NeedMore consumes none.
//   3. A value is either parsed whole or never buffered: bytes of a refused value are dropped as they come (`SwallowBytes`).
//   4. A step whose reply is not none begins at the header of its packet, from which the reply takes opcode and opaque.
//   5. Keys of a parsed command are 1 to 250 bytes, of any kind.

open System

/// Turning packets into commands.
[<RequireQualifiedAccess>]
module BinaryParser =

    /// Whether the lengths of a header can be those of its command. Commands that there are not may have any.
    let private hasGoodLengths (opcode: BinaryOpcode) (extrasLength: int) (keyLength: int) (valueLength: int) : bool =
        match opcode with
        | BinaryOpcode.Get
        | BinaryOpcode.GetK
        | BinaryOpcode.Delete -> extrasLength = 0 && keyLength > 0 && valueLength = 0
        | BinaryOpcode.Set
        | BinaryOpcode.Add
        | BinaryOpcode.Replace -> extrasLength = 8 && keyLength > 0
        | BinaryOpcode.Append
        | BinaryOpcode.Prepend
        | BinaryOpcode.SaslAuth
        | BinaryOpcode.SaslStep -> extrasLength = 0 && keyLength > 0
        | BinaryOpcode.Increment
        | BinaryOpcode.Decrement -> extrasLength = 20 && keyLength > 0 && valueLength = 0
        | BinaryOpcode.Touch
        | BinaryOpcode.Gat
        | BinaryOpcode.GatK -> extrasLength = 4 && keyLength > 0 && valueLength = 0
        | BinaryOpcode.Flush -> (extrasLength = 0 || extrasLength = 4) && keyLength = 0 && valueLength = 0
        | BinaryOpcode.Stat -> extrasLength = 0 && valueLength = 0
        | BinaryOpcode.Quit
        | BinaryOpcode.Noop
        | BinaryOpcode.Version
        | BinaryOpcode.SaslMechanisms -> extrasLength = 0 && keyLength = 0 && valueLength = 0
        | _ -> true

    let private verbOf (opcode: BinaryOpcode) : Verb =
        match opcode with
        | BinaryOpcode.Get
        | BinaryOpcode.GetK -> Verb.Get
        | BinaryOpcode.Set -> Verb.Set
        | BinaryOpcode.Add -> Verb.Add
        | BinaryOpcode.Replace -> Verb.Replace
        | BinaryOpcode.Delete -> Verb.Delete
        | BinaryOpcode.Increment -> Verb.Incr
        | BinaryOpcode.Decrement -> Verb.Decr
        | BinaryOpcode.Append -> Verb.Append
        | BinaryOpcode.Prepend -> Verb.Prepend
        | BinaryOpcode.Touch -> Verb.Touch
        | BinaryOpcode.Gat
        | BinaryOpcode.GatK -> Verb.Gat
        | BinaryOpcode.Flush -> Verb.FlushAll
        | BinaryOpcode.Stat -> Verb.Stats
        | BinaryOpcode.Version -> Verb.Version
        | BinaryOpcode.Noop -> Verb.Noop
        | BinaryOpcode.Quit -> Verb.Quit
        | _ -> Verb.None

    /// The header says what cannot be: nothing tells where the next packet would begin.
    let private broken (reply: ReplyCode) : ParseStep = {
        ParseStep.rejected reply false BinaryFormat.headerLength with
            Kind = ParseStepKind.RejectedForGood
    }

    /// Refuses a packet by its header; its body is dropped as it comes.
    let private refuse
        (state: byref<ParserState>)
        (counters: Counters)
        (reply: ReplyCode)
        (bodyLength: int)
        : ParseStep =
        state.SwallowBytes <- int64 bodyLength
        ParseStep.rejectedCounting counters reply false BinaryFormat.headerLength

    /// 32 bits of the extras.
    let inline private extra (input: ReadOnlySpan<byte>) (offset: int) : uint32 =
        Coding.readU32 input (BinaryFormat.headerLength + offset)

    /// The command of a packet of which `input` has header, extras and key.
    let private commandOf
        (input: ReadOnlySpan<byte>)
        (verb: Verb)
        (extrasLength: int)
        (keyLength: int)
        (valueLength: int)
        : Command =
        let keyOffset = BinaryFormat.headerLength + extrasLength
        let cas = BinaryFormat.cas input

        let command = {
            Command.withKey verb false keyOffset keyLength with
                Dialect = Dialect.Binary
                ValueOffset = keyOffset + keyLength
                ValueLength = valueLength
        }

        match verb with
        | Verb.Set
        | Verb.Add
        | Verb.Replace -> {
            command with
                Verb = (if cas <> 0UL then Verb.Cas else verb)
                Number = cas
                Flags = extra input 0
                Exptime = int32 (extra input 4)
          }
        | Verb.Incr
        | Verb.Decr -> {
            command with
                Number = Coding.readU64 input BinaryFormat.headerLength
                Exptime = int32 (extra input 16)
                ValueOffset = BinaryFormat.headerLength + 8
                ValueLength = 8
          }
        | Verb.Touch
        | Verb.Gat -> { command with Exptime = int32 (extra input 0) }
        | Verb.FlushAll when extrasLength > 0 -> { command with Exptime = int32 (extra input 0) }
        | _ -> command

    let private parsePacket
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (command: byref<Command>)
        : ParseStep =
        let opcode = BinaryFormat.loud (BinaryFormat.opcode input)
        let keyLength = BinaryFormat.keyLength input
        let extrasLength = BinaryFormat.extrasLength input
        let announced = BinaryFormat.bodyLength input
        let bodyLength = int announced
        let valueLength = bodyLength - extrasLength - keyLength

        if announced > BinaryFormat.bodyLengthMax then
            broken ReplyCode.BadCommandLineFormat
        elif valueLength < 0 then
            broken ReplyCode.Error
        elif
            keyLength > ProtocolLimits.keyLengthMax
            || not (hasGoodLengths opcode extrasLength keyLength valueLength)
        then
            broken ReplyCode.BadCommandLineFormat
        else
            let verb = verbOf opcode
            let keyEnd = BinaryFormat.headerLength + extrasLength + keyLength

            if verb = Verb.None then
                refuse &state Counters.None ReplyCode.Error bodyLength
            elif valueLength <= valueLengthMax then
                if input.Length - BinaryFormat.headerLength < bodyLength then
                    ParseStep.needMoreOf (BinaryFormat.headerLength + bodyLength)
                else
                    command <- commandOf input verb extrasLength keyLength valueLength
                    ParseStep.parsed (BinaryFormat.headerLength + bodyLength)
            elif verb <> Verb.Set then
                refuse &state Counters.StoreTooLarge ReplyCode.ObjectTooLarge bodyLength
            elif input.Length < keyEnd then
                ParseStep.needMoreOf keyEnd
            else
                // It removes the old value, whose key is needed for that.
                command <- { commandOf input verb extrasLength keyLength 0 with Verb = Verb.SetTooLarge }

                state.SwallowBytes <- int64 valueLength
                ParseStep.parsed keyEnd

    /// Parses what stands at the start of `input`, as `Parser.parse` does for the text protocol. O(1), no allocation.
    let parse
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (command: byref<Command>)
        : ParseStep =
        if input.IsEmpty then
            ParseStep.needMoreOf 0
        elif state.SwallowBytes > 0L then
            ParseStep.swallow &state input
        elif input[0] <> BindingProtocol.binaryMagic then
            ParseStep.close ()
        elif input.Length < BinaryFormat.headerLength then
            ParseStep.needMoreOf BinaryFormat.headerLength
        else
            parsePacket valueLengthMax &state input &command

    /// The key of the packet at `position`, if it is a whole get or gat, whose keys may be looked for ahead; empty otherwise. Moves `position`
    /// behind the packet. O(1), no allocation.
    let nextKey (packets: ReadOnlySpan<byte>) (position: byref<int>) : ReadOnlySpan<byte> =
        let mutable state = ParserState()
        let mutable command = Unchecked.defaultof<Command>
        let packet = packets.Slice position
        let step = parse 0 &state packet &command

        if step.Kind = ParseStepKind.Parsed && (command.Verb = Verb.Get || command.Verb = Verb.Gat) then
            position <- position + step.ConsumedBytes
            packet.Slice(command.KeyOffset, command.KeyLength)
        else
            ReadOnlySpan<byte>.Empty

    /// Fills `coming` with the keys of the gets and gats that follow each other from `position` on, which moves behind them; returns how many there are.
    /// O(keys), no allocation.
    let comingKeys (packets: ReadOnlySpan<byte>) (position: byref<int>) (coming: Span<ComingKey>) : int =
        let mutable count = 0
        let mutable more = true

        while more && count < coming.Length do
            let length = (nextKey packets &position).Length

            if length = 0 then
                more <- false
            else
                coming[count] <- ComingKey.At(position - length, length)
                count <- count + 1

        count
