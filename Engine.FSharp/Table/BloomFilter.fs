namespace LsmFs.Engine

// The filter of a table, without the trailer that every stored block has (Block.fs):
//
//   +--------+--------+-----+--------+--------+
//   | line 0 | line 1 | ... | line n | probes |
//   | 64     | 64     |     | 64     | u8     |
//   +--------+--------+-----+--------+--------+
//
// A key's 64-bit hash (KeyHash) chooses one line by its upper half, as (upper * lines) >> 32, and one bit of it for each probe by its lower half:
// bit number x >> 23 for x = lower, then x is multiplied by 0x9E3779B9 (mod 2^32) for the next probe. Bit b is bit (b & 7) of byte b / 8.
// No lines at all: no filter was wanted, every key may be there.
//
// Blocked bloom filters: F. Putze, P. Sanders, J. Singler, Cache-, Hash- and Space-Efficient Bloom Filters, 2007;
// the probing by multiplication is that of RocksDB's FastLocalBloom.

open System

/// A bloom filter whose every lookup touches one 64-byte line.
[<RequireQualifiedAccess>]
module BloomFilter =

    /// Bytes of a line.
    [<Literal>]
    let lineLengthBytes = 64

    [<Literal>]
    let private multiplier = 0x9E3779B9u

    /// Probes with the fewest false positives in a line at this many bits for each key: a little fewer than the ln 2 * bits of an unblocked filter.
    let probeCountOf (bitsPerKey: int) : int =
        if bitsPerKey <= 0 then
            0
        else
            bitsPerKey * 6 / 10 |> max 1 |> min 12

    /// The part of the keys that are not in a filter with this many bits for each key which it lets through; 1 without bits. The keys of a line are
    /// Poisson distributed, and a line with more of them lets more through (Putze, Sanders, Singler, section 3). O(512 / bits).
    let falsePositiveRate (bitsPerKey: int) : float =
        if bitsPerKey <= 0 then
            1.0
        else
            let lineBits = float (lineLengthBytes * 8)
            let meanKeys = lineBits / float bitsPerKey
            let probes = float (probeCountOf bitsPerKey)
            let keysMax = int (meanKeys + 10.0 * sqrt meanKeys) + 10
            let mutable weightLog = -meanKeys
            let mutable rate = 0.0

            for keys in 1..keysMax do
                weightLog <- weightLog + log (meanKeys / float keys)
                let bitsSet = 1.0 - (1.0 - 1.0 / lineBits) ** (probes * float keys)
                rate <- rate + exp weightLog * bitsSet ** probes

            rate

    let private lineCountOf (bitsPerKey: int) (keyCount: int) : int =
        if bitsPerKey <= 0 then
            0
        else
            max 1L ((int64 keyCount * int64 bitsPerKey + 511L) / 512L) |> int

    /// Appends the filter of the keys with these hashes, without trailer. O(keys).
    let append (buffer: ByteBuffer) (bitsPerKey: int) (hashes: ReadOnlySpan<uint64>) : unit =
        let lineCount = lineCountOf bitsPerKey hashes.Length
        let probeCount = probeCountOf bitsPerKey
        let lines = buffer.Reserve(lineCount * lineLengthBytes)
        lines.Clear()

        if lineCount > 0 then
            for hash in hashes do
                let line = int (((hash >>> 32) * uint64 lineCount) >>> 32) * lineLengthBytes
                let mutable probe = uint32 hash

                for _ in 1..probeCount do
                    let bit = int (probe >>> 23)
                    let at = line + (bit >>> 3)
                    lines[at] <- lines[at] ||| (1uy <<< (bit &&& 7))
                    probe <- probe * multiplier

        buffer.AppendU8(byte probeCount)

    /// Whether `length` bytes can be a filter.
    let isWellFormed (length: int) : bool = length > 0 && (length - 1) % lineLengthBytes = 0

    /// Whether a key with this hash may be among the filter's keys, for a filter lying in `buffer` from `offset` on, `length` bytes long.
    /// Never false for a key that is.
    let mayContain (buffer: byte[]) (offset: int) (length: int) (hash: uint64) : bool =
        let lineCount = (length - 1) / lineLengthBytes

        if lineCount = 0 then
            true
        else
            let line = int (((hash >>> 32) * uint64 lineCount) >>> 32) * lineLengthBytes
            let bits = ReadOnlySpan<byte>(buffer, offset + line, lineLengthBytes)
            let mutable remaining = int buffer[offset + length - 1]
            let mutable probe = uint32 hash
            let mutable isPossible = true

            while isPossible && remaining > 0 do
                let bit = int (probe >>> 23)
                isPossible <- bits[bit >>> 3] &&& (1uy <<< (bit &&& 7)) <> 0uy
                probe <- probe * multiplier
                remaining <- remaining - 1

            isPossible
