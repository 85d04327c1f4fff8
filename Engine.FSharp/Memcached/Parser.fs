namespace LsmFs.Engine

// The incremental parser of memcached's classic text protocol. It computes on the bytes it is given, keeps none and allocates none.
//
// Invariants:
//   1. However the bytes of a connection are cut into calls, the steps other than NeedMore are the same, dropped bytes aside.
//   2. Every step either consumes bytes, or asks for more, or closes; NeedMore consumes none.
//   3. A value is either parsed whole or never buffered: bytes of a refused value are dropped as they come (`SwallowBytes`).
//   4. Keys of a parsed command are 1 to 250 bytes without space and newline.
//
// Where releases of memcached differ, this follows 1.6.45: docs/PROTOCOL.md lists the differences.

open System
open System.Buffers.Binary
open System.Runtime.CompilerServices
open System.Runtime.InteropServices

/// Turning bytes into commands.
[<RequireQualifiedAccess>]
module Parser =

    /// `get ` and `set ` as they lie in memory.
    [<Literal>]
    let private getPrefix = 0x20746567u

    [<Literal>]
    let private setPrefix = 0x20746573u

    [<Literal>]
    let private space = 32uy

    [<Literal>]
    let private newline = 10uy

    [<Literal>]
    let private carriageReturn = 13uy

    /// Takes the next key of a retrieval, or argument of `stats`, off the span that holds them (`KeyOffset`, `KeysLength`); empty when there is
    /// none left. `position` starts at 0. O(key), no allocation.
    let nextKey (keys: ReadOnlySpan<byte>) (position: byref<int>) : ReadOnlySpan<byte> = Tokens.next keys &position

    let inline private isGet (line: ReadOnlySpan<byte>) : bool =
        line.Length > 4 && Unsafe.ReadUnaligned<uint32>(&MemoryMarshal.GetReference line) = getPrefix

    let inline private isMetaGet (line: ReadOnlySpan<byte>) : bool =
        line.Length > 3 && line[0] = byte 'm' && line[1] = byte 'g' && line[2] = space

    /// Fills `coming` with the keys of a retrieval from `position` on, which moves behind them; returns how many there are. O(bytes), no allocation.
    let comingKeys (keys: ReadOnlySpan<byte>) (position: byref<int>) (coming: Span<ComingKey>) : int =
        let mutable count = 0
        let mutable more = true

        while more && count < coming.Length do
            let length = (nextKey keys &position).Length

            if length = 0 then
                more <- false
            else
                coming[count] <- ComingKey.At(position - length, length)
                count <- count + 1

        count

    /// The first keys of the lines `get` and `mg` that follow each other from `position` on, which moves behind them, as far as they are whole: those that
    /// are probably looked for soon, since nothing is checked. Returns how many were put in `coming`. O(bytes), no allocation.
    let comingGets (input: ReadOnlySpan<byte>) (position: byref<int>) (coming: Span<ComingKey>) : int =
        let mutable count = 0
        let mutable more = true

        while more && count < coming.Length do
            let line = input.Slice position

            let start =
                if isGet line then 4
                elif isMetaGet line then 3
                else 0

            let lineEnd = if start > 0 then line.IndexOf newline else -1

            if lineEnd <= start then
                more <- false
            else
                let rest = line.Slice(start, lineEnd - start)

                let length =
                    match rest.IndexOfAny(space, carriageReturn) with
                    | -1 -> rest.Length
                    | found -> found

                coming[count] <- ComingKey.At(position + start, length)
                count <- count + 1
                position <- position + lineEnd + 1

        count

    /// The whole of `get key` and `gets key` with one plain key; anything else is for the long way.
    let inline private tryGet
        (input: ReadOnlySpan<byte>)
        (lineEnd: int)
        (verb: Verb)
        (keyOffset: int)
        (command: byref<Command>)
        : bool =
        let finish =
            if lineEnd > 0 && input[lineEnd - 1] = carriageReturn then
                lineEnd - 1
            else
                lineEnd

        let length = finish - keyOffset

        if
            uint32 (length - 1) < uint32 ProtocolLimits.keyLengthMax
            && input.Slice(keyOffset, length).IndexOf space < 0
        then
            command <- Command.withKey verb false keyOffset length
            true
        else
            false

    /// `set key flags exptime bytes[ noreply]` in its usual spelling, one space between tokens; anything else is for the long way,
    /// told by a step that consumed nothing and wants nothing.
    let private trySet (valueLengthMax: int) (input: ReadOnlySpan<byte>) (command: byref<Command>) : ParseStep =
        let rest = input.Slice 4
        let keyLength = rest.Slice(0, min rest.Length (ProtocolLimits.keyLengthMax + 1)).IndexOf space

        if keyLength <= 0 || rest.Slice(0, keyLength).IndexOf newline >= 0 then
            ParseStep.needMoreOf 0
        else
            let mutable position = 4 + keyLength + 1
            let flagsStart = position
            let flags = Digits.readRun input 10 &position
            let exptimeStart = position + 1

            let mutable good =
                position > flagsStart && flags <= 0xFFFFFFFFUL && position < input.Length && input[position] = space

            position <- exptimeStart
            let exptime = if good then Digits.readRun input 10 &position else 0UL
            let lengthStart = position + 1

            good <-
                good
                && position > exptimeStart
                && exptime <= 0x7FFFFFFFUL
                && position < input.Length
                && input[position] = space

            position <- lengthStart
            let length = if good then Digits.readRun input 10 &position else 0UL
            good <- good && position > lengthStart && length <= uint64 valueLengthMax
            let mutable noReply = false

            if good && input.Length - position >= 8 && input[position] = space then
                noReply <- Tokens.isNoreply (input.Slice(position + 1, 7))

                if noReply then
                    position <- position + 8

            if
                good
                && position + 1 < input.Length
                && input[position] = carriageReturn
                && input[position + 1] = newline
            then
                CommandLine.takeValue
                    input
                    {
                        Command.withKey Verb.Set noReply 4 keyLength with
                            Flags = uint32 flags
                            Exptime = int32 exptime
                            ValueOffset = position + 2
                            ValueLength = int length
                    }
                    &command
            else
                ParseStep.needMoreOf 0

    /// Whether a line of more than `lineLengthMax` bytes may go on: only one that begins as a retrieval.
    let private mayBeLong (input: ReadOnlySpan<byte>) =
        let head = CommandName.pack (input.Slice(0, 4))
        head = uint64 getPrefix || (head = CommandName.Gets && input[4] = space)

    let private parseSlowly
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (command: byref<Command>)
        : ParseStep =
        if input.IsEmpty then
            ParseStep.needMoreOf 0
        elif state.SwallowBytes > 0L then
            ParseStep.swallow &state input
        else
            let scanned = min state.ScannedBytes input.Length
            let found = input.Slice(scanned).IndexOf newline
            let lineLength = if found < 0 then input.Length else scanned + found

            if
                lineLength > ProtocolLimits.lineLengthMax
                && (lineLength > ProtocolLimits.retrievalLineLengthMax || not (mayBeLong input))
            then
                ParseStep.close ()
            elif found < 0 then
                state.ScannedBytes <- input.Length
                ParseStep.needMoreOf 0
            else
                let step =
                    if MetaLine.isMeta input lineLength then
                        MetaLine.parse valueLengthMax &state input lineLength &command
                    else
                        CommandLine.parse valueLengthMax &state input lineLength &command

                // A storage command that waits for its value is parsed again: its line is where it was.
                state.ScannedBytes <- (if step.Kind = ParseStepKind.NeedMore then lineLength else 0)
                step

    /// Parses what stands at the start of `input`. `valueLengthMax` is in bytes. After NeedMore, call again with the same bytes followed by
    /// more; after any other step, with the bytes behind `ConsumedBytes`. `command` is written only by a Parsed step, and its offsets count
    /// from the start of `input`. No allocation; O(line), and O(new bytes) while a long line is incomplete.
    let parse
        (valueLengthMax: int)
        (state: byref<ParserState>)
        (input: ReadOnlySpan<byte>)
        (command: byref<Command>)
        : ParseStep =
        if state.SwallowBytes = 0L && state.ScannedBytes = 0 && input.Length >= 7 then
            let head = Unsafe.ReadUnaligned<uint32>(&MemoryMarshal.GetReference input)

            let head =
                if BitConverter.IsLittleEndian then
                    head
                else
                    BinaryPrimitives.ReverseEndianness head

            if head = getPrefix || (head = uint32 CommandName.Gets && input[4] = space) then
                // Only a short line can be one plain key; a long one is worth the full inspection.
                let lineEnd = input.Slice(0, min input.Length 264).IndexOf newline
                let isGet = head = getPrefix

                if
                    lineEnd > 0
                    && tryGet input lineEnd (if isGet then Verb.Get else Verb.Gets) (if isGet then 4 else 5) &command
                then
                    ParseStep.parsed (lineEnd + 1)
                else
                    parseSlowly valueLengthMax &state input &command
            elif head = setPrefix then
                let step = trySet valueLengthMax input &command

                if step.ConsumedBytes = 0 && step.WantedBytes = 0 then
                    parseSlowly valueLengthMax &state input &command
                else
                    step
            else
                parseSlowly valueLengthMax &state input &command
        else
            parseSlowly valueLengthMax &state input &command

    /// The key of the `mg` at `position` of what follows a command, to be looked for ahead; empty when another command is there, only a part of one, or
    /// a key in base64. `position` moves behind the line. O(line), no allocation.
    let nextMetaKey (following: ReadOnlySpan<byte>) (position: byref<int>) : ReadOnlySpan<byte> =
        let mutable state = ParserState()
        let mutable command = Unchecked.defaultof<Command>
        let rest = following.Slice position
        let step = parse 0 &state rest &command

        if
            step.Kind = ParseStepKind.Parsed
            && command.Verb = Verb.MetaGet
            && command.Flags &&& uint32 MetaFlags.Base64Key = 0u
        then
            position <- position + step.ConsumedBytes
            rest.Slice(command.KeyOffset, command.KeyLength)
        else
            ReadOnlySpan<byte>.Empty
