namespace LsmFs.Engine

open System
open System.IO.Hashing

/// The 64-bit hash of a key that bloom filters are built from: XxHash3 with seed 0. Stored filters depend on it, so it is part of the table format.
[<RequireQualifiedAccess>]
module KeyHash =

    /// Hashes a key. O(length).
    let inline compute (key: ReadOnlySpan<byte>) : uint64 = XxHash3.HashToUInt64 key
