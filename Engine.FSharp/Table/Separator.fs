namespace LsmFs.Engine

open System

/// Keys that part blocks.
[<RequireQualifiedAccess>]
module Separator =

    /// Appends the shortest key that is not smaller than `last` and smaller than `next`, for `last` smaller than `next`.
    let append (buffer: ByteBuffer) (last: ReadOnlySpan<byte>) (next: ReadOnlySpan<byte>) : unit =
        let shared = MemoryExtensions.CommonPrefixLength(last, next)

        if last.Length <= shared + 1 then
            // A prefix of `next`, or no longer than any separator must be.
            buffer.Append last
        elif next.Length > shared + 1 then
            buffer.Append(next.Slice(0, shared + 1))
        else
            // `next` ends where it differs, so the separator must be smaller there: raise the first byte of `last` that can be raised.
            let mutable at =
                if last[shared] + 1uy < next[shared] then
                    shared
                else
                    shared + 1

            while at < last.Length && last[at] = 255uy do
                at <- at + 1

            if at >= last.Length then
                buffer.Append last
            else
                let start = buffer.Length
                buffer.Append(last.Slice(0, at + 1))
                buffer.Patch(start + at, 1)[0] <- last[at] + 1uy
