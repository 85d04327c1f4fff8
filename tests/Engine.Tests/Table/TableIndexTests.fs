module LsmFs.Engine.Tests.TableIndexTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

let private compare (left: byte[]) (right: byte[]) : int =
    ReadOnlySpan<byte>(left).SequenceCompareTo(ReadOnlySpan<byte> right)

/// The smallest key of at most `length` bytes that is not smaller than `key`.
let private smallestAtLeast (length: int) (key: byte[]) : byte[] option =
    if key.Length <= length then
        Some key
    else
        match Array.tryFindIndexBack ((<>) 255uy) key[.. length - 1] with
        | None -> None
        | Some last -> Some(Array.append key[.. last - 1] [| key[last] + 1uy |])

let private separate (last: byte[]) (next: byte[]) : byte[] =
    let buffer = ByteBuffer 16
    buffer.AppendU8 7uy
    Separator.append buffer (span last) (span next)
    buffer.ToArray()[1..]

let private separatesShortest (last: byte[]) (next: byte[]) =
    let separator = separate last next
    Expect.isGreaterThanOrEqual (compare separator last) 0 "not smaller than the last key"
    Expect.isLessThan (compare separator next) 0 "smaller than the next"

    for length in 0 .. separator.Length - 1 do
        match smallestAtLeast length last with
        | Some shorter -> Expect.isGreaterThanOrEqual (compare shorter next) 0 $"none of %d{length} bytes would do"
        | None -> ()

/// Changes the table's file by `change`, which gets the content of the index, and makes the index' checksum right again.
let private forgeIndex (file: byte[]) (change: byte[] -> byte[]) : byte[] =
    let footer =
        match TableFormat.decodeFooter fileName file.LongLength (ReadOnlySpan<byte>(file, file.Length - 36, 36)) with
        | Ok footer -> footer
        | Error corruption -> failtest $"%O{corruption}"

    let start = int footer.IndexOffsetBytes
    let index = store (change (Array.sub file start (footer.IndexLengthBytes - 5)))
    let forged = ByteBuffer 64
    forged.Append(ReadOnlySpan<byte>(file, 0, start))
    forged.Append(span index)
    TableFormat.appendFooter forged { footer with IndexLengthBytes = index.Length }
    forged.ToArray()

/// An index as FORMATS.md describes it, written without the builder; `between` comes where nothing should be.
let private indexOf (between: byte[]) (partitions: (string * int64) list) : byte[] =
    let buffer = ByteBuffer 64

    let ends = partitions |> List.scan (fun stop (separator, _) -> stop + separator.Length) 0 |> List.tail

    for separator, _ in partitions do
        buffer.Append(span (keyBytes separator))

    buffer.Append(span between)

    for separatorEnd, (_, partitionEnd) in List.zip ends partitions do
        buffer.AppendU32(uint32 separatorEnd)
        buffer.AppendU64(uint64 partitionEnd)

    buffer.AppendU32(uint32 partitions.Length)
    buffer.ToArray()

[<Tests>]
let tests =
    testList "TableIndex" [
        propertyOf 2000 "a separator is the shortest there is" (fun (Key left) (Key right) ->
            if compare left right < 0 then
                separatesShortest left right
            elif compare left right > 0 then
                separatesShortest right left)

        test "separators at the ends of the byte range" {
            for last, next in
                [
                    [||], [| 0uy |]
                    [| 1uy; 255uy; 255uy |], [| 2uy |]
                    [| 1uy; 255uy; 3uy; 9uy |], [| 2uy |]
                    [| 1uy; 5uy; 3uy |], [| 3uy |]
                    [| 255uy |], [| 255uy; 0uy |]
                    [| 1uy; 2uy |], [| 1uy; 2uy; 0uy; 0uy |]
                ] do
                separatesShortest last next
        }

        property
            "an index that was changed under a right checksum is refused or used, never thrown at"
            (fun (first: Write) (rest: Write list) (at: int) (value: byte) (cut: byte) (keys: Key list) ->
                let model = modelFrom 1UL (first :: rest)
                let file = build tinyOptions model

                let forged =
                    forgeIndex file (fun content ->
                        content[int (uint32 at % uint32 content.Length)] <- value
                        Array.truncate (content.Length - int cut % 3) content)

                match openBytes forged with
                | Error corruption -> Expect.equal corruption.File fileName "the file is named"
                | Ok table ->
                    for Key key in keys do
                        let partition = table.FirstPartitionAtOrAfter(span key)
                        Expect.isTrue (partition >= 0 && partition <= table.PartitionCount) "a partition"
                    // Whether the partitions lie where this index says is seen when they are read.
                    match readAll forged table with
                    | Ok entries -> Expect.equal entries (List.ofSeq model.Values) "the entries"
                    | Error corruption -> Expect.equal corruption.File fileName "the file is named")

        test "an index that does not fit its table is refused" {
            let write (letter: char) : Write = {
                WriteKey = keyBytes (string letter)
                WriteValue = ValueSome "value"B
                WriteFlags = 0u
                WriteExpirySeconds = 0u
                WriteCas = 0UL
                WriteMarks = EntryMarks.None
            }

            let file =
                build
                    { tinyOptions with BlockSizeBytes = 60; PartitionSizeBytes = 1 }
                    (modelFrom 1UL (List.map write [ 'a' .. 'f' ]))

            let table = openOrFail file

            let stop = [
                for partition in 0..2 do
                    let handle = table.PartitionHandle partition
                    handle.OffsetBytes + int64 handle.LengthBytes - table.DataLengthBytes
            ]

            let index (separators: string list) (stops: int64 list) = indexOf [||] (List.zip separators stops)
            let right = index [ "b"; "d"; "f" ] stop

            Expect.equal
                (forgeIndex file (fun content ->
                    Expect.equal content right "the index that is written"
                    right))
                file
                "the table"

            let refused (what: string) (content: byte[]) =
                match openBytes (forgeIndex file (fun _ -> content)) with
                | Ok _ -> failtest $"%s{what} was not refused"
                | Error corruption -> Expect.stringContains corruption.Reason "index" what

            refused "an empty index" [||]
            refused "no partitions" (index [] [])
            refused "more partitions than bytes" (Array.append right[.. right.Length - 5] [| 0uy; 1uy; 0uy; 0uy |])

            refused
                "partitions that end before the properties"
                (index [ "b"; "d"; "f" ] [ stop[0]; stop[1]; stop[2] - 1L ])

            refused "partitions that end after them" (index [ "b"; "d"; "f" ] [ stop[0]; stop[1]; stop[2] + 1L ])
            refused "an empty partition" (index [ "b"; "d"; "f" ] [ stop[0]; stop[0]; stop[2] ])
            refused "partitions that go back" (index [ "b"; "d"; "f" ] [ stop[1]; stop[0]; stop[2] ])
            refused "a partition that ends past every number" (index [ "b"; "d"; "f" ] [ stop[0]; -1L; stop[2] ])
            refused "equal separators" (index [ "b"; "b"; "f" ] stop)
            refused "descending separators" (index [ "d"; "b"; "f" ] stop)
            refused "a separator below the smallest key" (index [ ""; "d"; "f" ] stop)
            refused "a last separator that is not the largest key" (index [ "b"; "d"; "e" ] stop)
            refused "bytes that belong to nothing" (indexOf [| 1uy |] (List.zip [ "b"; "d"; "f" ] stop))
        }
    ]
