namespace LsmFs.Engine

// Writing the replies of the binary protocol (the packets are drawn in BinaryFormat.fs). The request is the input of the command, which begins with its
// header. Every writer returns how many bytes it wrote, and 0 where a quiet command keeps silent; one that is given too little room throws.

open System
open System.Text

/// Writing replies of the binary protocol.
[<RequireQualifiedAccess>]
module BinaryReply =

    let private textOf (status: BinaryStatus) : string =
        match status with
        | BinaryStatus.NotFound -> "Not found"
        | BinaryStatus.Exists -> "Data exists for key."
        | BinaryStatus.TooLarge -> "Too large."
        | BinaryStatus.InvalidArguments -> "Invalid arguments"
        | BinaryStatus.NotStored -> "Not stored."
        | BinaryStatus.NonNumeric -> "Non-numeric server-side value for incr or decr"
        | BinaryStatus.AuthError -> "Auth failure."
        | BinaryStatus.UnknownCommand -> "Unknown command"
        | _ -> ""

    /// The status of each fixed reply and its text, by `ReplyCode`.
    let private statusOf (reply: ReplyCode) : BinaryStatus =
        match reply with
        | ReplyCode.NotFound -> BinaryStatus.NotFound
        | ReplyCode.Exists -> BinaryStatus.Exists
        | ReplyCode.NotStored -> BinaryStatus.NotStored
        | ReplyCode.ObjectTooLarge -> BinaryStatus.TooLarge
        | ReplyCode.NonNumericValue -> BinaryStatus.NonNumeric
        | ReplyCode.FlushAllNotAllowed
        | ReplyCode.AuthenticationFailure -> BinaryStatus.AuthError
        | ReplyCode.Error -> BinaryStatus.UnknownCommand
        | ReplyCode.None
        | ReplyCode.Stored
        | ReplyCode.Deleted
        | ReplyCode.Touched
        | ReplyCode.Ok
        | ReplyCode.End
        | ReplyCode.Reset
        | ReplyCode.Number
        | ReplyCode.Value -> BinaryStatus.Success
        | _ -> BinaryStatus.InvalidArguments

    let private texts: byte[][] =
        Array.init (int BinaryStatus.InternalError + 1) (fun status ->
            Encoding.ASCII.GetBytes(textOf (LanguagePrimitives.EnumOfValue(uint16 status))))

    let private mechanisms = "PLAIN"B
    let private authenticated = "Authenticated"B

    /// What success says: something to those who authenticate only.
    let private successText (request: ReadOnlySpan<byte>) : ReadOnlySpan<byte> =
        match BinaryFormat.opcode request with
        | BinaryOpcode.SaslMechanisms -> ReadOnlySpan<byte> mechanisms
        | BinaryOpcode.SaslAuth -> ReadOnlySpan<byte> authenticated
        | _ -> ReadOnlySpan<byte>.Empty

    /// Room for any reply without a value, in bytes: a header, and the longest text or flags and a key.
    [<Literal>]
    let lengthMax = 300

    /// Bytes of the reply with a number.
    let private numberLength = 8

    /// Whether the reply has the key: the commands with a K give it back.
    let private returnsKey (request: ReadOnlySpan<byte>) : bool =
        match BinaryFormat.loud (BinaryFormat.opcode request) with
        | BinaryOpcode.GetK
        | BinaryOpcode.GatK -> true
        | _ -> false

    let private isRetrieval (opcode: BinaryOpcode) : bool =
        match opcode with
        | BinaryOpcode.Get
        | BinaryOpcode.GetK
        | BinaryOpcode.Gat
        | BinaryOpcode.GatK -> true
        | _ -> false

    /// Whether a quiet command keeps silent about this: a retrieval about a miss, everything else about success.
    let private isSilent (request: ReadOnlySpan<byte>) (status: BinaryStatus) : bool =
        let opcode = BinaryFormat.opcode request

        BinaryFormat.isQuiet opcode
        && status =
            (if isRetrieval (BinaryFormat.loud opcode) then
                 BinaryStatus.NotFound
             else
                 BinaryStatus.Success)

    let private key (request: ReadOnlySpan<byte>) : ReadOnlySpan<byte> =
        request.Slice(BinaryFormat.headerLength + BinaryFormat.extrasLength request, BinaryFormat.keyLength request)

    /// Writes a header, and returns the target behind it.
    let private writeHeader
        (target: Span<byte>)
        (request: ReadOnlySpan<byte>)
        (status: BinaryStatus)
        (extrasLength: int)
        (keyLength: int)
        (bodyLength: int)
        (cas: uint64)
        : Span<byte> =
        let header = target.Slice(0, BinaryFormat.headerLength)
        header[0] <- BinaryFormat.replyMagic
        header[1] <- request[1]
        Coding.writeU16 header 2 (uint16 keyLength)
        header[4] <- byte extrasLength
        header[5] <- 0uy
        Coding.writeU16 header 6 (uint16 status)
        Coding.writeU32 header 8 (uint32 bodyLength)
        request.Slice(12, 4).CopyTo(header.Slice 12)
        Coding.writeU64 header 16 cas
        target.Slice BinaryFormat.headerLength

    let private writeBody
        (target: Span<byte>)
        (request: ReadOnlySpan<byte>)
        (status: BinaryStatus)
        (body: ReadOnlySpan<byte>)
        (cas: uint64)
        : int =
        body.CopyTo(writeHeader target request status 0 0 body.Length cas)
        BinaryFormat.headerLength + body.Length

    /// What `add` and `replace` find wrong is not that nothing was stored, but why.
    let private statusFor (request: ReadOnlySpan<byte>) (reply: ReplyCode) : BinaryStatus =
        match statusOf reply with
        | BinaryStatus.NotStored ->
            match BinaryFormat.loud (BinaryFormat.opcode request) with
            | BinaryOpcode.Add -> BinaryStatus.Exists
            | BinaryOpcode.Replace -> BinaryStatus.NotFound
            | _ -> BinaryStatus.NotStored
        | status -> status

    /// Writes a reply without a value, at most `lengthMax` bytes. The cas unique goes with success only.
    let writeCode (target: Span<byte>) (request: ReadOnlySpan<byte>) (reply: ReplyCode) (cas: uint64) : int =
        let status = statusFor request reply

        if reply = ReplyCode.None || isSilent request status then
            0
        elif status = BinaryStatus.Success then
            writeBody target request status (successText request) cas
        else
            writeBody target request status (ReadOnlySpan<byte> texts[int status]) 0UL

    /// Writes the answer to a key that is not there, at most `lengthMax` bytes: the commands with a K name it instead of telling.
    let writeMiss (target: Span<byte>) (request: ReadOnlySpan<byte>) : int =
        if returnsKey request && not (isSilent request BinaryStatus.NotFound) then
            let key = key request
            key.CopyTo(writeHeader target request BinaryStatus.NotFound 0 key.Length key.Length 0UL)
            BinaryFormat.headerLength + key.Length
        else
            writeCode target request ReplyCode.NotFound 0UL

    /// Writes what a hit sends before the value: header, flags, and the key where it is asked for. At most `lengthMax` bytes.
    let writeHitHead
        (target: Span<byte>)
        (request: ReadOnlySpan<byte>)
        (flags: uint32)
        (valueLength: int)
        (cas: uint64)
        : int =
        let key =
            if returnsKey request then
                key request
            else
                ReadOnlySpan<byte>.Empty

        let bodyLength = BinaryFormat.flagsLength + key.Length + valueLength

        let body =
            writeHeader target request BinaryStatus.Success BinaryFormat.flagsLength key.Length bodyLength cas

        Coding.writeU32 body 0 flags
        key.CopyTo(body.Slice BinaryFormat.flagsLength)
        BinaryFormat.headerLength + BinaryFormat.flagsLength + key.Length

    /// Writes the new number of `increment` and `decrement`, at most `lengthMax` bytes.
    let writeNumber (target: Span<byte>) (request: ReadOnlySpan<byte>) (number: uint64) (cas: uint64) : int =
        if isSilent request BinaryStatus.Success then
            0
        else
            Coding.writeU64 (writeHeader target request BinaryStatus.Success 0 0 numberLength cas) 0 number
            BinaryFormat.headerLength + numberLength

    /// Writes the answer to `version`, which is ASCII; as many bytes as a header and it.
    let writeVersion (target: Span<byte>) (request: ReadOnlySpan<byte>) (version: string) : int =
        let body = writeHeader target request BinaryStatus.Success 0 0 version.Length 0UL
        BinaryFormat.headerLength + Encoding.ASCII.GetBytes(version.AsSpan(), body)

    /// Bytes of the refusal for this reason.
    let refusalLength (reason: string) : int = BinaryFormat.headerLength + reason.Length

    /// Writes that the server cannot carry the command out; returns `refusalLength`. The reason is ASCII.
    let writeRefusal (target: Span<byte>) (request: ReadOnlySpan<byte>) (reason: string) : int =
        // A retrieval does not want for memory: what it looked for cannot be read.
        let status =
            if isRetrieval (BinaryFormat.loud (BinaryFormat.opcode request)) then
                BinaryStatus.InternalError
            else
                BinaryStatus.OutOfMemory

        let body = writeHeader target request status 0 0 reason.Length 0UL
        BinaryFormat.headerLength + Encoding.ASCII.GetBytes(reason.AsSpan(), body)

    /// Room that `writeStatistics` needs for a text of this length, in bytes: the shortest line, of 9 bytes, becomes a packet of 25.
    let statisticsLengthMax (textLength: int) : int = lengthMax + 3 * textLength

    /// Writes what the text protocol answers to `stats` as packets: one for each STAT line, with its name as key, and an empty one at the end; or that there
    /// is no such topic. Returns the length, at most `statisticsLengthMax`.
    let writeStatistics (target: Span<byte>) (request: ReadOnlySpan<byte>) (text: ReadOnlySpan<byte>) : int =
        let mutable rest = text
        let mutable written = 0
        let mutable isKnown = text.Length > 0

        while not rest.IsEmpty do
            let lineEnd = rest.IndexOf "\r\n"B
            let line = if lineEnd < 0 then rest else rest.Slice(0, lineEnd)

            rest <-
                if lineEnd < 0 then
                    ReadOnlySpan<byte>.Empty
                else
                    rest.Slice(lineEnd + 2)

            if line.StartsWith "STAT "B then
                let named = line.Slice 5
                let nameLength = max 0 (named.IndexOf 32uy)
                let value = named.Slice(min named.Length (nameLength + 1))
                let bodyLength = nameLength + value.Length

                let body = writeHeader (target.Slice written) request BinaryStatus.Success 0 nameLength bodyLength 0UL

                named.Slice(0, nameLength).CopyTo body
                value.CopyTo(body.Slice nameLength)
                written <- written + BinaryFormat.headerLength + bodyLength
            elif not (line.SequenceEqual "END"B || line.SequenceEqual "RESET"B || line.SequenceEqual "OK"B) then
                isKnown <- false

        let reply = if isKnown then ReplyCode.End else ReplyCode.NotFound
        written + writeCode (target.Slice written) request reply 0UL
