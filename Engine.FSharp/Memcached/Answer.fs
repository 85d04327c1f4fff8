namespace LsmFs.Engine

// Answering commands in the dialect in which they were asked: the one face behind which the dialects of the protocol stand. The retrievals of the classic
// text protocol, which stream any number of keys, are written with `Reply` and do not come here.

open System
open System.Text

/// Answering commands.
[<RequireQualifiedAccess>]
module Answer =

    /// Room for everything before the value of a hit, and for any miss, in bytes.
    [<Literal>]
    let headLengthMax = 1024

    let private crlf = "\r\n"B

    let private notText () = invalidOp "retrievals of the text protocol are written as they are found"

    /// The key of a command: in its input, or written to `scratch`, of `ProtocolLimits.keyScratchLength` bytes, when the client gave it in another form.
    let key (command: inref<Command>) (input: ReadOnlySpan<byte>) (scratch: Span<byte>) : ReadOnlySpan<byte> =
        match command.Dialect with
        | Dialect.Meta when MetaExecute.hasBase64Key &command ->
            let length = MetaKey.decode (input.Slice(command.KeyOffset, command.KeyLength)) scratch
            Span<byte>.op_Implicit(scratch.Slice(0, length))
        | _ -> input.Slice(command.KeyOffset, command.KeyLength)

    /// What a hit sends behind its head: nothing when the client did not ask for the value.
    let hitValue (command: inref<Command>) (entry: Entry) : ReadOnlySpan<byte> =
        match command.Dialect with
        | Dialect.Meta ->
            if MetaReply.sendsValue &command entry then
                entry.Value
            else
                ReadOnlySpan<byte>.Empty
        | Dialect.Binary -> entry.Value
        | _ ->
            notText ()
            entry.Value

    /// What a hit sends behind the value.
    let hitTail (command: inref<Command>) (entry: Entry) : ReadOnlySpan<byte> =
        match command.Dialect with
        | Dialect.Meta ->
            if MetaReply.sendsValue &command entry then
                ReadOnlySpan<byte> crlf
            else
                ReadOnlySpan<byte>.Empty
        | Dialect.Binary -> ReadOnlySpan<byte>.Empty
        | _ ->
            notText ()
            entry.Value

    /// Writes what a hit sends before the value; returns its length, at most `headLengthMax`.
    let writeHitHead
        (target: Span<byte>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (entry: Entry)
        (context: AnswerContext)
        : int =
        match command.Dialect with
        | Dialect.Meta -> MetaReply.writeHitHead target &command input entry context
        | Dialect.Binary -> BinaryReply.writeHitHead target input entry.Flags entry.ValueLength entry.Cas
        | _ ->
            notText ()
            0

    /// Writes the answer to a miss of this key (`key`); returns its length, at most `headLengthMax`, and 0 when the client wants none.
    let writeMiss
        (target: Span<byte>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (key: ReadOnlySpan<byte>)
        : int =
        match command.Dialect with
        | Dialect.Meta -> MetaReply.writeMiss target &command input key
        | Dialect.Binary -> BinaryReply.writeMiss target input
        | _ ->
            notText ()
            0

    let private appendTextChange
        (buffer: ByteBuffer)
        (command: inref<Command>)
        (change: inref<Change>)
        (current: inref<Entry voption>)
        : unit =
        match change.Reply with
        | ReplyCode.Value ->
            let hasCas = command.Verb = Verb.Gats
            let entry = current.Value
            Reply.writeEntry (buffer.Reserve(Reply.entryLength entry hasCas)) entry hasCas |> ignore
        | ReplyCode.Number ->
            let start = buffer.Length
            let length = Reply.writeNumber (buffer.Reserve Reply.numberLengthMax) change.Number
            buffer.Truncate(start + length)
        | reply -> buffer.Append(Reply.line reply)

    let private appendBinaryChange
        (buffer: ByteBuffer)
        (input: ReadOnlySpan<byte>)
        (change: Change)
        (current: Entry voption)
        (context: AnswerContext)
        : unit =
        let start = buffer.Length
        let target = buffer.Reserve BinaryReply.lengthMax

        let length =
            match change.Reply with
            | ReplyCode.Value ->
                let entry = current.Value
                BinaryReply.writeHitHead target input entry.Flags entry.ValueLength entry.Cas
            | ReplyCode.Touched -> BinaryReply.writeHitHead target input change.Flags 0 context.Cas
            | ReplyCode.Number -> BinaryReply.writeNumber target input change.Number context.Cas
            | ReplyCode.NotFound -> BinaryReply.writeMiss target input
            // Only what was put has a cas unique.
            | reply ->
                BinaryReply.writeCode target input reply (if change.Kind = ChangeKind.Put then context.Cas else 0UL)

        buffer.Truncate(start + length)

        if change.Reply = ReplyCode.Value then
            let entry = current.Value
            buffer.Append entry.Value

    /// Appends the answer to a command that was decided (`Execute.decide`); `key` is its key (`key`) and `current` the entry that the decision was about. Before the change is
    /// carried out: the current entry is only good until then. O(value), no allocation beside the buffer's.
    let appendChange
        (buffer: ByteBuffer)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (key: ReadOnlySpan<byte>)
        (change: inref<Change>)
        (current: inref<Entry voption>)
        (context: inref<AnswerContext>)
        : unit =
        match command.Dialect with
        | Dialect.Meta -> MetaReply.appendChange buffer &command input key change current context headLengthMax
        | Dialect.Binary -> appendBinaryChange buffer input change current context
        | _ -> appendTextChange buffer &command &change &current

    /// Room for the fixed replies of every dialect, in bytes.
    let codeLengthMax: int = max Reply.lineLengthMax BinaryReply.lengthMax

    /// Writes a fixed reply to what stands at the start of `input`; returns the length, at most `codeLengthMax`.
    let writeCode (target: Span<byte>) (dialect: Dialect) (input: ReadOnlySpan<byte>) (reply: ReplyCode) : int =
        match dialect with
        | Dialect.Binary -> BinaryReply.writeCode target input reply 0UL
        | _ ->
            let line = Reply.line reply
            line.CopyTo target
            line.Length

    /// Writes the answer to `version`, which is ASCII and short; returns its length.
    let writeVersion
        (target: Span<byte>)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (version: string)
        : int =
        match command.Dialect with
        | Dialect.Binary -> BinaryReply.writeVersion target input version
        | _ -> Reply.writeVersion target version

    /// Room for any refusal for this reason, in bytes.
    let refusalLengthMax (reason: string) : int =
        max (Reply.serverErrorLength reason) (BinaryReply.refusalLength reason)

    /// Writes that the server cannot carry the command out; returns the length, at most `refusalLengthMax`. The reason is ASCII.
    let writeRefusal (target: Span<byte>) (command: inref<Command>) (input: ReadOnlySpan<byte>) (reason: string) : int =
        match command.Dialect with
        | Dialect.Binary -> BinaryReply.writeRefusal target input reason
        | _ -> Reply.writeServerError target reason

    /// Appends that the server cannot carry the command out. The reason is ASCII.
    let appendRefusal
        (buffer: ByteBuffer)
        (command: inref<Command>)
        (input: ReadOnlySpan<byte>)
        (reason: string)
        : unit =
        let start = buffer.Length
        let length = writeRefusal (buffer.Reserve(refusalLengthMax reason)) &command input reason
        buffer.Truncate(start + length)
