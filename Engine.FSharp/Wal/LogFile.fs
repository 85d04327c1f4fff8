namespace LsmFs.Engine

// Write-ahead logs, manifests and decision logs are log files: a header, then frames, each appended by one write.
//
//   header   0       8         12            20       28
//            +-------+---------+-------------+--------+---------------+
//            | magic | version | file number | salt   | CRC-32C       |
//            | 8     | u32     | u64         | u64    | of bytes 0-27 |
//            +-------+---------+-------------+--------+---------------+
//
//   frame    0       4                8            12             16
//            +-------+----------------+------------+--------------+---------+
//            | magic | payload length | CRC-32C of | CRC-32C of   | payload |
//            | "FRAM"| u32            | payload    | bytes 0-11   |         |
//            +-------+----------------+------------+--------------+---------+
//
// Magics: "LSMFSWAL" for a write-ahead log, "LSMFSMAN" for a manifest, "LSMFSDEC" for a decision log. Integers are big-endian.
// Both checksums of a frame continue from the header's checksum. It depends on the file number and on a salt that no client knows,
// so neither a stale frame of another file nor a value made to look like a frame passes for one of this file.
// Behind the last frame there may be zeros: space that was taken before it was needed.
// Version rule: a reader refuses versions it does not know. The header is synced before the first frame is appended; a decision log is never synced.

open System

/// Which of the log files.
type LogKind =
    | WriteAheadLog
    | Manifest
    | DecisionLog

/// A frame of a log file: where its payload lies.
[<Struct>]
type Frame = {
    /// Start of the payload, in bytes from the start of the file.
    PayloadOffset: int
    PayloadLength: int
}

/// What was found in a log file.
type LogReplay = {
    /// The whole frames, in the order they were appended.
    Frames: Frame[]
    /// Bytes up to the end of the last whole frame; 0 when not even the header was finished.
    ValidLengthBytes: int
    /// Bytes after it that a crash left behind: the beginning of a frame whose write was never confirmed, or space for further frames.
    TornBytes: int
    /// Whether these are zeros, so that nobody can have begun to write a frame.
    IsTailUnused: bool
    /// The header's checksum, from which the checksums of further frames continue.
    Seed: uint32
}

