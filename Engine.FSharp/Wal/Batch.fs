namespace LsmFs.Engine

// A batch is the payload of one frame of a write-ahead log: the entries of one group of writes, back to back in the encoding of Entry.fs,
// with ascending sequence numbers. It is applied whole or not at all.
//
//   +---------+---------+ - - - +---------+
//   | entry 1 | entry 2 |       | entry n |
//   +---------+---------+ - - - +---------+

open System

/// Reading the batches of a write-ahead log.
[<RequireQualifiedAccess>]
module Batch =

    /// Checks that a payload is whole entries with sequence numbers that ascend from `previous`,
    /// and returns the last of them. Damage is reported at its place in the file. O(entries).
    let validate
        (file: string)
        (bytes: byte[])
        (frame: Frame)
        (previous: SequenceNumber)
        : Result<SequenceNumber, Corruption> =
        let last = frame.PayloadOffset + frame.PayloadLength

        let rec check (offset: int) (sequence: SequenceNumber) : Result<SequenceNumber, Corruption> =
            if offset = last then
                Ok sequence
            else
                match EntryFormat.measure (ReadOnlySpan<byte>(bytes, 0, last)) offset with
                | -1 -> Corruption.at file offset "a batch holds bytes that are not an entry"
                | length ->
                    let entry = { Buffer = bytes; Offset = offset }
                    // Compared as numbers: the wrapper's own comparison boxes.
                    let (SequenceNumber next) = entry.Sequence

                    if next <= sequence.Value then
                        Corruption.at file offset $"sequence number {next} follows {sequence}"
                    elif (entry.Kind = EntryKind.FlushAll) <> (entry.KeyLength = 0) then
                        Corruption.at file offset "an entry has no key, or a flush has one"
                    else
                        check (offset + length) entry.Sequence

        check frame.PayloadOffset previous

    /// How many entries a validated batch holds. O(entries).
    let entryCount (bytes: byte[]) (frame: Frame) : int64 =
        let rec count (offset: int) (entries: int64) : int64 =
            if offset = frame.PayloadOffset + frame.PayloadLength then
                entries
            else
                let entry = { Buffer = bytes; Offset = offset }
                count (offset + entry.Length) (entries + 1L)

        count frame.PayloadOffset 0L
