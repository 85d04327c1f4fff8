namespace LsmFs.Engine

// A version edit is the payload of one frame of a manifest: fields, each a tag and its content, in any order.
//
//   tag  content                                   meaning
//   1    u64 file number                           write-ahead logs with smaller numbers are not needed any more
//   2    u64 file number                           files created from now on have this number or a larger one
//   3    u64 sequence number                       the largest one in the tables
//   4    u64 sequence number, u32 Unix time        everything up to this number is flushed; everything is, from this time on (0: no such time)
//   5    u8 level, u64 file number                 a table leaves a level
//   6    u8 level, u64 file number, u64 size,      a table joins a level
//        properties (TableFormat.fs)
//
// An unknown tag is corruption: a reader that skipped one would misread the store.

open System

/// What `flush_all` has declared dead.
[<Struct>]
type FlushState = {
    /// Every entry up to this sequence number is flushed.
    Through: SequenceNumber
    /// From this Unix time on, every entry written before it is flushed; 0 when no flush is waiting for its time.
    PendingAtSeconds: uint32
} with

    /// Whether a waiting flush has come due. Writes turn it into a watermark before they add anything (see `Commit` in the host),
    /// so until then it covers all that a snapshot holds.
    member flush.IsDue(nowSeconds: uint32) : bool = flush.PendingAtSeconds <> 0u && flush.PendingAtSeconds <= nowSeconds

    /// Whether an entry with this sequence number is flushed.
    member flush.Covers(sequence: SequenceNumber, nowSeconds: uint32) : bool =
        // Of the numbers inside: comparing the wrappers would box both, for every lookup.
        sequence.Value <= flush.Through.Value || flush.IsDue nowSeconds

/// Flush states and how a flush entry changes them.
[<RequireQualifiedAccess>]
module FlushState =

    /// Nothing is flushed.
    let none = { Through = SequenceNumber.zero; PendingAtSeconds = 0u }

    /// The state after a flush with this sequence number: at once when `atSeconds` is 0, else when that time comes.
    let apply (sequence: SequenceNumber) (atSeconds: uint32) (flush: FlushState) : FlushState =
        if atSeconds = 0u then
            { Through = sequence; PendingAtSeconds = 0u }
        else
            { flush with PendingAtSeconds = atSeconds }

/// A change of what the store consists of: the event that the manifest records, and that `Version.apply` folds.
type VersionEdit = {
    OldestLog: FileNumber voption
    NextFile: FileNumber voption
    LastSequence: SequenceNumber voption
    Flush: FlushState voption
    /// Tables that leave, by level.
    Removed: (int * FileNumber) list
    /// Tables that join, by level.
    Added: (int * TableMeta) list
}

/// Encoding and decoding version edits.
[<RequireQualifiedAccess>]
module VersionEdit =

    /// Changes nothing.
    let empty = {
        OldestLog = ValueNone
        NextFile = ValueNone
        LastSequence = ValueNone
        Flush = ValueNone
        Removed = []
        Added = []
    }

    /// Appends the encoded edit.
    let encode (buffer: ByteBuffer) (edit: VersionEdit) : unit =
        let number (tag: byte) (value: uint64) =
            buffer.AppendU8 tag
            buffer.AppendU64 value

        edit.OldestLog |> ValueOption.iter (fun file -> number 1uy file.Value)
        edit.NextFile |> ValueOption.iter (fun file -> number 2uy file.Value)
        edit.LastSequence |> ValueOption.iter (fun sequence -> number 3uy sequence.Value)

        edit.Flush
        |> ValueOption.iter (fun flush ->
            number 4uy flush.Through.Value
            buffer.AppendU32 flush.PendingAtSeconds)

        for level, file in edit.Removed do
            buffer.AppendU8 5uy
            buffer.AppendU8(byte level)
            buffer.AppendU64 file.Value

        for level, table in edit.Added do
            buffer.AppendU8 6uy
            buffer.AppendU8(byte level)
            buffer.AppendU64 table.Number.Value
            buffer.AppendU64(uint64 table.SizeBytes)
            TableFormat.appendProperties buffer table.Properties

    /// Reads front to back; past the end, or at properties that cannot be, it throws `BadField`, which `decode` turns into corruption.
    exception private BadField of reason: string

    [<Sealed>]
    type private Reader(bytes: byte[], start: int, finish: int) =
        let mutable offset = start
        member _.Offset = offset
        member _.IsAtEnd = (offset = finish)

        member _.Take(count: int) : ReadOnlySpan<byte> =
            if count > finish - offset then
                raise (BadField "a version edit ends in the middle of a field")

            let position = offset
            offset <- offset + count
            ReadOnlySpan<byte>(bytes, position, count)

        member reader.U8() : byte = (reader.Take 1)[0]
        member reader.U32() : uint32 = Coding.readU32 (reader.Take 4) 0
        member reader.U64() : uint64 = Coding.readU64 (reader.Take 8) 0

        member _.Properties() : TableProperties =
            match TableFormat.decodeProperties (ReadOnlySpan<byte>(bytes, offset, finish - offset)) with
            | Ok(struct (properties, length)) ->
                offset <- offset + length
                properties
            | Error reason -> raise (BadField reason)

    let private readTable (reader: Reader) : TableMeta =
        let number = FileNumber(reader.U64())
        let sizeBytes = int64 (reader.U64())

        { Number = number; SizeBytes = sizeBytes; Properties = reader.Properties() }

    let private readField (reader: Reader) (edit: VersionEdit) : VersionEdit option =
        match reader.U8() with
        | 1uy -> Some { edit with OldestLog = ValueSome(FileNumber(reader.U64())) }
        | 2uy -> Some { edit with NextFile = ValueSome(FileNumber(reader.U64())) }
        | 3uy -> Some { edit with LastSequence = ValueSome(SequenceNumber(reader.U64())) }
        | 4uy ->
            let through = SequenceNumber(reader.U64())

            Some {
                edit with
                    Flush = ValueSome { Through = through; PendingAtSeconds = reader.U32() }
            }
        | 5uy ->
            let level = int (reader.U8())
            Some { edit with Removed = (level, FileNumber(reader.U64())) :: edit.Removed }
        | 6uy ->
            let level = int (reader.U8())
            Some { edit with Added = (level, readTable reader) :: edit.Added }
        | _ -> None

    /// Decodes the edit in a frame of a manifest. O(length).
    let decode (file: string) (bytes: byte[]) (frame: Frame) : Result<VersionEdit, Corruption> =
        let reader = Reader(bytes, frame.PayloadOffset, frame.PayloadOffset + frame.PayloadLength)

        let rec fields (edit: VersionEdit) =
            if reader.IsAtEnd then
                Ok { edit with Removed = List.rev edit.Removed; Added = List.rev edit.Added }
            else
                let fieldOffset = reader.Offset

                match readField reader edit with
                | Some edit -> fields edit
                | None -> Corruption.at file fieldOffset $"a version edit has the unknown field {bytes[fieldOffset]}"

        try
            fields empty
        with BadField reason ->
            Corruption.at file reader.Offset reason