/// Encoding and replaying log files.
[<RequireQualifiedAccess>]
module LogFile =

    /// The newest version of the format, and the only one so far.
    [<Literal>]
    let version = 1u

    /// Bytes of the header.
    [<Literal>]
    let headerLength = 32

    /// Bytes of a frame before its payload.
    [<Literal>]
    let frameHeaderLength = 16

    [<Literal>]
    let private frameMagic = 0x4652414Du // "FRAM"

    let private magicOf (kind: LogKind) : byte[] =
        match kind with
        | WriteAheadLog -> "LSMFSWAL"B
        | Manifest -> "LSMFSMAN"B
        | DecisionLog -> "LSMFSDEC"B

    let private nameOf (kind: LogKind) : string =
        match kind with
        | WriteAheadLog -> "write-ahead log"
        | Manifest -> "manifest"
        | DecisionLog -> "decision log"

    /// Appends the header of a new file and returns the seed of its frames. The salt is any number a client cannot guess.
    let appendHeader (buffer: ByteBuffer) (kind: LogKind) (number: FileNumber) (salt: uint64) : uint32 =
        let start = buffer.Length
        buffer.Append(ReadOnlySpan<byte>(magicOf kind))
        buffer.AppendU32 version
        buffer.AppendU64 number.Value
        buffer.AppendU64 salt
        let seed = Checksum.compute (buffer.Patch(start, 28))
        buffer.AppendU32 seed
        seed

    /// Appends the header of a frame that is to be finished by `finishFrame`, and returns where the frame starts in the buffer.
    let startFrame (buffer: ByteBuffer) : int =
        let start = buffer.Length
        buffer.Skip frameHeaderLength
        start

    /// Completes the frame started at `start`; its payload is all that was appended since.
    let finishFrame (buffer: ByteBuffer) (seed: uint32) (start: int) : unit =
        let payloadLength = buffer.Length - start - frameHeaderLength
        let payloadChecksum = Checksum.extend seed (buffer.Patch(start + frameHeaderLength, payloadLength))
        let header = buffer.Patch(start, frameHeaderLength)
        Coding.writeU32 header 0 frameMagic
        Coding.writeU32 header 4 (uint32 payloadLength)
        Coding.writeU32 header 8 payloadChecksum
        Coding.writeU32 header 12 (Checksum.extend seed (header.Slice(0, 12)))

    let private isFrameHeader (bytes: byte[]) (seed: uint32) (offset: int) : bool =
        if offset + frameHeaderLength > bytes.Length then
            false
        else
            let header = ReadOnlySpan<byte>(bytes, offset, frameHeaderLength)

            Coding.readU32 header 0 = frameMagic
            && Coding.readU32 header 12 = Checksum.extend seed (header.Slice(0, 12))

    /// The payload length of the whole frame at `offset`, or -1.
    let private wholeFrameAt (bytes: byte[]) (seed: uint32) (offset: int) : int =
        if not (isFrameHeader bytes seed offset) then
            -1
        else
            let header = ReadOnlySpan<byte>(bytes, offset, frameHeaderLength)
            let payloadLength = int64 (Coding.readU32 header 4)

            if payloadLength > int64 (bytes.Length - offset - frameHeaderLength) then
                -1
            else
                let payload = ReadOnlySpan<byte>(bytes, offset + frameHeaderLength, int payloadLength)

                if Checksum.extend seed payload = Coding.readU32 header 8 then
                    int payloadLength
                else
                    -1

    /// Whether a whole frame begins anywhere after `offset`: then what stands at `offset` was damaged, not torn by a crash.
    let private wholeFrameAfter (bytes: byte[]) (seed: uint32) (offset: int) : int voption =
        let mutable found = ValueNone
        let mutable position = offset + 1

        while found.IsNone && position < bytes.Length do
            let step = ReadOnlySpan<byte>(bytes, position, bytes.Length - position).IndexOf("FRAM"B)

            if step < 0 then
                position <- bytes.Length
            elif wholeFrameAt bytes seed (position + step) >= 0 then
                found <- ValueSome(position + step)
            else
                position <- position + step + 1

        found

    let private reasonAt (bytes: byte[]) (seed: uint32) (offset: int) : string =
        if isFrameHeader bytes seed offset then
            "the checksum of a record does not match"
        else
            "a record header is damaged"

    let private isUnused (bytes: byte[]) (offset: int) : bool =
        not (ReadOnlySpan<byte>(bytes, offset, bytes.Length - offset).ContainsAnyExcept 0uy)

    /// What is to be said of the bytes behind the last whole frame.
    let describeTail (bytes: byte[]) (offset: int) : string =
        let length = bytes.Length - offset

        if isUnused bytes offset then
            $"it ends in {length} bytes of space for further records"
        else
            $"it ends in {length} bytes that are no whole record"

    let private replayFrames (file: string) (bytes: byte[]) (seed: uint32) : Result<LogReplay, Corruption> =
        let frames = ResizeArray<Frame>()
        let mutable offset = headerLength
        let mutable payloadLength = wholeFrameAt bytes seed offset

        while payloadLength >= 0 do
            frames.Add { PayloadOffset = offset + frameHeaderLength; PayloadLength = payloadLength }

            offset <- offset + frameHeaderLength + payloadLength
            payloadLength <- wholeFrameAt bytes seed offset

        match wholeFrameAfter bytes seed offset with
        | ValueSome next ->
            Corruption.at file offset $"{reasonAt bytes seed offset}, and a whole record follows at offset {next}"
        | ValueNone ->
            Ok {
                Frames = frames.ToArray()
                ValidLengthBytes = offset
                TornBytes = bytes.Length - offset
                IsTailUnused = isUnused bytes offset
                Seed = seed
            }

    /// Finds the whole frames of a log file. A crash may leave a torn tail, which is counted; a damaged frame with a whole one
    /// after it, a damaged header, a foreign magic or an unknown version is corruption. O(length).
    let replay (kind: LogKind) (number: FileNumber) (file: string) (bytes: byte[]) : Result<LogReplay, Corruption> =
        let header = ReadOnlySpan<byte>(bytes, 0, min headerLength bytes.Length)

        if bytes.Length < headerLength || not (header.ContainsAnyExcept 0uy) then
            // The header is synced before the first frame is written, so this file was never used.
            if ReadOnlySpan<byte>(bytes).ContainsAnyExcept 0uy && bytes.Length >= headerLength then
                Corruption.at file 0L $"the header of the {nameOf kind} is missing"
            else
                Ok {
                    Frames = [||]
                    ValidLengthBytes = 0
                    TornBytes = bytes.Length
                    IsTailUnused = isUnused bytes 0
                    Seed = 0u
                }
        elif not (header.StartsWith(ReadOnlySpan<byte>(magicOf kind))) then
            Corruption.at file 0L $"this is not a {nameOf kind} of LsmFs (wrong magic)"
        elif Coding.readU32 header 28 <> Checksum.compute (header.Slice(0, 28)) then
            Corruption.at file 0L $"the checksum of the {nameOf kind}'s header does not match"
        elif Coding.readU32 header 8 <> version then
            Corruption.at
                file
                8L
                $"{nameOf kind} format version {Coding.readU32 header 8} is not known (the newest known is {version})"
        elif Coding.readU64 header 12 <> number.Value then
            Corruption.at file 12L $"the header says file number {Coding.readU64 header 12}, the name says {number}"
        else
            replayFrames file bytes (Coding.readU32 header 28)

    /// Whether the file was begun and given up before its header was whole, so that no record in it can have been confirmed.
    let isGivenUp (replay: LogReplay) : bool =
        replay.ValidLengthBytes = 0 && replay.TornBytes > 0 && replay.TornBytes <= headerLength

    /// Where the last whole frame begins; without one, where the first would.
    let lastFrameOffset (replay: LogReplay) : int =
        match Array.tryLast replay.Frames with
        | Some frame -> frame.PayloadOffset - frameHeaderLength
        | None -> replay.ValidLengthBytes

    /// The version of a log file whose header is whole, when it is not one that this program knows.
    let unknownVersion (bytes: byte[]) : uint32 voption =
        if bytes.Length < headerLength then
            ValueNone
        else
            let header = ReadOnlySpan<byte>(bytes, 0, headerLength)
            let found = Coding.readU32 header 8

            if Coding.readU32 header 28 = Checksum.compute (header.Slice(0, 28)) && found <> version then
                ValueSome found
            else
                ValueNone

    /// The seeds that a log file may have. A damaged header still tells it: its checksum, or the bytes that this is of, are whole.
    let private seedsOf (bytes: byte[]) : uint32 list =
        let header = ReadOnlySpan<byte>(bytes, 0, headerLength)
        List.distinct [ Coding.readU32 header 28; Checksum.compute (header.Slice(0, 28)) ]

    /// All whole frames of a log file, whatever lies between them, and where that lies: offsets and lengths. A header that cannot be believed is
    /// the first of these. For salvage only: after damage nobody knows what is missing. O(length), as long as the frames are whole.
    let salvage (kind: LogKind) (number: FileNumber) (bytes: byte[]) : struct (Frame[] * struct (int * int)[]) =
        let frames = ResizeArray<Frame>()
        let gaps = ResizeArray<struct (int * int)>()

        let collect (seed: uint32) =
            let mutable offset = headerLength

            while offset < bytes.Length do
                match wholeFrameAt bytes seed offset with
                | -1 ->
                    let next = wholeFrameAfter bytes seed offset |> ValueOption.defaultValue bytes.Length
                    gaps.Add(struct (offset, next - offset))
                    offset <- next
                | payloadLength ->
                    frames.Add { PayloadOffset = offset + frameHeaderLength; PayloadLength = payloadLength }
                    offset <- offset + frameHeaderLength + payloadLength

        let isKnown () =
            let header = ReadOnlySpan<byte>(bytes, 0, headerLength)

            header.StartsWith(ReadOnlySpan<byte>(magicOf kind))
            && Coding.readU32 header 28 = Checksum.compute (header.Slice(0, 28))
            && Coding.readU64 header 12 = number.Value

        if bytes.Length < headerLength || not (ReadOnlySpan<byte>(bytes).ContainsAnyExcept 0uy) then
            // Never used.
            ()
        else
            if not (isKnown ()) then
                gaps.Add(struct (0, headerLength))

            let hasFrames (seed: uint32) =
                let next = wholeFrameAfter bytes seed (headerLength - 1)
                next.IsSome

            match seedsOf bytes |> List.tryFind hasFrames with
            | Some seed -> collect seed
            | None when bytes.Length > headerLength -> gaps.Add(struct (headerLength, bytes.Length - headerLength))
            | None -> ()

        struct (frames.ToArray(), gaps.ToArray())
