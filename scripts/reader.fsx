// A second reader of tables: dotnet fsi scripts/reader.fsx FILE.sst
//
// Written from docs/FORMATS.md alone. It uses nothing of the engine but the codecs that lie beside it, so that the document is known to be enough: whoever can read it can get at the
// data, in any language, without us. One line for each entry: key, sequence number, kind, flags, expiry, cas, value (key and value in hexadecimal).

#I "../Host.CSharp/bin/Release/net10.0"
#r "K4os.Compression.LZ4.dll"
#r "ZstdSharp.dll"

open System
open System.Buffers.Binary
open System.IO
open K4os.Compression.LZ4
open ZstdSharp

let fail (reason: string) : 'value =
    eprintfn "%s" reason
    exit 1

let path =
    match List.ofArray fsi.CommandLineArgs with
    | [ _; path ] -> path
    | _ -> fail "usage: dotnet fsi scripts/reader.fsx FILE.sst"

let file =
    try
        File.ReadAllBytes path
    with
    | :? FileNotFoundException
    | :? DirectoryNotFoundException -> fail $"there is no file {path}"
    | :? IOException as cause -> fail $"cannot read {path}: {cause.Message}"
    | :? UnauthorizedAccessException as cause -> fail $"cannot read {path}: {cause.Message}"

let damaged (offset: int) (reason: string) : 'value =
    fail $"damaged: {Path.GetFileName path}: offset {offset}: {reason}"

// Integers are big-endian.
let u16 (bytes: byte[]) (offset: int) = int (BinaryPrimitives.ReadUInt16BigEndian(ReadOnlySpan<byte>(bytes, offset, 2)))
let u32 (bytes: byte[]) (offset: int) = BinaryPrimitives.ReadUInt32BigEndian(ReadOnlySpan<byte>(bytes, offset, 4))
let u64 (bytes: byte[]) (offset: int) = BinaryPrimitives.ReadUInt64BigEndian(ReadOnlySpan<byte>(bytes, offset, 8))

/// CRC-32C: reflected, polynomial 0x1EDC6F41 (0x82F63B78 the other way round), initial value and final xor all ones.
let crc32c (start: int) (length: int) : uint32 =
    let mutable crc = 0xFFFFFFFFu

    for index in start .. start + length - 1 do
        crc <- crc ^^^ uint32 file[index]

        for _ in 1..8 do
            crc <-
                if crc &&& 1u = 1u then
                    (crc >>> 1) ^^^ 0x82F63B78u
                else
                    crc >>> 1

    ~~~crc

// ---- Footer: the last 36 bytes

let footer = file.Length - 36

if footer < 0 || file.AsSpan(file.Length - 8).SequenceEqual(ReadOnlySpan<byte>("LsmFsTbl"B)) |> not then
    fail $"{Path.GetFileName path} is not a table of LsmFs"

if crc32c footer 24 <> u32 file (footer + 24) then
    damaged footer "the footer's checksum does not match"

if u32 file (footer + 20) <> 2u then
    fail $"{Path.GetFileName path} has format version {u32 file (footer + 20)}; this reader knows version 2"

let partitionsOffset = int (u64 file footer)
let propertiesOffset = partitionsOffset + int (u32 file (footer + 8))
let indexOffset = propertiesOffset + int (u32 file (footer + 12))

if indexOffset + int (u32 file (footer + 16)) <> footer then
    damaged footer "the parts do not fill the file"

/// The content of the stored block from `start` to `finish`: raw, or its length (u32) and then compressed, with LZ4 or Zstandard; then the
/// stored type (u8) and the CRC-32C of all that (u32).
let contentOf (start: int) (finish: int) : byte[] =
    if finish - start < 5 || crc32c start (finish - start - 4) <> u32 file (finish - 4) then
        damaged start "the checksum of a block does not match"

    let stored = file[start .. finish - 6]

    match file[finish - 5] with
    | 0uy -> stored
    | 1uy ->
        let content = Array.zeroCreate (int (u32 stored 0))
        LZ4Codec.Decode(stored, 4, stored.Length - 4, content, 0, content.Length) |> ignore
        content
    | 2uy ->
        use decompressor = new Decompressor()
        decompressor.Unwrap(ReadOnlySpan<byte>(stored, 4, stored.Length - 4)).ToArray()
    | unknown -> damaged start $"a block has the unknown stored type {unknown}"

// ---- Entries

/// Prints the entry at an offset of a block.
let printEntry (block: byte[]) (offset: int) : unit =
    let valueLength = int (u32 block offset)
    let keyLength = u16 block (offset + 4)
    let fields = int block[offset + 7]
    let sequence = u64 block (offset + 8)
    let mutable next = offset + 16

    let optional (bit: int) (length: int) (read: int -> uint64) (otherwise: uint64) =
        if fields &&& bit = 0 then
            otherwise
        else
            next <- next + length
            read (next - length)

    let flags = optional 1 4 (u32 block >> uint64) 0UL
    let expiry = optional 2 4 (u32 block >> uint64) 0UL
    let cas = optional 4 8 (u64 block) sequence
    let kind = if block[offset + 6] = 0uy then "tombstone" else "value"
    let key = Convert.ToHexString(block, next, keyLength)
    let value = Convert.ToHexString(block, next + keyLength, valueLength)
    printfn $"{key} {sequence} {kind} {flags} {expiry} {cas} {value}"

/// A data block: entries, then an offset (u16) and a fingerprint (u8) for each, then their count (u16).
let printBlock (start: int) (finish: int) : unit =
    let block = contentOf start finish
    let count = u16 block (block.Length - 2)
    let offsets = block.Length - 2 - 3 * count

    for index in 0 .. count - 1 do
        printEntry block (u16 block (offsets + 2 * index))

/// A partition: separators; for each data block the end of its separator (u32) and of itself (u32); filter; start of the first block (u64), length
/// of the filter (u32), count of blocks (u32).
let printPartition (start: int) (finish: int) : unit =
    let partition = contentOf start finish
    let tail = partition.Length - 16
    let count = int (u32 partition (tail + 12))
    let records = tail - int (u32 partition (tail + 8)) - 8 * count
    let first = int (u64 partition tail)
    let ends = [ for block in 0 .. count - 1 -> first + int (u32 partition (records + 8 * block + 4)) ]
    List.pairwise (first :: ends) |> List.iter (fun (start, finish) -> printBlock start finish)

// ---- Index: separators; for each partition the end of its separator (u32) and of itself (u64), from the first partition on; count (u32)

contentOf propertiesOffset indexOffset |> ignore
let index = contentOf indexOffset footer
let count = int (u32 index (index.Length - 4))

let ends = [
    for partition in 0 .. count - 1 ->
        partitionsOffset + int (u64 index (index.Length - 4 - 12 * (count - partition) + 4))
]

let out = new StreamWriter(Console.OpenStandardOutput())
Console.SetOut out

List.pairwise (partitionsOffset :: ends)
|> List.iter (fun (start, finish) -> printPartition start finish)

out.Flush()
