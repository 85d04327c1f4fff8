namespace LsmFs.Engine

// Mutable, one owner. Invariants:
//   1. A buffer is lent or held, never both: what was lent is lent again only after `TakeBack`.
//   2. The buffers that are held have `heldBytesMax` bytes at most.

open System.Collections.Generic

/// What a job uses a buffer for. Each use has its own, which soon have the size that it needs.
type internal JobBuffer =
    /// Finished bytes of a table.
    | Output = 0
    /// Finished partitions of a table.
    | Partitions = 1
    /// What a source read.
    | Stored = 2
    /// What a source decompressed.
    | Decompressed = 3
    /// The partition that a source is in.
    | Partition = 4
    /// Hashes of the keys of a partition that is being built.
    | Hashes = 5
    /// The content of a partition that is being built.
    | Content = 6

/// The large buffers of flushes and compactions, lent to one job after the other: made for each anew they would be most of what a store allocates. A job takes
/// what it needs when it is created; `TakeBack` ends its use of them. Holds at most `heldBytesMax` bytes meanwhile.
[<Sealed>]
type JobMemory(heldBytesMax: int64) =
    let held = Array.init 7 (fun _ -> Stack<ByteBuffer>())
    let lent = Stack<struct (JobBuffer * ByteBuffer)>()
    let mutable heldBytes = 0L

    /// Memory for one job, none of which is kept.
    new() = JobMemory 0L

    /// Bytes of the buffers that wait for their next use.
    member _.HeldBytes: int64 = heldBytes

    /// An empty buffer of the same use before, or a new one.
    member internal _.Take(useFor: JobBuffer, capacityBytes: int) : ByteBuffer =
        let waiting = held[int useFor]

        let buffer =
            if waiting.Count > 0 then
                let buffer = waiting.Pop()
                heldBytes <- heldBytes - int64 buffer.Bytes.Length
                buffer
            else
                ByteBuffer capacityBytes

        lent.Push(struct (useFor, buffer))
        buffer

    /// Takes back what was lent: the job that has it is not used any more.
    member _.TakeBack() : unit =
        while lent.Count > 0 do
            let struct (useFor, buffer) = lent.Pop()
            let lengthBytes = int64 buffer.Bytes.Length

            if heldBytes + lengthBytes <= heldBytesMax then
                buffer.Clear()
                held[int useFor].Push buffer
                heldBytes <- heldBytes + lengthBytes
